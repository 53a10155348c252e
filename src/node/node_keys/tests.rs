//! Tests of the key pairs in the bucket.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

use super::*;
use crate::storage::{Backend, BackendError, Bucket, ListPage, MemoryBackend, Object, ObjectVersion, RetryPolicy};

const CLUSTER: Uuid = Uuid::from_u128(1);

fn secrets(memory: &MemoryBackend, key: Option<&str>) -> SecretStore {
    let bucket = Bucket::new(Arc::new(memory.clone()), RetryPolicy::one_attempt(Duration::from_secs(20)));
    SecretStore::new(bucket, CLUSTER, key.map(|text| text.parse().expect("long enough")))
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
async fn a_new_pair_is_made_only_with_the_cluster_key_of_the_nodes() {
    let (right, wrong) = (Some("the key of the cluster"), Some("another key of a cluster"));
    for (of_nodes, of_command) in [(None, right), (right, None), (right, wrong)] {
        for key in [Key::TokenKey, Key::NodeKey(1)] {
            let memory = MemoryBackend::new();
            let nodes = secrets(&memory, of_nodes);
            assert!(nodes.create(&key, &encode(&new_pair(CLUSTER))).await.unwrap().is_none());
            let before = memory.paths();
            let error = rotate(&secrets(&memory, of_command), CLUSTER).await.unwrap_err();
            assert!(matches!(&error, NodeKeyError::Secret(_)) && error.to_string().contains(&key.path()), "{error}");
            assert_eq!(memory.paths(), before);
            rotate(&nodes, CLUSTER).await.expect("the key of the nodes");
        }
    }
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
    for damaged in
        ["", "{}", r#"{"certificate":"AQID","private_key":"BAUG"}"#, r#"{"certificate":"!","private_key":"c2hvcnQ"}"#]
    {
        let memory = MemoryBackend::new();
        let secrets = secrets(&memory, None);
        secrets.create(&Key::NodeKey(3), damaged.as_bytes()).await.unwrap();
        let error = NodeKeys::load_or_create(secrets, CLUSTER).await.err().expect("damaged").to_string();
        assert!(error.contains("secrets/node-key-3.json") && !error.contains("c2hvcnQ"), "{error}");
    }
}

/// Makes a pair that another cluster key seals.
async fn create_foreign(memory: &MemoryBackend, number: u32) {
    let foreign = secrets(memory, Some("another key of a cluster"));
    assert!(foreign.create(&Key::NodeKey(number), &encode(&new_pair(CLUSTER))).await.unwrap().is_none());
}

#[tokio::test]
async fn a_pair_that_cannot_be_read_does_not_keep_the_others_from_being_read() {
    let memory = MemoryBackend::new();
    let secrets = secrets(&memory, Some("the key of the cluster"));
    let mut node = NodeKeys::load_or_create(secrets.clone(), CLUSTER).await.unwrap();
    assert_eq!(rotate(&secrets, CLUSTER).await.unwrap(), 2);
    node.read_again().await.unwrap();
    create_foreign(&memory, 3).await;
    secrets.create(&Key::NodeKey(4), b"{}").await.unwrap();
    secrets.bucket().delete(&Key::NodeKey(1)).await.unwrap();
    node.read_again().await.unwrap();
    assert_eq!(node.ring.numbers().collect::<Vec<_>>(), [2], "the removal takes effect");
    let started = NodeKeys::load_or_create(secrets.clone(), CLUSTER).await.unwrap();
    assert_eq!(started.ring.numbers().collect::<Vec<_>>(), [2]);

    secrets.bucket().delete(&Key::NodeKey(2)).await.unwrap();
    assert!(node.read_again().await.is_err(), "no pair can be read");
    assert_eq!(node.ring.numbers().collect::<Vec<_>>(), [2], "a node keeps its last pair");
    assert!(NodeKeys::load_or_create(secrets, CLUSTER).await.is_err());
}

#[tokio::test]
async fn a_known_pair_whose_object_cannot_be_read_stays_valid() {
    let memory = MemoryBackend::new();
    let secrets = secrets(&memory, Some("the key of the cluster"));
    let mut node = NodeKeys::load_or_create(secrets.clone(), CLUSTER).await.unwrap();
    assert_eq!(rotate(&secrets, CLUSTER).await.unwrap(), 2);
    node.read_again().await.unwrap();
    secrets.bucket().delete(&Key::NodeKey(1)).await.unwrap();
    create_foreign(&memory, 1).await;
    node.read_again().await.unwrap();
    assert_eq!(node.ring.numbers().collect::<Vec<_>>(), [1, 2]);
    secrets.bucket().delete(&Key::NodeKey(1)).await.unwrap();
    node.read_again().await.unwrap();
    assert_eq!(node.ring.numbers().collect::<Vec<_>>(), [2], "its object is gone");
}

#[tokio::test]
async fn unusable_pairs_with_greater_numbers_do_not_hide_a_usable_one() {
    let memory = MemoryBackend::new();
    let secrets = secrets(&memory, Some("the key of the cluster"));
    let node = NodeKeys::load_or_create(secrets.clone(), CLUSTER).await.unwrap();
    for number in 2..12 {
        create_foreign(&memory, number).await;
    }
    let started = NodeKeys::load_or_create(secrets, CLUSTER).await.unwrap();
    assert_eq!(started.ring.presented(), node.ring.presented());
}

/// A store whose listings lag: they are empty.
struct EmptyListings(MemoryBackend);

#[async_trait]
impl Backend for EmptyListings {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        self.0.create(key, bytes).await
    }

    async fn replace_if(&self, key: &Key, old: &ObjectVersion, new: Bytes) -> Result<ObjectVersion, BackendError> {
        self.0.replace_if(key, old, new).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
        self.0.get(key).await
    }

    async fn list(&self, _folder: &Folder, _page: Option<&str>) -> Result<ListPage, BackendError> {
        Ok(ListPage::default())
    }

    async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        self.0.delete(key).await
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[tokio::test]
async fn a_listing_that_lags_does_not_remove_a_pair() {
    let memory = MemoryBackend::new();
    assert_eq!(rotate(&secrets(&memory, None), CLUSTER).await.unwrap(), 1);
    assert_eq!(rotate(&secrets(&memory, None), CLUSTER).await.unwrap(), 2);
    let mut node = load(&memory).await;
    let policy = RetryPolicy::one_attempt(Duration::from_secs(20));
    node.secrets = SecretStore::new(Bucket::new(Arc::new(EmptyListings(memory.clone())), policy), CLUSTER, None);
    node.read_again().await.unwrap();
    assert_eq!(node.ring.numbers().collect::<Vec<_>>(), [1, 2]);
    node.secrets.bucket().delete(&Key::NodeKey(2)).await.unwrap();
    node.read_again().await.unwrap();
    assert_eq!(node.ring.numbers().collect::<Vec<_>>(), [1], "the object itself is gone");
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
    assert!(NodeKeys::load_or_create(secrets(&memory, None), CLUSTER).await.is_err(), "a sealed pair needs its key");
}
