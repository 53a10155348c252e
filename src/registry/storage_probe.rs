//! Health check of the bucket, with at most one request per second.

use tokio::sync::Mutex;

use super::error::StorageUnavailable;
use crate::storage::{Bucket, BucketError, Key};
use rollcall_core::BootMs;

/// Time for which a result is reused, in milliseconds. Load balancers check health often, so most
/// checks must not cause a request to the bucket.
const CACHE_TTL_MS: u64 = 1000;

/// The last result, and the time of that probe.
#[derive(Debug)]
struct ProbeResult {
    probed_at: BootMs,
    result: Result<(), StorageUnavailable>,
}

/// Checks whether the bucket is available and caches the result briefly.
pub(super) struct StorageProbe {
    bucket: Bucket,
    last: Mutex<Option<ProbeResult>>,
}

impl StorageProbe {
    /// A probe without a cached result.
    pub(super) fn new(bucket: Bucket) -> Self {
        Self { bucket, last: Mutex::default() }
    }

    /// Checks whether the bucket is available at `now`. Concurrent callers share one request.
    pub(super) async fn probe(&self, now: BootMs) -> Result<(), StorageUnavailable> {
        // The async lock is held during the request, so that at most one request runs at a time.
        let mut last = self.last.lock().await;
        match &*last {
            Some(probed) if now.since(probed.probed_at) < CACHE_TTL_MS => probed.result.clone(),
            Some(_) | None => {
                let result = self.read_cluster_id().await.map_err(StorageUnavailable::from);
                *last = Some(ProbeResult { probed_at: now, result: result.clone() });
                result
            }
        }
    }

    /// Reads the id of the cluster. Every node found it in the bucket when the node started. If the
    /// id is missing now, the bucket was deleted or replaced.
    async fn read_cluster_id(&self) -> Result<(), BucketError> {
        self.bucket.get(&Key::Cluster).await?.map(drop).ok_or_else(|| self.bucket.vanished(&Key::Cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::registry;
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
    }

    #[tokio::test]
    async fn a_bucket_without_the_cluster_id_is_unavailable() {
        let (registry, _) = registry();
        let unavailable = registry.probe(BootMs(0)).await.unwrap_err();
        assert!(unavailable.cause().contains("cluster.json is no longer in the memory"), "{}", unavailable.cause());
    }
}
