//! Token-bucket limit on replies per source address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::limits::{REPLIES_PER_SECOND, REPLY_BURST};
use rollcall_core::{BootMs, Rate, TokenBucket};

/// Largest number of buckets. If it is reached, a new source gets no reply until the bucket of
/// another source is full again.
const MAX_SOURCES: usize = 1024;

/// Burst and refill rate of each bucket.
const RATE: Rate = Rate::new(REPLY_BURST, 1000 / REPLIES_PER_SECOND);

/// A token bucket per source address.
///
/// Invariant: at most [`MAX_SOURCES`] buckets.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplyLimit {
    buckets: BTreeMap<IpAddr, TokenBucket>,
}

impl ReplyLimit {
    /// Takes a token for a reply. Returns whether there was one.
    pub(super) fn allows(&mut self, source: IpAddr, now: BootMs) -> bool {
        if !self.buckets.contains_key(&source) && self.buckets.len() >= MAX_SOURCES {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= MAX_SOURCES {
                return false;
            }
        }
        self.buckets.entry(source).or_default().take(RATE, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_a_burst_of_replies_and_then_two_per_second() {
        let (mut limit, one, other) = (ReplyLimit::default(), "10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let allowed = |limit: &mut ReplyLimit, now| (0..1000).filter(|_| limit.allows(one, BootMs(now))).count();
        assert_eq!(allowed(&mut limit, 1000), 16);
        assert!(limit.allows(other, BootMs(1000)), "each source has its own bucket");
        assert_eq!(allowed(&mut limit, 1499), 0);
        assert_eq!(allowed(&mut limit, 2000), 2);
        assert_eq!(allowed(&mut limit, 100_000), 16);
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let mut limit = ReplyLimit::default();
        for number in 0..2000u32 {
            limit.allows(IpAddr::from(number.to_be_bytes()), BootMs(5));
        }
        assert_eq!(limit.buckets.len(), MAX_SOURCES);
        assert!(limit.allows("1.1.1.1".parse().unwrap(), BootMs(10_000)));
    }
}
