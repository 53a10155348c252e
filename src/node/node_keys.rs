//! Key pairs of the nodes in the bucket: `secrets/node-key-N.json`. The first node that uses the
//! bucket creates the first one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use uuid::Uuid;

use super::node_key_ring::NodeKeyRing;
use crate::storage::{BucketError, Folder, Key, SecretError, SecretStore};
use rollcall_core::clock::boot_now;
use rollcall_election::{LinkTls, LinkTlsError, NodeKeyPair};

/// Version of the file of a pair. The bytes of version 1 do not carry it. Readers ignore unknown
/// fields. A version that must not be read as version 1 needs another object name.
pub const NODE_KEY_FILE_VERSION: u32 = 1;

/// Most pairs that a node reads. The newest count.
const MAX_PAIRS: usize = 8;

/// Number of the first pair of a bucket.
const FIRST_NUMBER: u32 = 1;

/// Interval between two reads of the pairs in the bucket.
const READ_INTERVAL: Duration = Duration::from_mins(1);

/// The file of a pair.
#[derive(Serialize, Deserialize)]
struct NodeKeyFile {
    /// Self-signed certificate: base64 of its DER.
    certificate: String,
    /// Private key: base64 of PKCS #8 in DER.
    private_key: String,
}

/// The pairs could not be loaded. `Display` shows no key.
#[derive(Debug, Error)]
pub enum NodeKeyError {
    /// The bucket did not reply, or a pair is sealed with another key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A pair cannot be read or used.
    #[error("{} in the {store} is damaged{}; delete that file; if it was the only one, restart all nodes", Key::NodeKey(*.number), .cause.as_ref().map_or_else(String::new, |cause| format!(" ({cause})")))]
    Damaged {
        /// The number of the pair.
        number: u32,
        /// The store that has it.
        store: String,
        /// The reason, if the file could be read.
        cause: Option<LinkTlsError>,
    },
    /// No new pair can be made.
    #[error("{0} has {MAX_PAIRS} node keys; delete old ones, which no node presents any more")]
    TooMany(String),
    /// Another program made the same pair.
    #[error("{0} was made by another program at the same time; the cluster has a new node key")]
    MadeByAnother(String),
}

impl From<BucketError> for NodeKeyError {
    fn from(error: BucketError) -> Self {
        Self::Secret(error.into())
    }
}

/// The pairs of a running node: reads the bucket again, and publishes what links present and
/// accept.
pub(super) struct NodeKeys {
    secrets: SecretStore,
    cluster: Uuid,
    ring: NodeKeyRing,
    published: watch::Sender<Arc<LinkTls>>,
}

impl NodeKeys {
    /// Loads the pairs of the bucket, or creates the first one.
    pub(super) async fn load_or_create(secrets: SecretStore, cluster: Uuid) -> Result<Self, NodeKeyError> {
        let mut pairs = read_pairs(&secrets, cluster).await?;
        if pairs.is_empty() {
            let key = Key::NodeKey(FIRST_NUMBER);
            let bytes = secrets.load_or_create(&key, || encode(&new_pair(cluster))).await?;
            pairs.insert(FIRST_NUMBER, decode(&secrets, FIRST_NUMBER, &bytes)?);
        }
        let ring = NodeKeyRing::new(pairs, boot_now()).expect("there is at least one pair");
        let tls = link_tls(&secrets, cluster, &ring)?;
        Ok(Self { secrets, cluster, ring, published: watch::channel(Arc::new(tls)).0 })
    }

    /// The certificates that links present and accept, now and later.
    pub(super) fn published(&self) -> watch::Receiver<Arc<LinkTls>> {
        self.published.subscribe()
    }

    /// Reads the bucket again at [`READ_INTERVAL`], for ever.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(READ_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is immediate, and the pairs have just been read.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if let Err(error) = self.read_again().await {
                warn!(%error, "the node keys cannot be read; the present ones stay valid");
            }
        }
    }

    async fn read_again(&mut self) -> Result<(), NodeKeyError> {
        let pairs = read_pairs(&self.secrets, self.cluster).await?;
        let mut ring = self.ring.clone();
        if !ring.update(pairs, boot_now()) {
            warn!(remedy = "make one with `rollcall admin rotate-node-key`", "the bucket has no node key any more");
            return Ok(());
        }
        let has_changed =
            ring.presented_number() != self.ring.presented_number() || !ring.accepted().eq(self.ring.accepted());
        if has_changed {
            let tls = link_tls(&self.secrets, self.cluster, &ring)?;
            info!(presented = ring.presented_number(), accepted = ring.accepted().count(), "the node keys changed");
            self.published.send_replace(Arc::new(tls));
        }
        self.ring = ring;
        Ok(())
    }
}

/// Makes the next pair in the bucket. Returns its number.
pub(super) async fn rotate(secrets: &SecretStore, cluster: Uuid) -> Result<u32, NodeKeyError> {
    let numbers = list_numbers(secrets).await?;
    if numbers.len() >= MAX_PAIRS {
        return Err(NodeKeyError::TooMany(secrets.bucket().describe()));
    }
    let number = numbers.last().map_or(FIRST_NUMBER, |last| last.saturating_add(1));
    let key = Key::NodeKey(number);
    match secrets.create(&key, &encode(&new_pair(cluster))).await? {
        None => Ok(number),
        Some(_) => Err(NodeKeyError::MadeByAnother(key.path())),
    }
}

/// The numbers of all pairs in the bucket, ascending.
async fn list_numbers(secrets: &SecretStore) -> Result<Vec<u32>, NodeKeyError> {
    let names = secrets.bucket().list(&Folder::NodeKeys).await?;
    let number = |name: &String| match Key::node_key_of_name(name) {
        Some(Key::NodeKey(number)) => Some(number),
        _ => None,
    };
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads the newest pairs of the bucket. The object of a known number is read too: it may have been
/// deleted and made again.
async fn read_pairs(secrets: &SecretStore, cluster: Uuid) -> Result<BTreeMap<u32, NodeKeyPair>, NodeKeyError> {
    let numbers = list_numbers(secrets).await?;
    let newest = &numbers[numbers.len().saturating_sub(MAX_PAIRS)..];
    let mut pairs = BTreeMap::new();
    for &number in newest {
        let loaded = secrets.load(&Key::NodeKey(number), || encode(&new_pair(cluster))).await?;
        // It may have been deleted since the listing.
        if let Some(bytes) = loaded {
            pairs.insert(number, decode(secrets, number, &bytes)?);
        }
    }
    Ok(pairs)
}

fn link_tls(secrets: &SecretStore, cluster: Uuid, ring: &NodeKeyRing) -> Result<LinkTls, NodeKeyError> {
    LinkTls::pinned(cluster, ring.presented(), ring.accepted().cloned()).map_err(|cause| NodeKeyError::Damaged {
        number: ring.presented_number(),
        store: secrets.bucket().describe(),
        cause: Some(cause),
    })
}

fn new_pair(cluster: Uuid) -> NodeKeyPair {
    NodeKeyPair::generate(cluster).expect("the operating system gives random numbers")
}

fn encode(pair: &NodeKeyPair) -> Vec<u8> {
    let file = NodeKeyFile {
        certificate: STANDARD.encode(pair.certificate_der()),
        private_key: STANDARD.encode(pair.reveal_private_key_der()),
    };
    serde_json::to_vec(&file).expect("a struct with two texts is JSON")
}

fn decode(secrets: &SecretStore, number: u32, bytes: &[u8]) -> Result<NodeKeyPair, NodeKeyError> {
    let file: Option<NodeKeyFile> = serde_json::from_slice(bytes).ok();
    let pair = file.and_then(|file| {
        Some(NodeKeyPair::from_der(STANDARD.decode(file.certificate).ok()?, STANDARD.decode(file.private_key).ok()?))
    });
    pair.ok_or_else(|| NodeKeyError::Damaged { number, store: secrets.bucket().describe(), cause: None })
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::storage::{Bucket, MemoryBackend, RetryPolicy};

    const CLUSTER: Uuid = Uuid::from_u128(1);

    fn secrets(memory: &MemoryBackend, key: Option<&str>) -> SecretStore {
        let bucket = Bucket::new(Arc::new(memory.clone()), RetryPolicy::one_attempt(Duration::from_secs(20)));
        SecretStore::new(bucket, key.map(|text| text.parse().expect("long enough")))
    }

    async fn load(memory: &MemoryBackend) -> NodeKeys {
        NodeKeys::load_or_create(secrets(memory, None), CLUSTER).await.unwrap()
    }

    #[test]
    fn a_pair_has_its_golden_bytes() {
        assert_eq!(NODE_KEY_FILE_VERSION, 1, "a new version needs new golden bytes");
        let golden = r#"{"certificate":"AQID","private_key":"BAUG"}"#;
        let pair = NodeKeyPair::from_der(vec![1, 2, 3], vec![4, 5, 6]);
        assert_eq!(String::from_utf8(encode(&pair)).unwrap(), golden);
        assert_eq!(decode(&secrets(&MemoryBackend::new(), None), 1, golden.as_bytes()).unwrap(), pair);
    }

    #[tokio::test]
    async fn nodes_that_start_at_the_same_time_share_one_pair() {
        let memory = MemoryBackend::new();
        let nodes = join_all((0..4).map(|_| load(&memory))).await;
        assert!(nodes.iter().all(|node| node.ring.presented() == nodes[0].ring.presented()));
        assert_eq!(list_numbers(&nodes[0].secrets).await.unwrap(), [1]);
    }

    #[tokio::test]
    async fn a_pair_that_was_made_again_under_its_number_is_read() {
        let memory = MemoryBackend::new();
        let mut node = load(&memory).await;
        let old = node.ring.presented().clone();
        node.secrets.bucket().delete(&Key::NodeKey(1)).await.unwrap();
        node.read_again().await.unwrap();
        assert_eq!(*node.ring.presented(), old, "a node keeps its last pair");
        assert_eq!(rotate(&node.secrets, CLUSTER).await.unwrap(), 1);
        node.read_again().await.unwrap();
        assert_ne!(*node.ring.presented(), old);
        assert_eq!(node.ring.presented(), load(&memory).await.ring.presented(), "as a node that starts now");
        assert!(node.ring.accepted().all(|pair| *pair != old));
    }

    #[tokio::test]
    async fn a_new_pair_is_read_and_a_deleted_one_is_forgotten() {
        let memory = MemoryBackend::new();
        let mut node = load(&memory).await;
        let mut published = node.published();
        node.read_again().await.unwrap();
        assert!(!published.has_changed().unwrap(), "nothing changed");
        assert_eq!(rotate(&node.secrets, CLUSTER).await.unwrap(), 2);
        node.read_again().await.unwrap();
        assert!(published.has_changed().unwrap());
        assert_eq!((node.ring.presented_number(), node.ring.accepted().count()), (1, 2));
        published.mark_unchanged();
        node.secrets.bucket().delete(&Key::NodeKey(1)).await.unwrap();
        node.read_again().await.unwrap();
        assert!(published.has_changed().unwrap());
        assert_eq!((node.ring.presented_number(), node.ring.accepted().count()), (2, 1));
        // A node without a pair would lose all links.
        node.secrets.bucket().delete(&Key::NodeKey(2)).await.unwrap();
        node.read_again().await.unwrap();
        assert_eq!(node.ring.presented_number(), 2);
    }

    #[tokio::test]
    async fn there_are_at_most_eight_pairs() {
        let memory = MemoryBackend::new();
        let secrets = secrets(&memory, None);
        for number in 1..=MAX_PAIRS {
            assert_eq!(usize::try_from(rotate(&secrets, CLUSTER).await.unwrap()).unwrap(), number);
        }
        assert!(matches!(rotate(&secrets, CLUSTER).await, Err(NodeKeyError::TooMany(_))));
    }

    #[tokio::test]
    async fn a_damaged_pair_is_an_error_that_does_not_show_its_content() {
        for damaged in [
            "",
            "{}",
            r#"{"certificate":"AQID","private_key":"BAUG"}"#,
            r#"{"certificate":"!","private_key":"c2hvcnQ"}"#,
        ] {
            let memory = MemoryBackend::new();
            let secrets = secrets(&memory, None);
            secrets.create(&Key::NodeKey(3), damaged.as_bytes()).await.unwrap();
            let error = NodeKeys::load_or_create(secrets, CLUSTER).await.err().expect("damaged").to_string();
            assert!(error.contains("secrets/node-key-3.json") && !error.contains("c2hvcnQ"), "{error}");
        }
    }

    #[tokio::test]
    async fn with_a_cluster_key_a_readable_pair_is_replaced() {
        let memory = MemoryBackend::new();
        let readable = load(&memory).await.ring.presented().clone();
        let sealing = secrets(&memory, Some("the key of the cluster"));
        let node = NodeKeys::load_or_create(sealing.clone(), CLUSTER).await.unwrap();
        assert_ne!(*node.ring.presented(), readable);
        let again = NodeKeys::load_or_create(sealing, CLUSTER).await.unwrap();
        assert_eq!(again.ring.presented(), node.ring.presented());
        assert!(
            NodeKeys::load_or_create(secrets(&memory, None), CLUSTER).await.is_err(),
            "a sealed pair needs its key"
        );
    }
}
