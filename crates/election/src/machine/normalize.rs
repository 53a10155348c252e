//! State without absolute time, for the model check.
//!
//! Two states become equal if they differ only in the readings of their clocks or in expired
//! values. Without this step the model check would explore both. Test support only.
//!
//! Every struct is destructured without `..`. A new field does not compile until it is handled
//! here.

use super::ballot_recovery::{BallotRecovery, BallotStatus};
use super::dead_processes::DeadProcesses;
use super::durable_ballot::{DurableBallot, PendingReplies};
use super::node::Node;
use super::rules::Rules;
use super::state::{BootWindow, Following, Handover, LeaderHint, Leadership, Promise, ReleasedTerm, Schedule, State};
use crate::process::{NodeId, NodeSet};
use rollcall_core::{BootMs, MAX_NODES, Term};

/// Number that replaces the number of the present round while responses cannot recover a lost
/// ballot. Each past round gets the number below it.
const ORDINARY_ROUND: u32 = 1;
/// Number that replaces the number of the present round once responses can recover a lost ballot.
/// Each past round whose responses can do so gets the number below it.
const RECOVERY_ROUND: u32 = 3;

/// Implements [`Machine::normalized`](super::Machine::normalized) on the state.
pub(super) fn normalize_node(node: &mut Node, now: BootMs, passed: &[u64; MAX_NODES]) {
    let Node { rules, process: _, ballot, recovery, state, following, dead, schedule } = node;
    let clocks = Clocks::new(rules, now, passed);
    normalize_state(state, rules, &clocks);
    normalize_ballot(ballot, &clocks);
    normalize_following(following, &clocks);
    normalize_schedule(schedule, rules, &clocks);
    normalize_rounds(recovery, schedule, &clocks);
    let DeadProcesses { boots: _, leader: _, trusts_end_of_stream: _ } = dead;
}

fn normalize_ballot(ballot: &mut DurableBallot, clocks: &Clocks<'_>) {
    let DurableBallot { current, saved: _, saving: _, pending, highest_seen_term, highest_saved_term: _ } = ballot;
    match pending {
        None | Some(PendingReplies::VoteRequests) => {}
        Some(PendingReplies::Grant { to, asked_at }) => clocks.asked(*to, asked_at),
        Some(PendingReplies::Ack { to, sent_at }) => clocks.past(*to, sent_at),
    }
    if *highest_seen_term <= current.term {
        *highest_seen_term = Term(0);
    }
}

fn normalize_following(following: &mut Following, clocks: &Clocks<'_>) {
    let Following { leader: _, promise, window, hint } = following;
    if let Some(Promise { to: _, term: _, until }) = promise {
        clocks.due(until);
    }
    *promise = promise.filter(|promise| clocks.now < promise.until);
    if let Some(LeaderHint { node: _, term: _, until }) = hint {
        clocks.due(until);
    }
    *hint = hint.filter(|hint| clocks.now < hint.until);
    if let Some(BootWindow { until, not_leading: _ }) = window {
        clocks.due(until);
    }
}

fn normalize_schedule(schedule: &mut Schedule, rules: &Rules, clocks: &Clocks<'_>) {
    let Schedule { deadline, round: _, lost_rounds, nominated: _, released } = schedule;
    if let Some(ReleasedTerm { term: _, resign_at }) = released {
        clocks.due(resign_at);
    }
    clocks.due(deadline);
    if rules.timings.election_retry_ms == 0 {
        // The pause is 0, so the number of doublings makes no difference.
        *lost_rounds = 0;
    }
}

fn normalize_rounds(recovery: &mut BallotRecovery, schedule: &mut Schedule, clocks: &Clocks<'_>) {
    let BallotRecovery { missing_at_start, status, reports_count_from, first_counted_round } = recovery;
    clocks.due(reports_count_from);
    if *status == BallotStatus::Sound {
        *reports_count_from = clocks.now;
    }
    let is_recovering = *missing_at_start && first_counted_round.is_some();
    schedule.round = if is_recovering { RECOVERY_ROUND } else { ORDINARY_ROUND };
    *first_counted_round = is_recovering.then_some(RECOVERY_ROUND - 1);
}

fn normalize_state(state: &mut State, rules: &Rules, clocks: &Clocks<'_>) {
    let me = rules.me;
    match state {
        State::Follower => {}
        State::PreVote { since, term: _, grants: _, lightest: _ } => clocks.asked(me, since),
        State::Candidate { released_term: _, asked_at, answered, votes } => {
            clocks.asked(me, asked_at);
            if *asked_at == clocks.oldest_asked {
                // The timeout for votes is over, so no vote counts any more.
                *answered = NodeSet::of(me);
                *votes = *answered;
            }
        }
        State::Leader(Leadership {
            since,
            next_heartbeat_at,
            acked,
            successor_loads: _,
            next_handover_check_at,
            overloaded_since,
            handover,
        }) => {
            clocks.past(me, since);
            for acked in acked.iter_mut() {
                if let Some(sent_at) = acked {
                    clocks.past(me, sent_at);
                }
                *acked = acked.filter(|sent_at| *sent_at > clocks.oldest);
            }
            if *next_handover_check_at == BootMs::NEVER && acked.iter().flatten().count() + 1 >= rules.majority() {
                // The time of the election matters only until a majority has acknowledged.
                *since = clocks.oldest;
            }
            if let Some(since) = overloaded_since {
                clocks.past(me, since);
            }
            clocks.due(next_heartbeat_at);
            clocks.due(next_handover_check_at);
            if let Some(Handover { to: _, drain_deadline }) = handover {
                clocks.due(drain_deadline);
            }
        }
    }
}

/// Shifts times back by `passed`, and makes all times equal that are too old or due.
struct Clocks<'a> {
    me: NodeId,
    now: BootMs,
    /// Older heartbeats and elections are equal for every rule.
    oldest: BootMs,
    /// Responses to pre-vote and vote requests before this moment do not count.
    oldest_asked: BootMs,
    /// Milliseconds to shift back, per node whose clock the time belongs to.
    passed: &'a [u64; MAX_NODES],
}

impl<'a> Clocks<'a> {
    fn new(rules: &Rules, now: BootMs, passed: &'a [u64; MAX_NODES]) -> Self {
        let back = |ms: u64| BootMs(now.0.saturating_sub(ms));
        Self {
            me: rules.me,
            now,
            oldest: back(rules.max_lookback_ms()),
            oldest_asked: back(rules.timings.net_timeout_ms + 1),
            passed,
        }
    }

    /// `time` on the clock of the node `clock`, shifted back.
    fn shifted(&self, clock: NodeId, time: BootMs) -> BootMs {
        match time {
            BootMs::NEVER => BootMs::NEVER,
            BootMs(ms) => BootMs(ms.saturating_sub(self.passed[usize::from(clock.0)])),
        }
    }

    /// Normalizes the time of a past heartbeat or election.
    fn past(&self, clock: NodeId, time: &mut BootMs) {
        *time = self.shifted(clock, *time).max(self.oldest);
    }

    /// Normalizes the send time of a pre-vote or vote request.
    fn asked(&self, clock: NodeId, time: &mut BootMs) {
        *time = self.shifted(clock, *time).max(self.oldest_asked);
    }

    /// Normalizes a deadline on this node's clock. Every deadline that is over becomes `now`.
    fn due(&self, time: &mut BootMs) {
        *time = self.shifted(self.me, *time).max(self.now);
    }
}
