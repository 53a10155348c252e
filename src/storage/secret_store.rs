//! Secrets of the cluster in the bucket. They are sealed with the cluster key if there is one.

use rand::RngExt;
use thiserror::Error;
use tokio::task::spawn_blocking;
use tracing::warn;
use uuid::Uuid;

use super::seal::{SALT_BYTES, Sealed, SecretPlace};
use super::{Bucket, BucketError, CreateOutcome, Key, Object};
use rollcall_core::ClusterKey;

/// Most attempts to replace an unsealed secret that other nodes replace at the same time.
const MAX_ATTEMPTS: u32 = 5;

/// Secrets of the cluster in the bucket.
#[derive(Clone)]
pub struct SecretStore {
    bucket: Bucket,
    /// The cluster to which the bucket belongs. Sealed secrets of another one are not opened.
    cluster: Uuid,
    key: Option<ClusterKey>,
}

/// A secret could not be loaded. `Display` says how to repair it, and never shows the bytes that
/// were read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The bucket did not reply.
    #[error(transparent)]
    Storage(#[from] BucketError),
    /// The secret is sealed, and there is no key.
    #[error(
        "{path} in the {store} is sealed with a cluster_key, but this node has none; give it the cluster_key of the cluster"
    )]
    NoKey {
        /// The object.
        path: String,
        /// The store that has it.
        store: String,
    },
    /// The secret is sealed with another key or for another cluster, or damaged.
    #[error(
        "{path} in the {store} cannot be opened with this node's cluster_key; give it the cluster_key with which the file was sealed, or delete the file and restart all nodes: then they make a new secret"
    )]
    OtherKey {
        /// The object.
        path: String,
        /// The store that has it.
        store: String,
    },
    /// There is a key, but the secret is not sealed.
    #[error(
        "{path} in the {store} is not sealed, so the nodes have no cluster_key; run this command without one, or restart the nodes with it first"
    )]
    NotSealed {
        /// The object.
        path: String,
        /// The store that has it.
        store: String,
    },
}

impl SecretStore {
    /// The secrets of a cluster's bucket. With a key they are sealed.
    #[must_use]
    pub fn new(bucket: Bucket, cluster: Uuid, key: Option<ClusterKey>) -> Self {
        Self { bucket, cluster, key }
    }

    /// The bucket that has the secrets.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Loads a secret, or creates it if there is none. If several nodes create one at the same
    /// time, all use the first. With a key, replaces an unsealed secret as [`Self::load`] does.
    ///
    /// # Errors
    /// [`SecretError`] if the bucket does not reply, or the secret cannot be opened.
    pub async fn load_or_create(&self, key: &Key, make: impl Fn() -> Vec<u8>) -> Result<Vec<u8>, SecretError> {
        if let Some(loaded) = self.load(key, &make).await? {
            return Ok(loaded);
        }
        let new = make();
        match self.create(key, &new).await? {
            None => Ok(new),
            Some(found) => match self.open(key, found, &make).await? {
                Some(opened) => Ok(opened),
                None => self.load(key, &make).await?.ok_or_else(|| self.bucket.vanished(key).into()),
            },
        }
    }

    /// Loads a secret. `None` if there is none. With a key, a secret that is not sealed is replaced
    /// by a new one: others could read it.
    ///
    /// # Errors
    /// As [`Self::load_or_create`].
    pub async fn load(&self, key: &Key, make: impl Fn() -> Vec<u8>) -> Result<Option<Vec<u8>>, SecretError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(found) = self.bucket.get(key).await? else { return Ok(None) };
            if let Some(opened) = self.open(key, found, &make).await? {
                return Ok(Some(opened));
            }
        }
        Err(self.bucket.vanished(key).into())
    }

    /// Creates a secret. Returns the object that exists already, if there is one.
    ///
    /// # Errors
    /// [`SecretError::Storage`] if the bucket does not reply.
    pub async fn create(&self, key: &Key, secret: &[u8]) -> Result<Option<Object>, SecretError> {
        let bytes = self.encode(key, secret.to_vec()).await;
        Ok(match self.bucket.create(key, bytes.into()).await? {
            CreateOutcome::Created(_) => None,
            CreateOutcome::AlreadyExists(found) => Some(found),
        })
    }

    /// Checks that a secret is sealed with the key, or is not sealed if there is no key. Changes
    /// nothing. A secret that does not exist passes.
    ///
    /// # Errors
    /// [`SecretError`] if the bucket does not reply, or the secret fails the check.
    pub async fn check(&self, key: &Key) -> Result<(), SecretError> {
        let Some(found) = self.bucket.get(key).await? else { return Ok(()) };
        if self.key.is_some() && Sealed::parse(&found.bytes).is_none() {
            return Err(SecretError::NotSealed { path: key.path(), store: self.bucket.describe() });
        }
        self.open(key, found, Vec::new).await.map(|_| ())
    }

    /// Opens an object, or replaces it if it must be sealed and is not. `None` if another node
    /// replaced it first.
    async fn open(&self, key: &Key, found: Object, make: impl Fn() -> Vec<u8>) -> Result<Option<Vec<u8>>, SecretError> {
        let (path, store) = (key.path(), self.bucket.describe());
        match (Sealed::parse(&found.bytes), self.key.clone()) {
            (None, None) => Ok(Some(found.bytes.to_vec())),
            (Some(_), None) => Err(SecretError::NoKey { path, store }),
            (Some(sealed), Some(cluster_key)) => {
                let place = self.place(key);
                let opened = spawn_blocking(move || sealed.open(&place, &cluster_key)).await;
                opened.expect("opening does not panic").map(Some).ok_or(SecretError::OtherKey { path, store })
            }
            (None, Some(_)) => {
                let new = make();
                let bytes = self.encode(key, new.clone()).await;
                let replaced = self.bucket.replace_if(key, &found.version, bytes.into()).await?;
                if replaced.is_some() {
                    warn!(path, "replaced a secret that was not sealed with the cluster_key");
                }
                Ok(replaced.map(|_| new))
            }
        }
    }

    /// The bytes of a secret for the bucket. A key is derived on a thread for blocking work.
    async fn encode(&self, key: &Key, secret: Vec<u8>) -> Vec<u8> {
        let Some(cluster_key) = self.key.clone() else { return secret };
        let place = self.place(key);
        let salt = random_salt();
        let sealed = spawn_blocking(move || Sealed::new(&secret, &place, &cluster_key, salt).to_bytes()).await;
        sealed.expect("sealing does not panic")
    }

    fn place(&self, key: &Key) -> SecretPlace {
        SecretPlace { cluster: self.cluster, path: key.path() }
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver is the source of randomness for the seal")]
fn random_salt() -> [u8; SALT_BYTES] {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{MemoryBackend, RetryPolicy};

    const KEY: Key = Key::TokenKey;

    fn store(memory: &MemoryBackend, key: Option<&str>) -> SecretStore {
        store_of(Uuid::from_u128(1), memory, key)
    }

    fn store_of(cluster: Uuid, memory: &MemoryBackend, key: Option<&str>) -> SecretStore {
        let policy = RetryPolicy::one_attempt(std::time::Duration::from_secs(20));
        let key = key.map(|text| text.parse().expect("long enough"));
        SecretStore::new(Bucket::new(Arc::new(memory.clone()), policy), cluster, key)
    }

    async fn bytes(memory: &MemoryBackend) -> Vec<u8> {
        store(memory, None).bucket.get(&KEY).await.unwrap().unwrap().bytes.to_vec()
    }

    const CLUSTER_KEY: Option<&str> = Some("the key of the cluster");

    #[tokio::test]
    async fn a_secret_is_stored_as_it_is_without_a_key_and_sealed_with_one() {
        let memory = MemoryBackend::new();
        assert_eq!(store(&memory, None).load_or_create(&KEY, || b"first".to_vec()).await.unwrap(), b"first");
        assert_eq!(bytes(&memory).await, b"first");
        assert_eq!(store(&memory, None).load_or_create(&KEY, || b"second".to_vec()).await.unwrap(), b"first");
        let memory = MemoryBackend::new();
        let sealing = store(&memory, CLUSTER_KEY);
        assert_eq!(sealing.load(&KEY, || b"first".to_vec()).await.unwrap(), None, "nothing is created");
        assert_eq!(sealing.load_or_create(&KEY, || b"first".to_vec()).await.unwrap(), b"first");
        assert!(!bytes(&memory).await.windows(5).any(|window| window == b"first"));
        assert_eq!(sealing.load_or_create(&KEY, || b"second".to_vec()).await.unwrap(), b"first");
    }

    #[tokio::test]
    async fn with_a_key_an_unsealed_secret_is_replaced_by_a_new_one() {
        let memory = MemoryBackend::new();
        store(&memory, None).load_or_create(&KEY, || b"readable".to_vec()).await.unwrap();
        let sealing = store(&memory, CLUSTER_KEY);
        assert_eq!(sealing.load_or_create(&KEY, || b"new".to_vec()).await.unwrap(), b"new");
        assert_eq!(sealing.load(&KEY, || b"newer".to_vec()).await.unwrap().unwrap(), b"new");
        assert!(Sealed::parse(&bytes(&memory).await).is_some());
    }

    #[tokio::test]
    async fn nodes_that_seal_at_the_same_time_agree_on_the_first() {
        let memory = MemoryBackend::new();
        store(&memory, None).load_or_create(&KEY, || b"readable".to_vec()).await.unwrap();
        let sealing = store(&memory, CLUSTER_KEY);
        let loads = (0..4).map(|node| sealing.load_or_create(&KEY, move || vec![b'n', node]));
        let loaded: Vec<Vec<u8>> = futures_util::future::try_join_all(loads).await.unwrap();
        assert!(loaded.iter().all(|secret| *secret == loaded[0] && secret[0] == b'n'), "{loaded:?}");
    }

    #[tokio::test]
    async fn a_sealed_secret_needs_its_key() {
        let memory = MemoryBackend::new();
        store(&memory, CLUSTER_KEY).load_or_create(&KEY, || b"first".to_vec()).await.unwrap();
        let error = store(&memory, None).load_or_create(&KEY, Vec::new).await.unwrap_err();
        assert!(matches!(&error, SecretError::NoKey { .. }) && error.to_string().contains("secrets/tokens.json"));
        let error = store(&memory, Some("another key of a cluster")).load(&KEY, Vec::new).await.unwrap_err();
        assert!(matches!(error, SecretError::OtherKey { .. }));
    }

    #[tokio::test]
    async fn a_secret_of_another_cluster_with_the_same_key_is_not_opened() {
        let memory = MemoryBackend::new();
        store(&memory, CLUSTER_KEY).load_or_create(&KEY, || b"first".to_vec()).await.unwrap();
        let other = store_of(Uuid::from_u128(2), &memory, CLUSTER_KEY);
        assert!(matches!(other.load(&KEY, Vec::new).await, Err(SecretError::OtherKey { .. })));
    }

    #[tokio::test]
    async fn a_check_tells_whether_the_key_is_that_of_the_secret_and_changes_nothing() {
        let (readable, sealed) = (MemoryBackend::new(), MemoryBackend::new());
        let check = async |memory: &MemoryBackend, key| store(memory, key).check(&KEY).await;
        check(&readable, None).await.expect("no secret");
        check(&readable, CLUSTER_KEY).await.expect("no secret");
        store(&readable, None).load_or_create(&KEY, || b"first".to_vec()).await.unwrap();
        store(&sealed, CLUSTER_KEY).load_or_create(&KEY, || b"first".to_vec()).await.unwrap();
        let before = bytes(&sealed).await;
        check(&readable, None).await.expect("not sealed");
        check(&sealed, CLUSTER_KEY).await.expect("sealed with this key");
        assert!(matches!(check(&readable, CLUSTER_KEY).await, Err(SecretError::NotSealed { .. })));
        assert!(matches!(check(&sealed, None).await, Err(SecretError::NoKey { .. })));
        let other = Some("another key of a cluster");
        assert!(matches!(check(&sealed, other).await, Err(SecretError::OtherKey { .. })));
        assert_eq!((bytes(&readable).await, bytes(&sealed).await), (b"first".to_vec(), before));
    }
}
