//! Key pairs of the nodes in the bucket: `secrets/node-key-N.json`. The first node that uses the
//! bucket creates the first one.

use std::collections::{BTreeMap, BTreeSet};
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

/// Most listed pairs that are read at once. Some of them may be unusable.
const MAX_READS: usize = 32;

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
    /// The pair exists, although the listing did not have it.
    #[error(
        "{0} exists already: another program made it at the same time, or the listing of the store lags; if the cluster needs one more node key, try again in a minute"
    )]
    MadeByAnother(String),
}

impl NodeKeyError {
    /// Whether other pairs may be read although this one is not.
    fn concerns_one_pair(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::Secret(
                SecretError::NoKey { .. }
                | SecretError::OtherKey { .. }
                | SecretError::NotSealed { .. }
                | SecretError::Storage(BucketError::Unreadable { .. } | BucketError::Vanished { .. }),
            ) => true,
            Self::Secret(SecretError::Storage(
                BucketError::TimedOut { .. } | BucketError::Unavailable { .. } | BucketError::Full { .. },
            ))
            | Self::TooMany(_)
            | Self::MadeByAnother(_) => false,
        }
    }
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
        let mut pairs = read_pairs(&secrets, cluster, None).await?;
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
        let pairs = read_pairs(&self.secrets, self.cluster, Some(&self.ring)).await?;
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
///
/// The secrets that the nodes use show whether the cluster has a key, and which. A pair that the
/// nodes cannot open, or one that everybody can read, is not made.
pub(super) async fn rotate(secrets: &SecretStore, cluster: Uuid) -> Result<u32, NodeKeyError> {
    let numbers = list_numbers(secrets).await?;
    for key in numbers.last().copied().map(Key::NodeKey).into_iter().chain([Key::TokenKey]) {
        secrets.check(&key).await?;
    }
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

/// Reads the newest pairs that can be used. Fails if the bucket does not reply, or if there are
/// pairs and none can be used.
///
/// The object of each pair of `ring` is read too: it may have been made again under its number, and
/// a listing that lags may lack it. A pair is gone only if its object is, so one whose read fails
/// stays.
async fn read_pairs(
    secrets: &SecretStore,
    cluster: Uuid,
    ring: Option<&NodeKeyRing>,
) -> Result<BTreeMap<u32, NodeKeyPair>, NodeKeyError> {
    let listed = list_numbers(secrets).await?;
    let known = ring.into_iter().flat_map(NodeKeyRing::numbers);
    let numbers: BTreeSet<u32> = listed.into_iter().rev().take(MAX_READS).chain(known).collect();
    let (mut pairs, mut unusable) = (BTreeMap::new(), None);
    for number in numbers.into_iter().rev() {
        if pairs.len() == MAX_PAIRS {
            break;
        }
        match read_pair(secrets, cluster, number).await {
            Ok(Some(pair)) => {
                pairs.insert(number, pair);
            }
            // It may have been deleted since the listing.
            Ok(None) => {}
            Err(error) if error.concerns_one_pair() => {
                if let Some(pair) = ring.and_then(|ring| ring.pair(number)) {
                    warn!(%error, "a node key cannot be read again; it stays valid");
                    pairs.insert(number, pair.clone());
                } else {
                    warn!(%error, "skipped a node key that cannot be read");
                    unusable = Some(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    unusable.filter(|_| pairs.is_empty()).map_or(Ok(pairs), Err)
}

/// Reads a pair, and checks that links can use it. `None` if there is none.
async fn read_pair(secrets: &SecretStore, cluster: Uuid, number: u32) -> Result<Option<NodeKeyPair>, NodeKeyError> {
    let loaded = secrets.load(&Key::NodeKey(number), || encode(&new_pair(cluster))).await?;
    let Some(bytes) = loaded else { return Ok(None) };
    let pair = decode(secrets, number, &bytes)?;
    match LinkTls::pinned(cluster, &pair, [pair.clone()]) {
        Ok(_) => Ok(Some(pair)),
        Err(cause) => Err(damaged(secrets, number, Some(cause))),
    }
}

fn damaged(secrets: &SecretStore, number: u32, cause: Option<LinkTlsError>) -> NodeKeyError {
    NodeKeyError::Damaged { number, store: secrets.bucket().describe(), cause }
}

fn link_tls(secrets: &SecretStore, cluster: Uuid, ring: &NodeKeyRing) -> Result<LinkTls, NodeKeyError> {
    LinkTls::pinned(cluster, ring.presented(), ring.accepted().cloned())
        .map_err(|cause| damaged(secrets, ring.presented_number(), Some(cause)))
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
    pair.ok_or_else(|| damaged(secrets, number, None))
}

#[cfg(test)]
mod tests;
