//! Token bucket: allows a burst, then a steady rate. Pure: time is an argument.

use crate::BootMs;

/// Size and refill rate of a [`TokenBucket`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    burst: u64,
    refill_ms: u64,
}

impl Rate {
    /// A bucket of `burst` tokens that gains one token every `refill_ms` milliseconds.
    #[must_use]
    pub const fn new(burst: u64, refill_ms: u64) -> Self {
        Self { burst, refill_ms }
    }
}

/// Token bucket, stored as the time when it is full again (generic cell rate algorithm).
///
/// A new bucket is full. All calls on one bucket must pass the same [`Rate`].
///
/// Invariant: an empty bucket gave its last token less than `refill_ms` milliseconds ago.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TokenBucket {
    full_at: BootMs,
}

impl TokenBucket {
    /// Takes one token if there is one at `now`; returns whether it did.
    ///
    /// A clock that goes back adds no tokens.
    pub fn take(&mut self, rate: Rate, now: BootMs) -> bool {
        self.take_many(rate, 1, now)
    }

    /// Takes `tokens` tokens if there are so many at `now`; returns whether it did. More than a
    /// whole bucket is never taken.
    pub fn take_many(&mut self, rate: Rate, tokens: u64, now: BootMs) -> bool {
        let is_enough = self.wait_ms(rate, tokens, now) == 0;
        if is_enough {
            self.full_at = self.full_at.max(now).plus(rate.refill_ms.saturating_mul(tokens));
        }
        is_enough
    }

    /// Milliseconds from `now` until the bucket has so many tokens; 0 if it has them.
    #[must_use]
    pub fn wait_ms(&self, rate: Rate, tokens: u64, now: BootMs) -> u64 {
        let full_at = self.full_at.max(now).plus(rate.refill_ms.saturating_mul(tokens));
        full_at.since(now).saturating_sub(rate.burst.saturating_mul(rate.refill_ms))
    }

    /// Puts tokens back that were taken before.
    pub fn give_back(&mut self, rate: Rate, tokens: u64) {
        self.full_at = BootMs(self.full_at.0.saturating_sub(rate.refill_ms.saturating_mul(tokens)));
    }

    /// The time at which all tokens are back.
    #[must_use]
    pub fn full_at(&self) -> BootMs {
        self.full_at
    }

    /// Whether all tokens are back at `now`.
    ///
    /// A full bucket equals a new one, so a table may drop it.
    #[must_use]
    pub fn is_full(&self, now: BootMs) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate::new(10, 100);

    #[test]
    fn a_burst_is_allowed_at_once_and_then_one_token_per_refill_time() {
        let mut bucket = TokenBucket::default();
        let at = BootMs(5000);
        assert_eq!((0..20).filter(|_| bucket.take(RATE, at)).count(), 10);
        assert!(!bucket.take(RATE, at.plus(99)));
        assert!(bucket.take(RATE, at.plus(100)));
        assert!(!bucket.take(RATE, at.plus(199)));
        assert!(!bucket.take(RATE, at), "an earlier clock adds nothing");
    }

    #[test]
    fn a_bucket_is_full_exactly_when_all_tokens_are_back() {
        let mut bucket = TokenBucket::default();
        assert!(bucket.is_full(BootMs(0)));
        (0..3).for_each(|_| assert!(bucket.take(RATE, BootMs(5000))));
        assert!(!bucket.is_full(BootMs(5299)));
        assert!(bucket.is_full(BootMs(5300)));
    }

    #[test]
    fn the_wait_ends_with_the_next_token_or_when_a_token_is_given_back() {
        let mut bucket = TokenBucket::default();
        let at = BootMs(5000);
        assert_eq!(bucket.wait_ms(RATE, 1, at), 0);
        (0..10).for_each(|_| assert!(bucket.take(RATE, at)));
        assert_eq!((bucket.wait_ms(RATE, 1, at), bucket.wait_ms(RATE, 1, at.plus(99))), (100, 1));
        assert_eq!(bucket.wait_ms(RATE, 1, at.plus(100)), 0);
        bucket.give_back(RATE, 1);
        assert!(bucket.take(RATE, at) && !bucket.take(RATE, at));
    }

    #[test]
    fn several_tokens_are_taken_together_or_not_at_all() {
        let mut bucket = TokenBucket::default();
        let at = BootMs(5000);
        assert!(bucket.take_many(RATE, 7, at) && !bucket.take_many(RATE, 4, at));
        assert_eq!((bucket.wait_ms(RATE, 4, at), bucket.wait_ms(RATE, 3, at)), (100, 0));
        assert!(bucket.take_many(RATE, 4, at.plus(100)) && !bucket.take(RATE, at.plus(100)));
        bucket.give_back(RATE, 4);
        assert!(bucket.take_many(RATE, 4, at.plus(100)));
        assert!(!bucket.take_many(RATE, 11, BootMs(u64::MAX / 2)), "more than a whole bucket");
        assert!(!bucket.take_many(RATE, u64::MAX, at));
    }

    #[test]
    fn a_bucket_of_size_zero_never_gives_a_token() {
        assert!(!TokenBucket::default().take(Rate::new(0, 100), BootMs(5000)));
    }

    /// Reference implementation that counts the saved milliseconds.
    struct Counter {
        saved_ms: u64,
        as_of: BootMs,
    }

    impl Counter {
        fn take(&mut self, rate: Rate, now: BootMs) -> bool {
            self.saved_ms = (self.saved_ms + now.since(self.as_of)).min(rate.burst * rate.refill_ms);
            self.as_of = now;
            let is_enough = self.saved_ms >= rate.refill_ms;
            self.saved_ms -= if is_enough { rate.refill_ms } else { 0 };
            is_enough
        }
    }

    proptest! {
        #[test]
        fn the_bucket_agrees_with_the_reference_implementation(
            burst in 1_u64..20,
            refill_ms in 1_u64..300,
            steps in proptest::collection::vec(0_u64..400, 1..200),
        ) {
            let rate = Rate::new(burst, refill_ms);
            let mut bucket = TokenBucket::default();
            let mut counter = Counter { saved_ms: burst * refill_ms, as_of: BootMs(0) };
            let (mut now, mut last) = (BootMs(0), BootMs(0));
            for step in steps {
                now = now.plus(step);
                let taken = bucket.take(rate, now);
                prop_assert_eq!(taken, counter.take(rate, now));
                last = if taken { now } else { last };
                prop_assert!(now.since(last) < refill_ms || taken);
            }
        }
    }
}
