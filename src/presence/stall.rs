//! The time by which clients age: the boot clock without the pauses of this process, and without the time in which no
//! leader served.
//!
//! While there was no leader nobody could be heard. That is no news about the clients, so it may not expire them, within a
//! bound. And a process that was stopped, or whose machine slept, heard nobody; but if there are other nodes, that is no
//! excuse: one of them heard the clients meanwhile.

use std::marker::PhantomData;

use rollcall_core::BootMs;

/// Two observations further apart than this are a stall. Whoever owns the clock observes several times a second, so
/// only a process that did not run leaves such a gap. For as long, too, a sign that a leader serves is good.
pub(super) const GAP_MS: u64 = 1000;

/// The clock by which clients age.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Presence;

/// The boot clock, without the pauses of this process if there is no other.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Awake;

/// A moment on the clock `C`, in milliseconds. Those of two clocks cannot be mixed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClockMs<C>(u64, PhantomData<C>);

/// A moment on the clock by which clients age.
pub type PresenceMs = ClockMs<Presence>;

/// A moment on the boot clock, without the pauses of this process if there is no other.
pub type AwakeMs = ClockMs<Awake>;

impl<C: Copy> ClockMs<C> {
    fn new(ms: u64) -> Self {
        Self(ms, PhantomData)
    }

    /// The moment `ms` milliseconds later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self::new(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `ms` milliseconds earlier.
    #[must_use]
    pub(super) fn minus(self, ms: u64) -> Self {
        Self::new(self.0.saturating_sub(ms))
    }
}

/// One moment on the three clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// For deciding who is online.
    pub presence: PresenceMs,
    /// For deciding who is offline however long there was no leader.
    pub awake: AwakeMs,
    /// For saying when somebody was seen.
    pub boot: BootMs,
}

/// Turns the boot clock into presence time.
///
/// Invariant: no time goes back; presence time never runs faster than awake time, nor that faster than the boot clock.
#[derive(Debug)]
pub struct StallClock {
    alone: bool,
    last: BootMs,
    stalled_ms: u64,
    /// Until when a leader surely served, on the boot clock.
    served_until: BootMs,
    unserved_ms: u64,
}

/// How far the clocks start from zero, so that a heartbeat which is older than this process has its place on them.
const START_MS: u64 = 1 << 40;

impl StallClock {
    /// A clock that starts at `now`, and takes it that somebody serves until it is told otherwise. `alone`: there is no other
    /// node that hears clients while this process does not run.
    #[must_use]
    pub fn new(alone: bool, now: BootMs) -> Self {
        Self { alone, last: now, stalled_ms: 0, served_until: BootMs::NEVER, unserved_ms: 0 }
    }

    /// The moment that `now` is. Awake time of a node that is alone stands still for whatever lies beyond a second since the
    /// last observation; presence time also for whatever lies beyond a second since the last sign of a leader.
    pub fn observe(&mut self, now: BootMs) -> Moment {
        // Two threads may read the clock in one order and come here in the other.
        let now = now.max(self.last);
        let passed = now.since(self.last);
        let stalled = if self.alone { passed.saturating_sub(GAP_MS) } else { 0 };
        let unserved = now.since(self.served_until.max(self.last)).min(passed - stalled);
        self.stalled_ms += stalled;
        self.unserved_ms += unserved;
        self.last = now;
        let awake = START_MS + now.0 - self.stalled_ms;
        Moment { presence: PresenceMs::new(awake - self.unserved_ms), awake: AwakeMs::new(awake), boot: now }
    }

    /// Notes that a leader served at `now`: this node, or one that was heard just now. From the first such note on, the
    /// clock stops whenever they do not come.
    pub fn served(&mut self, now: BootMs) {
        self.observe(now);
        self.served_until = now.plus(GAP_MS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_of_a_second_counts_whole_and_what_is_beyond_it_does_not() {
        let mut clock = StallClock::new(true, BootMs(0));
        let at = |clock: &mut StallClock, ms| clock.observe(BootMs(ms)).presence.0 - START_MS;
        assert_eq!(at(&mut clock, 1000), 1000);
        assert_eq!(at(&mut clock, 2001), 2000);
        assert_eq!(at(&mut clock, 62_001), 3000);
        assert_eq!(at(&mut clock, 62_251), 3250);
    }

    #[test]
    fn an_observation_that_comes_late_changes_nothing() {
        let mut clock = StallClock::new(true, BootMs(100));
        let first = clock.observe(BootMs(900));
        assert_eq!(clock.observe(BootMs(850)), first);
        assert_eq!(clock.observe(BootMs(950)).presence.since(first.presence), 50);
    }

    #[test]
    fn presence_time_stands_still_while_nobody_serves_and_awake_time_runs_on() {
        let mut clock = StallClock::new(true, BootMs(0));
        clock.served(BootMs(500));
        let ages = |clock: &mut StallClock, ms| {
            let moment = clock.observe(BootMs(ms));
            (moment.presence.0 - START_MS, moment.awake.0 - START_MS)
        };
        assert_eq!(ages(&mut clock, 1400), (1400, 1400));
        assert_eq!(ages(&mut clock, 2000), (1500, 2000), "the sign was good for a second");
        assert_eq!(ages(&mut clock, 2900), (1500, 2900));
        clock.served(BootMs(3000));
        assert_eq!(ages(&mut clock, 3800), (2300, 3800));
    }

    #[test]
    fn with_other_nodes_a_stall_is_no_excuse_beyond_what_is_forgiven() {
        let mut clock = StallClock::new(false, BootMs(0));
        clock.served(BootMs(0));
        let moment = clock.observe(BootMs(60_000));
        assert_eq!((moment.presence.0 - START_MS, moment.awake.0 - START_MS), (1000, 60_000));
    }

    #[test]
    fn a_stall_while_nobody_serves_counts_once() {
        let mut clock = StallClock::new(true, BootMs(0));
        clock.served(BootMs(0));
        let moment = clock.observe(BootMs(60_000));
        assert_eq!(moment.awake.0 - START_MS, 1000);
        assert_eq!(moment.presence.0 - START_MS, 0, "of the second that counts none was surely served");
    }

    proptest! {
        #[test]
        fn no_time_goes_back_nor_runs_ahead(steps in proptest::collection::vec((0_u64..5000, any::<bool>()), 1..50)) {
            let mut clock = StallClock::new(true, BootMs(7));
            clock.served(BootMs(7));
            let (mut now, mut before) = (BootMs(7), clock.observe(BootMs(7)));
            for (step, served) in steps {
                now = now.plus(step);
                if served {
                    clock.served(now);
                }
                let then = clock.observe(now);
                prop_assert!(then.presence >= before.presence);
                prop_assert!(then.presence.since(before.presence) <= then.awake.since(before.awake));
                prop_assert_eq!(then.awake.since(before.awake), step.min(GAP_MS));
                before = then;
            }
        }

        #[test]
        fn with_a_leader_all_the_time_only_stalls_stop_the_clock(steps in proptest::collection::vec(0_u64..5000, 1..50)) {
            let mut clock = StallClock::new(true, BootMs(7));
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
