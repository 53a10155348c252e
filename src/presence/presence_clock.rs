//! The time by which clients age: the boot clock without the pauses of this process, and without the time in which no
//! leader leader_active.
//!
//! While there was no leader nobody could be heard. That is no news about the clients, so it may not expire them, within a
//! bound. And a process that was stopped, or whose machine slept, heard nobody; but if there are other nodes, that is no
//! excuse: one of them heard the clients meanwhile.

use std::marker::PhantomData;

use rollcall_core::BootMs;

/// Two observations further apart than this are a stall. Whoever owns the clock observes several times a second, so
/// only a process that did not run leaves such a gap. For as long, too, a sign that a leader serves is good.
pub(super) const MAX_GAP_MS: u64 = 1000;

/// The clock by which clients age.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PresenceTime;

/// The boot clock, without the pauses of this process if there is no other.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AwakeTime;

/// A moment on the clock `C`, in milliseconds. Those of two clocks cannot be mixed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClockMs<C>(u64, PhantomData<C>);

/// A moment on the clock by which clients age.
pub type PresenceMs = ClockMs<PresenceTime>;

/// A moment on the boot clock, without the pauses of this process if there is no other.
pub type AwakeMs = ClockMs<AwakeTime>;

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
pub struct PresenceClock {
    is_single_node: bool,
    last: BootMs,
    stalled_ms: u64,
    /// Until when a leader under a known leader, on the boot clock.
    leader_active_until: BootMs,
    leaderless_ms: u64,
}

/// How far the clocks start from zero, so that a heartbeat which is older than this process has its place on them.
const CLOCK_ORIGIN_MS: u64 = 1 << 40;

impl PresenceClock {
    /// A clock that starts at `now`, and takes it that somebody serves until it is told otherwise. `is_single_node`: there is no other
    /// node that hears clients while this process does not run.
    #[must_use]
    pub fn new(is_single_node: bool, now: BootMs) -> Self {
        Self { is_single_node, last: now, stalled_ms: 0, leader_active_until: BootMs::NEVER, leaderless_ms: 0 }
    }

    /// The moment that `now` is. AwakeTime time of a node that is is_single_node stands still for whatever lies beyond a second since the
    /// last observation; presence time also for whatever lies beyond a second since the last sign of a leader.
    pub fn observe(&mut self, now: BootMs) -> Moment {
        // Two threads may read the clock in one order and come here in the other.
        let now = now.max(self.last);
        let passed = now.since(self.last);
        let stalled = if self.is_single_node { passed.saturating_sub(MAX_GAP_MS) } else { 0 };
        let unserved = now.since(self.leader_active_until.max(self.last)).min(passed - stalled);
        self.stalled_ms += stalled;
        self.leaderless_ms += unserved;
        self.last = now;
        let awake = CLOCK_ORIGIN_MS + now.0 - self.stalled_ms;
        Moment { presence: PresenceMs::new(awake - self.leaderless_ms), awake: AwakeMs::new(awake), boot: now }
    }

    /// Notes that a leader leader_active at `now`: this node, or one that was heard just now. From the first such note on, the
    /// clock stops whenever they do not come.
    pub fn note_active_leader(&mut self, now: BootMs) {
        self.observe(now);
        self.leader_active_until = now.plus(MAX_GAP_MS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_of_a_second_counts_whole_and_what_is_beyond_it_does_not() {
        let mut clock = PresenceClock::new(true, BootMs(0));
        let at = |clock: &mut PresenceClock, ms| clock.observe(BootMs(ms)).presence.0 - CLOCK_ORIGIN_MS;
        assert_eq!(at(&mut clock, 1000), 1000);
        assert_eq!(at(&mut clock, 2001), 2000);
        assert_eq!(at(&mut clock, 62_001), 3000);
        assert_eq!(at(&mut clock, 62_251), 3250);
    }

    #[test]
    fn an_observation_that_comes_late_changes_nothing() {
        let mut clock = PresenceClock::new(true, BootMs(100));
        let first = clock.observe(BootMs(900));
        assert_eq!(clock.observe(BootMs(850)), first);
        assert_eq!(clock.observe(BootMs(950)).presence.since(first.presence), 50);
    }

    #[test]
    fn presence_time_stands_still_while_nobody_serves_and_awake_time_runs_on() {
        let mut clock = PresenceClock::new(true, BootMs(0));
        clock.note_active_leader(BootMs(500));
        let ages = |clock: &mut PresenceClock, ms| {
            let moment = clock.observe(BootMs(ms));
            (moment.presence.0 - CLOCK_ORIGIN_MS, moment.awake.0 - CLOCK_ORIGIN_MS)
        };
        assert_eq!(ages(&mut clock, 1400), (1400, 1400));
        assert_eq!(ages(&mut clock, 2000), (1500, 2000), "the sign was good for a second");
        assert_eq!(ages(&mut clock, 2900), (1500, 2900));
        clock.note_active_leader(BootMs(3000));
        assert_eq!(ages(&mut clock, 3800), (2300, 3800));
    }

    #[test]
    fn with_other_nodes_a_stall_is_no_excuse_beyond_what_is_forgiven() {
        let mut clock = PresenceClock::new(false, BootMs(0));
        clock.note_active_leader(BootMs(0));
        let moment = clock.observe(BootMs(60_000));
        assert_eq!((moment.presence.0 - CLOCK_ORIGIN_MS, moment.awake.0 - CLOCK_ORIGIN_MS), (1000, 60_000));
    }

    #[test]
    fn a_stall_while_nobody_serves_counts_once() {
        let mut clock = PresenceClock::new(true, BootMs(0));
        clock.note_active_leader(BootMs(0));
        let moment = clock.observe(BootMs(60_000));
        assert_eq!(moment.awake.0 - CLOCK_ORIGIN_MS, 1000);
        assert_eq!(moment.presence.0 - CLOCK_ORIGIN_MS, 0, "of the second that counts none was under a known leader");
    }

    proptest! {
        #[test]
        fn no_time_goes_back_nor_runs_ahead(steps in proptest::collection::vec((0_u64..5000, any::<bool>()), 1..50)) {
            let mut clock = PresenceClock::new(true, BootMs(7));
            clock.note_active_leader(BootMs(7));
            let (mut now, mut before) = (BootMs(7), clock.observe(BootMs(7)));
            for (step, leader_active) in steps {
                now = now.plus(step);
                if leader_active {
                    clock.note_active_leader(now);
                }
                let then = clock.observe(now);
                prop_assert!(then.presence >= before.presence);
                prop_assert!(then.presence.since(before.presence) <= then.awake.since(before.awake));
                prop_assert_eq!(then.awake.since(before.awake), step.min(MAX_GAP_MS));
                before = then;
            }
        }

        #[test]
        fn with_a_leader_all_the_time_only_stalls_stop_the_clock(steps in proptest::collection::vec(0_u64..5000, 1..50)) {
            let mut clock = PresenceClock::new(true, BootMs(7));
            let (mut now, mut before) = (BootMs(7), clock.observe(BootMs(7)));
            for step in steps {
                now = now.plus(step);
                let then = clock.observe(now);
                prop_assert!(then.presence >= before.presence);
                prop_assert_eq!(then.presence.since(before.presence), step.min(MAX_GAP_MS));
                before = then;
            }
        }
    }
}
