//! The time by which clients age: the boot clock without the pauses of this process.
//!
//! A process that was stopped, or whose machine slept, heard nobody. That is no news about the clients, so the pause
//! must not expire them.

use crate::domain::BootMs;

/// Two observations further apart than this are a stall. Whoever owns the clock observes several times a second, so
/// only a process that did not run leaves such a gap.
const GAP_MS: u64 = 1000;

/// A moment on the clock by which clients age.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PresenceMs(u64);

impl PresenceMs {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// For deciding who is online.
    pub presence: PresenceMs,
    /// For saying when somebody was seen.
    pub boot: BootMs,
}

/// Turns the boot clock into presence time.
///
/// Invariant: presence time never goes back, and never runs faster than the boot clock.
#[derive(Debug)]
pub struct StallClock {
    last: BootMs,
    stalled_ms: u64,
}

impl StallClock {
    /// A clock that starts at `now`.
    #[must_use]
    pub fn new(now: BootMs) -> Self {
        Self { last: now, stalled_ms: 0 }
    }

    /// The presence time at `now`. It stands still for whatever lies beyond a second since the last observation.
    pub fn observe(&mut self, now: BootMs) -> Moment {
        // Two threads may read the clock in one order and come here in the other.
        let now = now.max(self.last);
        self.stalled_ms += now.since(self.last).saturating_sub(GAP_MS);
        self.last = now;
        Moment { presence: PresenceMs(now.0 - self.stalled_ms), boot: now }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_of_a_second_counts_whole_and_what_is_beyond_it_does_not() {
        let mut clock = StallClock::new(BootMs(0));
        let at = |clock: &mut StallClock, ms| clock.observe(BootMs(ms)).presence.0;
        assert_eq!(at(&mut clock, 1000), 1000);
        assert_eq!(at(&mut clock, 2001), 2000);
        assert_eq!(at(&mut clock, 62_001), 3000);
        assert_eq!(at(&mut clock, 62_251), 3250);
    }

    #[test]
    fn an_observation_that_comes_late_changes_nothing() {
        let mut clock = StallClock::new(BootMs(100));
        let first = clock.observe(BootMs(900));
        assert_eq!(clock.observe(BootMs(850)), first);
        assert_eq!(clock.observe(BootMs(950)).presence.since(first.presence), 50);
    }

    proptest! {
        #[test]
        fn presence_time_never_goes_back_nor_runs_ahead(steps in proptest::collection::vec(0_u64..5000, 1..50)) {
            let mut clock = StallClock::new(BootMs(7));
            let (mut now, mut before) = (BootMs(7), clock.observe(BootMs(7)));
            for step in steps {
                now = now.plus(step);
                let then = clock.observe(now);
                prop_assert!(then.presence >= before.presence);
                prop_assert_eq!(then.presence.since(before.presence), step.min(GAP_MS));
                before = then;
            }
        }
    }
}
