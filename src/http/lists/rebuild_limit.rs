//! Rate limit for the rebuilds of a list that changes often. Pure: time is an argument.

use rollcall_core::{BootMs, Rate, TokenBucket};

use crate::http::limits::{REBUILD_BURST, REBUILD_REFILL_MS};

const RATE: Rate = Rate::new(REBUILD_BURST, REBUILD_REFILL_MS);

/// Token bucket for the builds of one list.
///
/// Invariant: while there is no token, the last one was taken less than [`REBUILD_REFILL_MS`] ago.
/// So the cached list, which is sent instead, was built less than that time ago.
#[derive(Debug, Default)]
pub(super) struct RebuildLimit(TokenBucket);

impl RebuildLimit {
    /// Takes a token if there is one at `now`.
    pub(super) fn try_take(&mut self, now: BootMs) -> bool {
        self.0.take(RATE, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn after_a_burst_there_are_ten_tokens_a_second() {
        let mut limit = RebuildLimit::default();
        let at = BootMs(5000);
        assert_eq!((0..20).filter(|_| limit.try_take(at)).count(), 10);
        assert!(!limit.try_take(at.plus(99)));
        assert!(limit.try_take(at.plus(100)));
        assert!(!limit.try_take(at.plus(199)));
        let taken = (200..=10_099).filter(|ms| limit.try_take(at.plus(*ms))).count();
        assert_eq!(taken, 99);
        assert!(!limit.try_take(at), "an earlier time adds no token");
    }

    proptest! {
        #[test]
        fn without_a_token_the_last_build_is_younger_than_the_refill_time(steps in proptest::collection::vec(0_u64..150, 1..200)) {
            let mut limit = RebuildLimit::default();
            let (mut now, mut last, mut taken) = (BootMs(0), BootMs(0), 0);
            for step in steps {
                now = now.plus(step);
                if limit.try_take(now) {
                    (last, taken) = (now, taken + 1);
                }
                prop_assert!(now.since(last) < REBUILD_REFILL_MS);
                prop_assert!(taken <= REBUILD_BURST + now.0 / REBUILD_REFILL_MS);
            }
        }
    }
}
