//! Token-bucket limits with one bucket for each source or destination.

use std::collections::BTreeMap;

use rollcall_core::{BootMs, Rate, TokenBucket};

/// Largest number of buckets. If it is reached, the bucket that is full first makes room: its key
/// gains the fewest tokens by that. So keys that somebody forges do not lock out new ones.
const MAX_BUCKETS: usize = 1024;

/// A token bucket per key.
///
/// Invariant: at most [`MAX_BUCKETS`] buckets.
#[derive(Clone, Debug)]
pub(super) struct RateLimits<K> {
    rate: Rate,
    buckets: BTreeMap<K, TokenBucket>,
}

impl<K: Clone + Ord> RateLimits<K> {
    /// Full buckets of this size and refill rate.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, buckets: BTreeMap::new() }
    }

    /// Takes a token of the key. Returns whether there was one.
    pub(super) fn allows(&mut self, key: K, now: BootMs) -> bool {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= MAX_BUCKETS {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= MAX_BUCKETS
                && let Some(first) =
                    self.buckets.iter().min_by_key(|(_, bucket)| bucket.full_at()).map(|(key, _)| key.clone())
            {
                self.buckets.remove(&first);
            }
        }
        self.buckets.entry(key).or_default().take(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_a_burst_of_tokens_and_then_tokens_at_the_rate() {
        let mut limits = RateLimits::new(Rate::new(16, 500));
        let allowed = |limits: &mut RateLimits<u32>, now| (0..1000).filter(|_| limits.allows(1, BootMs(now))).count();
        assert_eq!(allowed(&mut limits, 1000), 16);
        assert!(limits.allows(2, BootMs(1000)), "each key has its own bucket");
        assert_eq!(allowed(&mut limits, 1499), 0);
        assert_eq!(allowed(&mut limits, 2000), 2);
        assert_eq!(allowed(&mut limits, 100_000), 16);
    }

    #[test]
    fn the_number_of_buckets_is_bounded_and_the_one_that_is_full_first_makes_room() {
        let mut limits = RateLimits::new(Rate::new(16, 500));
        (0..16).for_each(|_| assert!(limits.allows(7777, BootMs(5))));
        for key in 0..2000 {
            assert!(limits.allows(key, BootMs(5)), "forged keys lock out {key}");
        }
        assert_eq!(limits.buckets.len(), MAX_BUCKETS);
        assert!(!limits.allows(7777, BootMs(5)), "a key without tokens is not forgotten");
        assert!(limits.allows(5000, BootMs(10_000)));
        assert_eq!(limits.buckets.len(), 1, "full buckets are dropped");
    }
}
