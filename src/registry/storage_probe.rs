//! Health check of the bucket, at most once a second: a read, its space, and a write if none
//! succeeded lately.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use tokio::sync::Mutex;

use super::error::StorageUnavailable;
use crate::storage::{Bucket, BucketError, CreateOutcome, Key, ObjectVersion};
use rollcall_core::{BootMs, NodeAddr};

/// Time for which a result is reused, in milliseconds. Load balancers check health often, so most
/// checks must not cause a request to the bucket.
const CACHE_TTL_MS: u64 = 1000;

/// Age up to which a write that succeeded shows that writes work. A write of the node that fails is
/// noticed at once. At Google's price of 5 dollars for a million writes, 30 s cost 5 dollars a year
/// and node.
const MAX_AGE_OF_WRITE: Duration = Duration::from_secs(30);

/// The last result, and the time of that probe.
#[derive(Debug)]
struct ProbeResult {
    probed_at: BootMs,
    result: Result<(), StorageUnavailable>,
}

/// Checks whether the bucket can be read and written, and caches the result briefly.
pub(super) struct StorageProbe {
    bucket: Bucket,
    key: Key,
    state: Mutex<ProbeState>,
}

#[derive(Debug, Default)]
struct ProbeState {
    last: Option<ProbeResult>,
    /// The version of the object that this process wrote last.
    written: Option<ObjectVersion>,
}

impl StorageProbe {
    /// A probe without a cached result. `node` names the object that it writes.
    pub(super) fn new(bucket: Bucket, node: NodeAddr) -> Self {
        Self { bucket, key: Key::WriteProbe(node), state: Mutex::default() }
    }

    /// Checks whether the bucket can be read and written at `now`. Concurrent callers share the
    /// requests.
    pub(super) async fn probe(&self, now: BootMs) -> Result<(), StorageUnavailable> {
        // The async lock is held during the requests, so that at most one probe runs at a time.
        let mut state = self.state.lock().await;
        if let Some(last) = &state.last
            && now.since(last.probed_at) < CACHE_TTL_MS
        {
            return last.result.clone();
        }
        let result = self.use_bucket(&mut state.written).await.map_err(StorageUnavailable::from);
        state.last = Some(ProbeResult { probed_at: now, result: result.clone() });
        result
    }

    async fn use_bucket(&self, written: &mut Option<ObjectVersion>) -> Result<(), BucketError> {
        self.read_cluster_id().await?;
        self.bucket.check_space().await?;
        if self.bucket.wrote_within(MAX_AGE_OF_WRITE) {
            return Ok(());
        }
        // The second round is for an object that was deleted or replaced since the first.
        for _ in 0..2 {
            *written = self.write(written.take()).await?;
            if written.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the id of the cluster. Every node found it in the bucket when the node started. If the
    /// id is missing now, the bucket was deleted or replaced.
    async fn read_cluster_id(&self) -> Result<(), BucketError> {
        self.bucket.get(&Key::Cluster).await?.map(drop).ok_or_else(|| self.bucket.vanished(&Key::Cluster))
    }

    /// Writes this node's object, which has the version `current` if it is known. `None` if the
    /// object changed meanwhile.
    async fn write(&self, current: Option<ObjectVersion>) -> Result<Option<ObjectVersion>, BucketError> {
        let bytes = Bytes::from(format!("Rollcall writes this to find out whether writes work: {:032x}\n", random()));
        let current = match current {
            Some(version) => version,
            None => match self.bucket.create(&self.key, bytes.clone()).await? {
                CreateOutcome::Created(version) => return Ok(Some(version)),
                CreateOutcome::AlreadyExists(object) => object.version,
            },
        };
        self.bucket.replace_if(&self.key, &current, bytes).await
    }
}

/// Other bytes for each write, because a write of the bytes that are there is no write.
#[expect(clippy::disallowed_methods, reason = "no test needs to repeat these bytes")]
fn random() -> u128 {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{caller, registry, registry_on, settings, user};
    use super::*;
    use crate::storage::{Backend, Fault};

    #[tokio::test]
    async fn the_bucket_is_probed_at_most_once_a_second() {
        let (registry, memory) = registry();
        memory.create(&Key::Cluster, b"{}".as_slice().into()).await.unwrap();
        memory.faults().set_outage(Some(Fault::Permanent));
        assert!(registry.probe(BootMs(5000)).await.is_err());
        memory.faults().set_outage(None);
        assert!(registry.probe(BootMs(5999)).await.is_err());
        assert_eq!(memory.faults().calls(), 2);
        assert!(registry.probe(BootMs(6000)).await.is_ok());
        assert_eq!(memory.faults().calls(), 4, "a read and a write");
        assert!(registry.probe(BootMs(7000)).await.is_ok());
        assert_eq!(memory.faults().calls(), 5, "the write is recent");
    }

    #[tokio::test]
    async fn a_probe_after_a_failed_write_writes_again_until_a_write_succeeds() {
        let (registry, memory) = registry();
        memory.create(&Key::Cluster, b"{}".as_slice().into()).await.unwrap();
        assert!(registry.probe(BootMs(0)).await.is_ok());
        memory.faults().inject(1, &Fault::Permanent);
        registry.register(user("alice"), caller(BootMs(0))).await.expect_err("the write fails");
        for now in [1000, 2000] {
            memory.faults().inject(1, &Fault::None);
            memory.faults().inject(1, &Fault::Permanent);
            assert!(registry.probe(BootMs(now)).await.is_err(), "reads work and writes fail");
        }
        assert!(registry.probe(BootMs(3000)).await.is_ok());
    }

    #[tokio::test]
    async fn a_restarted_node_writes_its_object_again() {
        let (first, memory) = registry();
        memory.create(&Key::Cluster, b"{}".as_slice().into()).await.unwrap();
        assert!(first.probe(BootMs(0)).await.is_ok());
        let probe = memory.get(&Key::WriteProbe(settings().node)).await.unwrap().expect("written");
        assert!(registry_on(&memory).probe(BootMs(0)).await.is_ok());
        let replaced = memory.get(&Key::WriteProbe(settings().node)).await.unwrap().expect("written");
        assert_ne!(probe.bytes, replaced.bytes);
    }

    #[tokio::test]
    async fn a_bucket_without_the_cluster_id_is_unavailable() {
        let (registry, _) = registry();
        let unavailable = registry.probe(BootMs(0)).await.unwrap_err();
        assert!(unavailable.cause().contains("cluster.json is no longer in the memory"), "{}", unavailable.cause());
    }
}
