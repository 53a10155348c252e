//! Presence clock: the time by which clients age.
//!
//! It is the boot clock without two kinds of time. First, the time without a leader: no node
//! accepts heartbeats in that time, so clients must not expire. (The presence table limits how much
//! of it counts for one heartbeat.) Second, on a cluster of one node, the time in which the process
//! did not run, because it was stopped or the machine slept. With several nodes, another node
//! received the heartbeats meanwhile.

use std::marker::PhantomData;

use super::wall_offset::{WallOffset, difference, signed};
use rollcall_core::{BootMs, WallMs};

/// Longest time between two observations that does not count as a pause of the process, in
/// milliseconds. The owner of the clock observes it several times a second. A sign of an active
/// leader is valid for as long.
pub(super) const MAX_GAP_MS: u64 = 1000;

/// Marker: the clock by which clients age.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PresenceTime;

/// Marker: the boot clock; on a single node, without the pauses of the process.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AwakeTime;

/// A time on the clock `C`, in milliseconds. The type keeps times of different clocks apart.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClockMs<C>(u64, PhantomData<C>);

/// A time on the clock by which clients age.
pub type PresenceMs = ClockMs<PresenceTime>;

/// A time on the boot clock; on a single node, without the pauses of the process.
pub type AwakeMs = ClockMs<AwakeTime>;

impl<C: Copy> ClockMs<C> {
    fn new(ms: u64) -> Self {
        Self(ms, PhantomData)
    }

    /// The time `ms` milliseconds later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self::new(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time `ms` milliseconds earlier.
    #[must_use]
    pub(super) fn minus(self, ms: u64) -> Self {
        Self::new(self.0.saturating_sub(ms))
    }
}

/// One instant, read on the four clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// Decides whether a client is online.
    pub presence: PresenceMs,
    /// Limits how long a client stays online while there is no leader.
    pub awake: AwakeMs,
    /// The time on the machine's boot clock.
    pub boot: BootMs,
    /// Displayed as the time at which a client was last seen.
    pub wall: WallMs,
    /// Whether the machine's wall clock is set.
    pub is_wall_set: bool,
}

impl Moment {
    /// Wall time at `boot_ms` on the boot clock. `boot_ms` is negative before the boot.
    pub(super) fn wall_at(self, boot_ms: i64) -> WallMs {
        WallMs::new(boot_ms.saturating_add(difference(self.boot, self.wall)))
    }

    /// Milliseconds on the boot clock at `wall`; negative before the boot.
    pub(super) fn boot_at(self, wall: WallMs) -> i64 {
        wall.unix_ms().saturating_sub(difference(self.boot, self.wall))
    }

    /// Milliseconds on the boot clock `ms` milliseconds ago; negative before the boot.
    pub(super) fn boot_ago(self, ms: u64) -> i64 {
        signed(self.boot).saturating_sub_unsigned(ms)
    }
}

/// Derives presence time, awake time and wall time from the boot clock.
///
/// Invariant: presence time, awake time and the boot clock never go back. Presence time never runs
/// faster than awake time, and awake time never runs faster than the boot clock.
#[derive(Debug)]
pub struct PresenceClock {
    /// No other node receives heartbeats while this process is paused.
    is_single_node: bool,
    last: BootMs,
    paused_ms: u64,
    /// The last sign of an active leader is valid until this time.
    leader_active_until: BootMs,
    leaderless_ms: u64,
    wall_offset: WallOffset,
}

/// Start value of the derived clocks, in milliseconds. Heartbeats from before the start of this
/// process get a smaller time, which must not be negative.
const CLOCK_ORIGIN_MS: u64 = 1 << 40;

impl PresenceClock {
    /// A clock that starts at `now`, when the machine's wall clock shows `wall`. It assumes an
    /// active leader until the first call of [`Self::note_active_leader`]. `is_single_node`: no
    /// other node receives heartbeats while this process is paused.
    #[must_use]
    pub fn new(is_single_node: bool, now: BootMs, wall: WallMs) -> Self {
        let wall_offset = WallOffset::new(now, wall);
        Self {
            is_single_node,
            last: now,
            paused_ms: 0,
            leader_active_until: BootMs::NEVER,
            leaderless_ms: 0,
            wall_offset,
        }
    }

    /// Reads the four clocks at `now`. On a single node, awake time counts at most one second
    /// since the last observation. Presence time counts at most one second since the last sign of a
    /// leader.
    pub fn observe(&mut self, now: BootMs) -> Moment {
        // Two threads may call this in another order than the one in which they read the boot
        // clock.
        let now = now.max(self.last);
        let elapsed = now.since(self.last);
        let paused = if self.is_single_node { elapsed.saturating_sub(MAX_GAP_MS) } else { 0 };
        let leaderless = now.since(self.leader_active_until.max(self.last)).min(elapsed - paused);
        self.paused_ms += paused;
        self.leaderless_ms += leaderless;
        self.last = now;
        let awake = CLOCK_ORIGIN_MS + now.0 - self.paused_ms;
        Moment {
            presence: PresenceMs::new(awake - self.leaderless_ms),
            awake: AwakeMs::new(awake),
            boot: now,
            wall: self.wall_offset.at(now),
            is_wall_set: self.wall_offset.is_set(),
        }
    }

    /// Records that a leader was active at `now`: this node, or another one just heard from. After
    /// the first call, presence time stops one second after the last call.
    pub fn note_active_leader(&mut self, now: BootMs) {
        self.observe(now);
        self.leader_active_until = now.plus(MAX_GAP_MS);
    }

    /// Compares the displayed wall time with the machine's wall clock, which shows `wall` at `now`.
    /// Returns whether the clock was set, so that displayed times change.
    pub fn update_wall_time(&mut self, now: BootMs, wall: WallMs) -> bool {
        self.wall_offset.update(now, wall)
    }

    /// Records that `now` is not earlier than `wall`, a time read from a file. While the machine's
    /// clock is not set, the displayed wall time continues from there.
    pub fn note_earlier_time(&mut self, now: BootMs, wall: WallMs) {
        self.wall_offset.note_earlier_time(now, wall);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_counts_for_at_most_one_second_on_a_single_node() {
        let mut clock = PresenceClock::new(true, BootMs(0), WallMs::new(0));
        let at = |clock: &mut PresenceClock, ms| clock.observe(BootMs(ms)).presence.0 - CLOCK_ORIGIN_MS;
        assert_eq!(at(&mut clock, 1000), 1000);
        assert_eq!(at(&mut clock, 2001), 2000);
        assert_eq!(at(&mut clock, 62_001), 3000);
        assert_eq!(at(&mut clock, 62_251), 3250);
    }

    #[test]
    fn an_observation_of_an_earlier_time_changes_nothing() {
        let mut clock = PresenceClock::new(true, BootMs(100), WallMs::new(0));
        let first = clock.observe(BootMs(900));
        assert_eq!(clock.observe(BootMs(850)), first);
        assert_eq!(clock.observe(BootMs(950)).presence.since(first.presence), 50);
    }

    #[test]
    fn presence_time_stops_without_a_leader_and_awake_time_does_not() {
        let mut clock = PresenceClock::new(true, BootMs(0), WallMs::new(0));
        clock.note_active_leader(BootMs(500));
        let ages = |clock: &mut PresenceClock, ms| {
            let moment = clock.observe(BootMs(ms));
            (moment.presence.0 - CLOCK_ORIGIN_MS, moment.awake.0 - CLOCK_ORIGIN_MS)
        };
        assert_eq!(ages(&mut clock, 1400), (1400, 1400));
        assert_eq!(ages(&mut clock, 2000), (1500, 2000), "a sign of a leader is valid for a second");
        assert_eq!(ages(&mut clock, 2900), (1500, 2900));
        clock.note_active_leader(BootMs(3000));
        assert_eq!(ages(&mut clock, 3800), (2300, 3800));
    }

    #[test]
    fn with_other_nodes_a_pause_counts_except_for_leaderless_time() {
        let mut clock = PresenceClock::new(false, BootMs(0), WallMs::new(0));
        clock.note_active_leader(BootMs(0));
        let moment = clock.observe(BootMs(60_000));
        assert_eq!((moment.presence.0 - CLOCK_ORIGIN_MS, moment.awake.0 - CLOCK_ORIGIN_MS), (1000, 60_000));
    }

    #[test]
    fn a_pause_without_a_leader_is_subtracted_once() {
        let mut clock = PresenceClock::new(true, BootMs(0), WallMs::new(0));
        clock.note_active_leader(BootMs(0));
        let moment = clock.observe(BootMs(60_000));
        assert_eq!(moment.awake.0 - CLOCK_ORIGIN_MS, 1000);
        assert_eq!(moment.presence.0 - CLOCK_ORIGIN_MS, 0, "the leader was unknown in the second that counts");
    }

    proptest! {
        #[test]
        fn no_clock_goes_back_or_runs_ahead_of_the_boot_clock(steps in proptest::collection::vec((0_u64..5000, any::<bool>()), 1..50)) {
            let mut clock = PresenceClock::new(true, BootMs(7), WallMs::new(0));
            clock.note_active_leader(BootMs(7));
            let (mut now, mut before) = (BootMs(7), clock.observe(BootMs(7)));
            for (step, leader_active) in steps {
                now = now.plus(step);
                if leader_active {
                    clock.note_active_leader(now);
                }
                let reading = clock.observe(now);
                prop_assert!(reading.presence >= before.presence);
                prop_assert!(reading.presence.since(before.presence) <= reading.awake.since(before.awake));
                prop_assert_eq!(reading.awake.since(before.awake), step.min(MAX_GAP_MS));
                before = reading;
            }
        }

        #[test]
        fn with_a_permanent_leader_only_pauses_stop_presence_time(steps in proptest::collection::vec(0_u64..5000, 1..50)) {
            let mut clock = PresenceClock::new(true, BootMs(7), WallMs::new(0));
            let (mut now, mut before) = (BootMs(7), clock.observe(BootMs(7)));
            for step in steps {
                now = now.plus(step);
                let reading = clock.observe(now);
                prop_assert!(reading.presence >= before.presence);
                prop_assert_eq!(reading.presence.since(before.presence), step.min(MAX_GAP_MS));
                before = reading;
            }
        }
    }
}
