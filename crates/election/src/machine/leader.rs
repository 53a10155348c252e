//! Rules 3 and 7: the lease, and how a leadership ends.

use super::event::{Note, SteppedDownBecause};
use super::node::Node;
use super::state::{GaveUp, Handover, Leadership, State};
use super::turn::Turn;
use crate::process::{NodeId, all_ids};
use crate::wire::message::Message;
use rollcall_core::{BootMs, Load, MAX_NODES, Term};

/// How much heavier than the lightest follower, in hundredths of the capacity, a leader must be to hand over. Found by
/// simulation: with less, leadership follows the load that leading itself makes.
const HANDOVER_POINTS: u16 = 25;

/// How long a leader that hands over goes on serving what is under way.
const DRAIN_MS: u64 = 200;

/// How long it waits for its successor before it tells everybody that the term is free.
const RESIGN_AFTER_MS: u64 = 300;

/// How long it does not stand itself.
const EX_LEADER_WAITS_MS: u64 = 1000;

/// The end of the lease (rule 3): the send time of the newest heartbeat that a majority acknowledged, plus L.
/// 0 for a node that does not lead or was not acknowledged yet.
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

/// The send time of the newest heartbeat that a majority, this node included, acknowledged.
fn majority_acked(node: &Node) -> Option<BootMs> {
    let State::Leader(leadership) = &node.state else { return None };
    let mut newest_first = leadership.acked;
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    newest_first[node.rules.majority() - 2]
}

/// When a leader without a majority gives up: V after the last heartbeat that a majority acknowledged.
pub(super) fn steps_down_at(node: &Node) -> BootMs {
    match &node.state {
        State::Leader(leadership) if node.rules.nodes > 1 => {
            majority_acked(node).unwrap_or(leadership.since).plus(node.rules.timings.election_timeout_min_ms)
        }
        _ => BootMs::NEVER,
    }
}

/// When a leader acts next: its next heartbeat, the end of its handover, or of its majority's
/// silence.
pub(super) fn wakes_at(node: &Node, leadership: &Leadership) -> BootMs {
    let gives_up = leadership.handover.map_or(BootMs::NEVER, |handover| handover.gives_up_at);
    leadership.next_beat.min(steps_down_at(node)).min(gives_up)
}

/// The node has the votes of a majority, and tells everybody at once.
pub(super) fn win(node: &mut Node, turn: &mut Turn) {
    node.state = State::Leader(Leadership {
        since: turn.now,
        next_beat: turn.now,
        acked: [None; MAX_NODES],
        ready: [None; MAX_NODES],
        looks_at: turn.now.plus(node.rules.timings.leader_term_ms),
        heavier_since: None,
        handover: None,
    });
    node.schedule.lost = 0;
    node.schedule.nominated = false;
    node.dead.leader = None;
    node.schedule.gave_up = None;
    node.following.hint = None;
    turn.note(Note::Won { term: node.ballot.term() });
    beat(node, turn);
}

fn beat(node: &mut Node, turn: &mut Turn) {
    if let State::Leader(leadership) = &mut node.state {
        leadership.next_beat = turn.now.plus(node.rules.timings.heartbeat_interval_ms);
    }
    turn.broadcast(&node.rules, Message::Heartbeat { term: node.ballot.term(), sent_at: turn.now });
}

/// The timer of a leader ran out.
pub(super) fn woke(node: &mut Node, turn: &mut Turn) {
    let State::Leader(leadership) = &node.state else { return };
    if leadership.handover.is_some_and(|handover| turn.now >= handover.gives_up_at) {
        give_up(node, turn);
    } else if turn.now >= leadership.next_beat {
        look(node, turn);
        beat(node, turn);
    }
}

/// Steps down if it is time to. Asked at every event and not only when the timer runs: a leader
/// that slept must not beat once more before it notices.
pub(super) fn check_majority(node: &mut Node, turn: &mut Turn) {
    if turn.now < steps_down_at(node) {
        return;
    }
    let term = node.ballot.term();
    step_down(node, turn, SteppedDownBecause::LostMajority);
    // Its lease is long over and it can never win this term again. Whoever hears this node without being heard by
    // it need not wait for its silence.
    turn.broadcast(&node.rules, Message::Resign { term });
}

pub(super) fn heard_ack(
    node: &mut Node,
    turn: &mut Turn,
    from: NodeId,
    term: Term,
    sent_at: BootMs,
    ready: Option<Load>,
) {
    node.ballot.hear_of(term);
    let State::Leader(leadership) = &mut node.state else { return };
    if term > node.ballot.term() {
        step_down(node, turn, SteppedDownBecause::HigherTerm(term));
    } else if term == node.ballot.term() && (leadership.since..=turn.now).contains(&sent_at) {
        let newest = &mut leadership.acked[usize::from(from.0)];
        *newest = (*newest).max(Some(sent_at));
        leadership.ready[usize::from(from.0)] = ready;
    }
}

/// Ends a leadership. The node may stand again after a pause.
pub(super) fn step_down(node: &mut Node, turn: &mut Turn, why: SteppedDownBecause) {
    turn.note(Note::SteppedDown { term: node.ballot.term(), why });
    node.state = State::Follower;
    node.schedule.deadline = turn.now.plus(node.rules.vote_wait_ms(node.schedule.lost, turn.draw));
}

/// The lightest follower that could take over: heard lately, and able to stand.
fn successor(node: &Node, now: BootMs) -> Option<(Load, NodeId)> {
    let State::Leader(leadership) = &node.state else { return None };
    let lately = 2 * node.rules.timings.heartbeat_interval_ms;
    all_ids(node.rules.nodes)
        .filter(|other| leadership.acked[usize::from(other.0)].is_some_and(|sent_at| now.since(sent_at) <= lately))
        .filter_map(|other| leadership.ready[usize::from(other.0)].map(|load| (load, other)))
        .min()
}

/// Rule 7: looks whether another should lead. Hysteresis keeps leadership from following every spike: the other must
/// have been much lighter for half a term, and this node must have led for two terms.
fn look(node: &mut Node, turn: &mut Turn) {
    let now = turn.now;
    let successor = successor(node, now).filter(|(load, _)| load.lighter_by(HANDOVER_POINTS, node.process.load));
    let term_ms = node.rules.timings.leader_term_ms;
    let State::Leader(leadership) = &mut node.state else { return };
    leadership.heavier_since = successor.and(leadership.heavier_since.or(Some(now)));
    if now < leadership.looks_at {
        return;
    }
    leadership.looks_at = now.plus(term_ms);
    let long_enough = leadership.heavier_since.is_some_and(|since| now.since(since) >= term_ms / 2);
    let cooled_down = now.since(leadership.since) >= 2 * term_ms;
    if let Some((_, to)) = successor.filter(|_| long_enough && cooled_down && !node.process.stopping) {
        begin_handover(node, turn, to);
    }
}

fn begin_handover(node: &mut Node, turn: &mut Turn, to: NodeId) {
    let State::Leader(leadership) = &mut node.state else { return };
    leadership.handover = Some(Handover { to, gives_up_at: turn.now.plus(DRAIN_MS) });
    turn.note(Note::HandsOver { to, term: node.ballot.term() });
    turn.drain();
}

pub(super) fn drained(node: &mut Node, turn: &mut Turn) {
    if is_handing_over(node) {
        give_up(node, turn);
    }
}

/// The term is given up for good, and the successor told to stand. This node votes on, and stands itself only after a
/// while.
fn give_up(node: &mut Node, turn: &mut Turn) {
    let State::Leader(Leadership { handover: Some(handover), .. }) = node.state else { return };
    let term = node.ballot.term();
    let why = if node.process.stopping { SteppedDownBecause::Stopping } else { SteppedDownBecause::HandedOver };
    step_down(node, turn, why);
    node.schedule.gave_up = Some(GaveUp { term, resigns_at: turn.now.plus(RESIGN_AFTER_MS) });
    node.schedule.deadline = turn.now.plus(EX_LEADER_WAITS_MS);
    turn.send(handover.to, Message::StandNow { term });
}

/// Nobody followed into the term that was given up: tells everybody that it is free.
pub(super) fn resign_if_due(node: &mut Node, turn: &mut Turn) {
    if let Some(gave_up) = node.schedule.gave_up.filter(|gave_up| turn.now >= gave_up.resigns_at) {
        node.schedule.gave_up = None;
        turn.broadcast(&node.rules, Message::Resign { term: gave_up.term });
    }
}

/// Hands the lease over before anything else ends, or gives it up and says so if nobody could take over.
pub(super) fn stop(node: &mut Node, turn: &mut Turn) {
    node.process.stopping = true;
    if let State::Leader(leadership) = &node.state {
        if leadership.handover.is_some() {
            return;
        }
        if let Some((_, to)) = successor(node, turn.now).filter(|_| is_serving(node, turn.now)) {
            begin_handover(node, turn, to);
            return;
        }
        let term = node.ballot.term();
        step_down(node, turn, SteppedDownBecause::Stopping);
        turn.broadcast(&node.rules, Message::Resign { term });
    } else if node.following.leader.is_none() {
        node.state = State::Follower;
    }
}

fn is_handing_over(node: &Node) -> bool {
    matches!(&node.state, State::Leader(leadership) if leadership.handover.is_some())
}

/// Whether a term of this node's still waits for a successor.
pub(super) fn awaits_successor(node: &Node) -> bool {
    is_handing_over(node) || node.schedule.gave_up.is_some()
}
