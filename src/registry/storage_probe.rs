//! Finds out whether the bucket answers, at most once a second.

use tokio::sync::Mutex;

use super::error::StorageUnavailable;
use crate::storage::{Bucket, BucketError, Key};
use rollcall_core::BootMs;

/// For how long an result holds: balancers ask often, and a store is not there to be asked.
const CACHE_TTL_MS: u64 = 1000;

/// The last result, and when the question was asked.
#[derive(Debug)]
struct ProbeResult {
    probed_at: BootMs,
    result: Result<(), StorageUnavailable>,
}

/// Asks the bucket whether it answers, and remembers the result for a moment.
pub(super) struct StorageProbe {
    bucket: Bucket,
    last: Mutex<Option<ProbeResult>>,
}

impl StorageProbe {
    /// A probe that has not asked yet.
    pub(super) fn new(bucket: Bucket) -> Self {
        Self { bucket, last: Mutex::default() }
    }

    /// Whether the bucket answers at `now`. Who asks while another waits for the result takes that one.
    pub(super) async fn probe(&self, now: BootMs) -> Result<(), StorageUnavailable> {
        // An async lock: it is held while the bucket is asked, so that it is asked once.
        let mut last = self.last.lock().await;
        match &*last {
            Some(probed) if now.since(probed.probed_at) < CACHE_TTL_MS => probed.result.clone(),
            Some(_) | None => {
                let result = self.check().await.map_err(StorageUnavailable::from);
                *last = Some(ProbeResult { probed_at: now, result: result.clone() });
                result
            }
        }
    }

    /// Every node saw the cluster's id in the bucket at its start: a bucket without it is another one, or none.
    async fn check(&self) -> Result<(), BucketError> {
        self.bucket.get(&Key::Cluster).await?.map(drop).ok_or_else(|| self.bucket.vanished(&Key::Cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::registry;
    use super::*;
    use crate::storage::{Backend, Fault};

    #[tokio::test]
    async fn the_bucket_is_asked_once_a_second() {
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
    async fn a_bucket_without_the_clusters_id_is_not_taken_for_ours() {
        let (registry, _) = registry();
        let unavailable = registry.probe(BootMs(0)).await.unwrap_err();
        assert!(unavailable.cause().contains("cluster.json is no longer in the memory"), "{}", unavailable.cause());
    }
}
