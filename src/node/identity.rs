//! The objects in the bucket that say which cluster this is and which nodes have started: `cluster.json`, `nodes/{addr}.json`
//! and the key of the tokens.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::NodeError;
use crate::config::Config;
use crate::registry::{TokenKey, TokenKeyError};
use crate::storage::{Bucket, BucketError, Created, Key};

/// Version of `cluster.json` and `nodes/{addr}.json` in the bucket. The bytes of version 1 do not
/// carry it. Readers ignore fields that they do not know, so a later version may add some; one that
/// must not be read as version 1 needs another name in the bucket.
pub const BUCKET_FILES_VERSION: u32 = 1;

/// The bucket's own id, written once by the first node that ever used it.
#[derive(Debug, Serialize, Deserialize)]
struct ClusterFile {
    cluster_id: Uuid,
}

/// The trace of a node's first start. The id makes it ours alone.
#[derive(Debug, Serialize)]
struct NodeFile {
    first_start: Uuid,
}

/// The bucket's id; draws one if this is the first node that ever used the bucket.
pub(super) async fn cluster_id(bucket: &Bucket) -> Result<Uuid, NodeError> {
    let away = |error: BucketError| {
        NodeError::Storage(format!("{error}; check it step by step with `cargo run --bin test_firebase`"))
    };
    let mine = ClusterFile { cluster_id: draw_id() };
    let bytes = serde_json::to_vec(&mine).expect("a struct with one id is JSON");
    let stored = match bucket.get(&Key::Cluster).await.map_err(away)? {
        Some(stored) => stored,
        None => match bucket.create(&Key::Cluster, Bytes::from(bytes)).await.map_err(away)? {
            Created::New(_) => return Ok(mine.cluster_id),
            Created::Taken(stored) => stored,
        },
    };
    let file: Result<ClusterFile, _> = serde_json::from_slice(&stored.bytes);
    file.map(|file| file.cluster_id).map_err(|error| {
        NodeError::Storage(format!(
            "{} in the {} is damaged ({error}); if no other node uses the bucket, delete that file",
            Key::Cluster,
            bucket.describe()
        ))
    })
}

/// The key of the bucket's tokens.
pub(super) async fn token_key(bucket: &Bucket) -> Result<TokenKey, NodeError> {
    TokenKey::load_or_create(bucket).await.map_err(|error| {
        let remedy = match error {
            TokenKeyError::Storage(_) => "; check it step by step with `cargo run --bin test_firebase`",
            TokenKeyError::Damaged { .. } => "",
        };
        NodeError::Storage(format!("{error}{remedy}"))
    })
}

/// Whether this node has never been started on this bucket. A node without a ballot is new only if its trace in the bucket
/// is made now: else it has lost the ballot, and with it the memory of its votes.
pub(super) async fn is_first_start(config: &Config, bucket: &Bucket) -> Result<bool, NodeError> {
    if rollcall_election::has_ballot(&config.node_dir()) {
        return Ok(false);
    }
    let trace = serde_json::to_vec(&NodeFile { first_start: draw_id() }).expect("a struct with one id is JSON");
    match bucket.create(&Key::Node(config.node), Bytes::from(trace)).await {
        Ok(created) => Ok(matches!(created, Created::New(_))),
        Err(error) => {
            Err(NodeError::Storage(format!("{error}; check it step by step with `cargo run --bin test_firebase`")))
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the composition root draws the ids that its parts are given")]
pub(super) fn draw_id() -> Uuid {
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::storage::{Memory, RetryPolicy};

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
    async fn all_nodes_of_a_bucket_agree_on_its_id() {
        let bucket = Bucket::new(Arc::new(Memory::new()), RetryPolicy::default());
        let (one, other) = tokio::join!(cluster_id(&bucket), cluster_id(&bucket));
        assert_eq!(one.unwrap(), other.unwrap());
        assert_eq!(cluster_id(&bucket).await.unwrap(), cluster_id(&bucket).await.unwrap());
    }
}
