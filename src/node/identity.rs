//! Identity of the cluster and of the node, from objects in the bucket: `cluster.json`,
//! `nodes/{addr}.json` and the key of the tokens.

use bytes::Bytes;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::NodeError;
use crate::config::Config;
use crate::registry::{TokenKey, TokenKeyError};
use crate::storage::{
    Bucket, BucketError, CreateOutcome, Key, Object, PreconditionError, SecretError, SecretStore, check_preconditions,
};

/// Version of `cluster.json` and `nodes/{addr}.json` in the bucket. Files of version 1 do not
/// contain the number. Readers ignore unknown fields, so a later version may add some. A version
/// that must not be read as version 1 needs another path in the bucket.
pub const BUCKET_FILES_VERSION: u32 = 1;

/// The id of the cluster to which the bucket belongs. The first node that uses the bucket writes it
/// once.
#[derive(Debug, Serialize, Deserialize)]
struct ClusterFile {
    cluster_id: Uuid,
}

/// The record of a node's first start. The random id makes the bytes unique to this start.
#[derive(Debug, Serialize)]
struct NodeFile {
    first_start: Uuid,
}

/// Loads the cluster id from the bucket, or creates it if this is the first node that uses the
/// bucket. Before that, checks that the store honours preconditions: each node that finds no id
/// does so with an object of its own. A bucket with an id costs no request more.
///
/// # Errors
/// [`NodeError::Configuration`] if the store does not honour preconditions.
pub(super) async fn load_or_create_cluster_id(bucket: &Bucket) -> Result<Uuid, NodeError> {
    let storage_error = |error: BucketError| {
        NodeError::Storage(format!("{error}; check it step by step with `rollcall storage check`"))
    };
    let new = ClusterFile { cluster_id: random_id() };
    let bytes = serde_json::to_vec(&new).expect("a struct with one id can be encoded");
    let stored = if let Some(stored) = bucket.get(&Key::Cluster).await.map_err(storage_error)? {
        stored
    } else {
        check_preconditions(bucket, random_number()).await.map_err(|error| match error {
            PreconditionError::Bucket(error) => storage_error(error),
            error @ (PreconditionError::NotHonoured { .. } | PreconditionError::RefusedWriteTookEffect { .. }) => {
                NodeError::Configuration(format!("the {} cannot be used: {error}", bucket.describe()))
            }
        })?;
        match bucket.create(&Key::Cluster, Bytes::from(bytes)).await.map_err(storage_error)? {
            CreateOutcome::Created(_) => return Ok(new.cluster_id),
            CreateOutcome::AlreadyExists(stored) => stored,
        }
    };
    cluster_id_in(&stored, bucket)
}

/// Loads the cluster id from a bucket that nodes use.
pub(super) async fn load_cluster_id(bucket: &Bucket) -> Result<Uuid, NodeError> {
    match bucket.get(&Key::Cluster).await.map_err(|error| NodeError::Storage(error.to_string()))? {
        Some(stored) => cluster_id_in(&stored, bucket),
        None => Err(NodeError::Configuration(format!(
            "no node has used the {} yet: it has no {}; start a node first",
            bucket.describe(),
            Key::Cluster
        ))),
    }
}

fn cluster_id_in(stored: &Object, bucket: &Bucket) -> Result<Uuid, NodeError> {
    let file: Result<ClusterFile, _> = serde_json::from_slice(&stored.bytes);
    file.map(|file| file.cluster_id).map_err(|error| {
        NodeError::Storage(format!(
            "{} in the {} is damaged ({error}); if no other node uses the bucket, delete that file",
            Key::Cluster,
            bucket.describe()
        ))
    })
}

/// Loads the key that signs the tokens of users from the bucket, or creates it.
pub(super) async fn load_token_key(secrets: &SecretStore) -> Result<TokenKey, NodeError> {
    TokenKey::load_or_create(secrets).await.map_err(|error| match error {
        TokenKeyError::Secret(error) => secret_error(&error),
        error @ TokenKeyError::Damaged { .. } => NodeError::Storage(error.to_string()),
    })
}

/// The error of a node for a secret that cannot be loaded.
pub(super) fn secret_error(error: &SecretError) -> NodeError {
    match error {
        SecretError::Storage(error) => {
            NodeError::Storage(format!("{error}; check it step by step with `rollcall storage check`"))
        }
        SecretError::NoKey { .. } | SecretError::OtherKey { .. } | SecretError::NotSealed { .. } => {
            NodeError::Configuration(error.to_string())
        }
    }
}

/// Whether this is the node's first start on this bucket. That is so if the node has no ballot, and
/// this call creates its record in the bucket. A node with a record and without a ballot has lost
/// its ballot, and does not know how it voted.
pub(super) async fn is_first_start(config: &Config, bucket: &Bucket) -> Result<bool, NodeError> {
    if rollcall_election::has_ballot(&config.node_dir()) {
        return Ok(false);
    }
    let record =
        serde_json::to_vec(&NodeFile { first_start: random_id() }).expect("a struct with one id can be encoded");
    match bucket.create(&Key::Node(config.node), Bytes::from(record)).await {
        Ok(created) => Ok(matches!(created, CreateOutcome::Created(_))),
        Err(error) => Err(NodeError::Storage(format!("{error}; check it step by step with `rollcall storage check`"))),
    }
}

/// A random number for the object of a check.
#[expect(clippy::disallowed_methods, reason = "the composition root draws the random numbers of its parts")]
fn random_number() -> u32 {
    rand::rng().random()
}

/// A random id, for a part of the node that cannot draw one itself.
#[expect(clippy::disallowed_methods, reason = "the composition root draws the random ids of its parts")]
pub(super) fn random_id() -> Uuid {
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;

    use super::*;

    use crate::storage::{Fault, MemoryBackend, RetryPolicy};

    fn bucket_of(store: &MemoryBackend) -> Bucket {
        Bucket::new(Arc::new(store.clone()), RetryPolicy::default())
    }

    #[test]
    fn the_files_in_the_bucket_have_their_golden_bytes() {
        assert_eq!(BUCKET_FILES_VERSION, 1, "another version has other golden bytes");
        let id = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let golden = r#"{"cluster_id":"00112233-4455-6677-8899-aabbccddeeff"}"#;
        assert_eq!(serde_json::to_string(&ClusterFile { cluster_id: id }).unwrap(), golden);
        assert_eq!(serde_json::from_str::<ClusterFile>(golden).unwrap().cluster_id, id);
        let golden = r#"{"first_start":"00112233-4455-6677-8899-aabbccddeeff"}"#;
        assert_eq!(serde_json::to_string(&NodeFile { first_start: id }).unwrap(), golden);
    }

    #[tokio::test]
    async fn all_nodes_with_the_same_bucket_get_the_same_cluster_id() {
        let bucket = bucket_of(&MemoryBackend::new());
        let starts = join_all((0..7).map(|_| load_or_create_cluster_id(&bucket))).await;
        let id = load_or_create_cluster_id(&bucket).await.unwrap();
        assert!(starts.into_iter().all(|started| started.unwrap() == id));
    }

    #[tokio::test]
    async fn a_store_that_ignores_preconditions_is_refused_and_gets_no_cluster() {
        let store = MemoryBackend::new();
        store.faults().set_outage(Some(Fault::Overwrite));
        let error = load_or_create_cluster_id(&bucket_of(&store)).await.unwrap_err();
        assert!(matches!(error, NodeError::Configuration(_)), "{error:?}");
        assert!(error.to_string().contains("the memory cannot be used: 8 of 8 creates"), "{error}");
        assert_eq!(bucket_of(&store).get(&Key::Cluster).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_bucket_with_a_cluster_is_not_checked_again() {
        let store = MemoryBackend::new();
        load_or_create_cluster_id(&bucket_of(&store)).await.unwrap();
        let before = store.faults().calls();
        load_or_create_cluster_id(&bucket_of(&store)).await.unwrap();
        assert_eq!(store.faults().calls() - before, 1);
    }
}
