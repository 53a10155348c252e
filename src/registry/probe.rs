//! Finds out whether the bucket answers, at most once a second.

use super::{Registry, Unavailable};
use crate::domain::BootMs;
use crate::storage::Key;

/// For how long an answer holds: balancers ask often, and a store is not there to be asked.
const HOLDS_MS: u64 = 1000;

/// The last answer, and when the question was asked.
#[derive(Debug)]
pub(super) struct Probed {
    asked_at: BootMs,
    answer: Result<(), Unavailable>,
}

impl Registry {
    /// Whether the bucket answers at `now`. Who asks while another waits for the answer takes that one.
    ///
    /// # Errors
    /// [`Unavailable`] if it does not.
    pub async fn probe(&self, now: BootMs) -> Result<(), Unavailable> {
        // An async lock: it is held while the bucket is asked, so that it is asked once.
        let mut last = self.0.probed.lock().await;
        match &*last {
            Some(probed) if now.since(probed.asked_at) < HOLDS_MS => probed.answer.clone(),
            Some(_) | None => {
                let answer = self.0.bucket.get(&Key::Cluster).await.map(|_| ()).map_err(Unavailable::from);
                *last = Some(Probed { asked_at: now, answer: answer.clone() });
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::registry;
    use super::*;
    use crate::storage::Fault;

    #[tokio::test]
    async fn the_bucket_is_asked_once_a_second() {
        let (registry, memory) = registry();
        memory.faults().set_outage(Some(Fault::Permanent));
        assert!(registry.probe(BootMs(5000)).await.is_err());
        memory.faults().set_outage(None);
        assert!(registry.probe(BootMs(5999)).await.is_err());
        assert_eq!(memory.faults().calls(), 1);
        assert!(registry.probe(BootMs(6000)).await.is_ok());
    }
}
