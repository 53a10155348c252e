//! Leader role (rules 3 and 7): the lease, stepping down, and the planned handover.

use super::event::{LogEvent, StepDownReason};
use super::event_context::EventContext;
use super::node::Node;
use super::state::{Handover, Leadership, ReleasedTerm, State};
use crate::process::{NodeId, all_ids};
use crate::wire::message::Message;
use rollcall_core::{BootMs, Load, MAX_NODES, Term};

/// Load difference for a handover, in hundredths of the capacity. The load of the least loaded
/// follower must be lower than the load of the leader by at least this much. The value was found by
/// simulation: with a smaller one, the load of leading itself causes handovers.
const HANDOVER_LOAD_POINTS: u16 = 25;

/// Longest time that a leader waits for requests in progress during a handover, in milliseconds.
const DRAIN_TIMEOUT_MS: u64 = 200;

/// Wait of a former leader for its successor before it sends Resign to all nodes, in
/// milliseconds.
const SUCCESSOR_TIMEOUT_MS: u64 = 300;

/// Pause after a handover before the former leader starts a pre-vote round, in milliseconds. The
/// successor needs this time to win.
const FORMER_LEADER_PAUSE_MS: u64 = 1000;

/// End of the lease (rule 3): the send time of the newest heartbeat that a majority acknowledged,
/// plus L. 0 for a node that does not lead, or that no majority has acknowledged yet. The lease of
/// a cluster of one node never ends.
pub(super) fn serves_until(node: &Node) -> BootMs {
    if !node.leads() {
        return BootMs(0);
    }
    if node.rules.nodes == 1 {
        return BootMs::NEVER;
    }
    majority_acked(node).map_or(BootMs(0), |sent_at| sent_at.plus(node.rules.lease_ms()))
}

/// Whether this node may answer as the leader at `now`.
pub(super) fn is_serving(node: &Node, now: BootMs) -> bool {
    now < serves_until(node)
}

/// The send time of the newest heartbeat that a majority acknowledged. This node counts as one of
/// the majority.
fn majority_acked(node: &Node) -> Option<BootMs> {
    let State::Leader(leadership) = &node.state else { return None };
    let mut newest_first = leadership.acked;
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    newest_first[node.rules.majority() - 2]
}

/// When a leader without a majority steps down: V after the send time of the newest heartbeat that
/// a majority acknowledged, or V after its election if there is none. Never for other nodes.
pub(super) fn step_down_at(node: &Node) -> BootMs {
    match &node.state {
        State::Leader(leadership) if node.rules.nodes > 1 => {
            majority_acked(node).unwrap_or(leadership.since).plus(node.rules.timings.election_timeout_min_ms)
        }
        _ => BootMs::NEVER,
    }
}

/// When a leader acts next: at its next heartbeat, at the deadline of its handover, or when it must
/// step down.
pub(super) fn next_timer_at(node: &Node, leadership: &Leadership) -> BootMs {
    let drain_deadline = leadership.handover.map_or(BootMs::NEVER, |handover| handover.drain_deadline);
    leadership.next_heartbeat_at.min(step_down_at(node)).min(drain_deadline)
}

/// Starts to lead after a majority of votes, and sends the first heartbeat at once.
pub(super) fn become_leader(node: &mut Node, ctx: &mut EventContext) {
    node.state = State::Leader(Leadership {
        since: ctx.now,
        next_heartbeat_at: ctx.now,
        acked: [None; MAX_NODES],
        successor_loads: [None; MAX_NODES],
        next_handover_check_at: ctx.now.plus(node.rules.timings.leader_term_ms),
        overloaded_since: None,
        handover: None,
    });
    node.schedule.lost_rounds = 0;
    node.schedule.nominated = false;
    node.dead.leader = None;
    node.schedule.released = None;
    node.following.hint = None;
    ctx.log(LogEvent::ElectionWon { term: node.ballot.term() });
    broadcast_heartbeat(node, ctx);
}

fn broadcast_heartbeat(node: &mut Node, ctx: &mut EventContext) {
    if let State::Leader(leadership) = &mut node.state {
        leadership.next_heartbeat_at = ctx.now.plus(node.rules.timings.heartbeat_interval_ms);
    }
    ctx.broadcast(&node.rules, Message::Heartbeat { term: node.ballot.term(), sent_at: ctx.now });
}

/// Handles the timer of a leader: ends a handover at its deadline, or sends the heartbeat that is
/// due.
pub(super) fn handle_timer(node: &mut Node, ctx: &mut EventContext) {
    let State::Leader(leadership) = &node.state else { return };
    if leadership.handover.is_some_and(|handover| ctx.now >= handover.drain_deadline) {
        release_term(node, ctx);
    } else if ctx.now >= leadership.next_heartbeat_at {
        consider_handover(node, ctx);
        broadcast_heartbeat(node, ctx);
    }
}

/// Steps down if no majority acknowledged a heartbeat within V. This is checked at every event, not
/// only at timers: a leader that was suspended must not send another heartbeat first.
pub(super) fn check_majority(node: &mut Node, ctx: &mut EventContext) {
    if ctx.now < step_down_at(node) {
        return;
    }
    let term = node.ballot.term();
    step_down(node, ctx, StepDownReason::LostMajority);
    // The lease has ended, and this node never leads this term again, so the promises to it can be
    // released. A node may receive this message although its own messages do not arrive here.
    ctx.broadcast(&node.rules, Message::Resign { term });
}

/// Rule 3: an acknowledgement extends the lease. A higher term ends the leadership.
/// `successor_load` is the load of the sender if it can take over.
pub(super) fn handle_ack(
    node: &mut Node,
    ctx: &mut EventContext,
    from: NodeId,
    term: Term,
    sent_at: BootMs,
    successor_load: Option<Load>,
) {
    node.ballot.observe_term(term);
    let State::Leader(leadership) = &mut node.state else { return };
    if term > node.ballot.term() {
        step_down(node, ctx, StepDownReason::HigherTerm(term));
    } else if term == node.ballot.term() && (leadership.since..=ctx.now).contains(&sent_at) {
        let newest = &mut leadership.acked[usize::from(from.0)];
        *newest = (*newest).max(Some(sent_at));
        leadership.successor_loads[usize::from(from.0)] = successor_load;
    }
}

/// Ends a leadership. The node may campaign again after a pause.
pub(super) fn step_down(node: &mut Node, ctx: &mut EventContext, reason: StepDownReason) {
    ctx.log(LogEvent::SteppedDown { term: node.ballot.term(), reason });
    node.state = State::Follower;
    node.schedule.deadline = ctx.now.plus(node.rules.vote_timeout_ms(node.schedule.lost_rounds, ctx.entropy));
}

/// The least loaded follower that acknowledged recently and can campaign, with its load.
fn successor(node: &Node, now: BootMs) -> Option<(Load, NodeId)> {
    let State::Leader(leadership) = &node.state else { return None };
    let recent_ms = 2 * node.rules.timings.heartbeat_interval_ms;
    all_ids(node.rules.nodes)
        .filter(|other| leadership.acked[usize::from(other.0)].is_some_and(|sent_at| now.since(sent_at) <= recent_ms))
        .filter_map(|other| leadership.successor_loads[usize::from(other.0)].map(|load| (load, other)))
        .min()
}

/// Rule 7: checks whether another node should lead. Hysteresis prevents a handover at every spike:
/// a much less loaded node must have existed for half of `leader_term_ms`, and this node must have
/// led for two `leader_term_ms`.
fn consider_handover(node: &mut Node, ctx: &mut EventContext) {
    let now = ctx.now;
    let successor = successor(node, now).filter(|(load, _)| load.lighter_by(HANDOVER_LOAD_POINTS, node.process.load));
    let term_ms = node.rules.timings.leader_term_ms;
    let State::Leader(leadership) = &mut node.state else { return };
    leadership.overloaded_since = successor.and(leadership.overloaded_since.or(Some(now)));
    if now < leadership.next_handover_check_at {
        return;
    }
    leadership.next_handover_check_at = now.plus(term_ms);
    let overloaded_long_enough = leadership.overloaded_since.is_some_and(|since| now.since(since) >= term_ms / 2);
    let led_long_enough = now.since(leadership.since) >= 2 * term_ms;
    if let Some((_, to)) = successor.filter(|_| overloaded_long_enough && led_long_enough && !node.process.stopping) {
        begin_handover(node, ctx, to);
    }
}

fn begin_handover(node: &mut Node, ctx: &mut EventContext, to: NodeId) {
    let State::Leader(leadership) = &mut node.state else { return };
    leadership.handover = Some(Handover { to, drain_deadline: ctx.now.plus(DRAIN_TIMEOUT_MS) });
    ctx.log(LogEvent::HandoverStarted { to, term: node.ballot.term() });
    ctx.drain();
}

/// Completes the handover: all requests that were in progress are answered.
pub(super) fn handle_drained(node: &mut Node, ctx: &mut EventContext) {
    if is_handing_over(node) {
        release_term(node, ctx);
    }
}

/// Gives the term up for good and asks the successor to campaign. This node still votes. It
/// campaigns again only after a pause.
fn release_term(node: &mut Node, ctx: &mut EventContext) {
    let State::Leader(Leadership { handover: Some(handover), .. }) = node.state else { return };
    let term = node.ballot.term();
    let reason = if node.process.stopping { StepDownReason::Stopping } else { StepDownReason::HandedOver };
    step_down(node, ctx, reason);
    node.schedule.released = Some(ReleasedTerm { term, resign_at: ctx.now.plus(SUCCESSOR_TIMEOUT_MS) });
    node.schedule.deadline = ctx.now.plus(FORMER_LEADER_PAUSE_MS);
    ctx.send(handover.to, Message::StandNow { term });
}

/// If no node leads soon after this node gave its term up, sends Resign for that term to all nodes.
pub(super) fn resign_if_due(node: &mut Node, ctx: &mut EventContext) {
    if let Some(released) = node.schedule.released.filter(|released| ctx.now >= released.resign_at) {
        node.schedule.released = None;
        ctx.broadcast(&node.rules, Message::Resign { term: released.term });
    }
}

/// Handles a stop request. A leader that serves hands its leadership over if a node can take over;
/// otherwise it resigns. A node that knows no leader ends its campaign.
pub(super) fn handle_stop(node: &mut Node, ctx: &mut EventContext) {
    node.process.stopping = true;
    if let State::Leader(leadership) = &node.state {
        if leadership.handover.is_some() {
            return;
        }
        if let Some((_, to)) = successor(node, ctx.now).filter(|_| is_serving(node, ctx.now)) {
            begin_handover(node, ctx, to);
            return;
        }
        let term = node.ballot.term();
        step_down(node, ctx, StepDownReason::Stopping);
        ctx.broadcast(&node.rules, Message::Resign { term });
    } else if node.following.leader.is_none() {
        node.state = State::Follower;
    }
}

fn is_handing_over(node: &Node) -> bool {
    matches!(&node.state, State::Leader(leadership) if leadership.handover.is_some())
}

/// Whether this node is handing over its term, or has given it up and knows no successor yet.
pub(super) fn awaits_successor(node: &Node) -> bool {
    is_handing_over(node) || node.schedule.released.is_some()
}
