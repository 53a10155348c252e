//! Follower role: promises to a leader (rule 3), and the events that release a promise (rules 5 and
//! 7).

use super::boot_window;
use super::candidate;
use super::durable_ballot::PendingReplies;
use super::event::{LogEvent, StepDownReason};
use super::event_context::EventContext;
use super::leader;
use super::node::Node;
use super::pre_vote;
use super::state::{Promise, State};
use crate::process::{Ballot, NodeId, Process};
use crate::wire::message::Message;
use rollcall_core::{BootMs, Term};

/// Rule 3: follows the leader, makes a promise and acknowledges the heartbeat.
pub(super) fn handle_heartbeat(node: &mut Node, ctx: &mut EventContext, from: Process, term: Term, sent_at: BootMs) {
    if term < node.ballot.term() {
        // Tell an outdated leader the newer term, but only if the newer term is on disk.
        if node.ballot.is_saved() {
            let term = node.ballot.term();
            ctx.send(from.node, Message::Ack { term, sent_at, load: node.process.load, ready: false });
        }
        return;
    }
    // Rule 1 excludes two leaders of one term. This check is a second line of defence: a node never
    // follows two leaders of one term.
    let leads = node.leads();
    let followed = node.following.leader.map(|(process, leader_term)| (process.node, leader_term));
    let known = if leads { Some((node.rules.me, node.ballot.term())) } else { followed };
    if known.is_some_and(|(leader, leader_term)| leader_term == term && leader != from.node) {
        return;
    }
    if leads {
        leader::step_down(node, ctx, StepDownReason::HigherTerm(term));
    }
    follow(node, ctx, from, term);
    // A node with a lost ballot must not acknowledge. It may have voted in a later term, and its
    // acknowledgement would extend the lease of an earlier leader.
    if node.recovery.is_sound() {
        let until = ctx.now.plus(node.rules.promise_duration_ms());
        node.following.promise = Some(Promise { to: from, term, until });
        candidate::save_then_send(node, ctx, PendingReplies::Ack { to: from.node, sent_at });
    } else {
        // A follower that hears its leader starts no pre-vote round. This node needs the reports of
        // the other nodes to recover its ballot, so it requests them now.
        pre_vote::begin_round(node, ctx);
        let request = pre_vote::pre_vote_request(node);
        ctx.broadcast(&node.rules, request);
    }
}

/// Follows `leader` and ends any campaign of this node.
fn follow(node: &mut Node, ctx: &mut EventContext, leader: Process, term: Term) {
    if term > node.ballot.term() {
        // Give the vote of this term to its leader, so that no other candidate gets it.
        node.ballot.current = Ballot { term, voted_for: Some(leader.node) };
    }
    if node.following.leader != Some((leader, term)) {
        ctx.log(LogEvent::LeaderChanged { leader: leader.node, term });
    }
    node.state = State::Follower;
    node.following.leader = Some((leader, term));
    node.dead.leader = None;
    node.schedule.released = None;
    node.following.hint = None;
    node.schedule.lost_rounds = 0;
    node.schedule.nominated = false;
    node.schedule.deadline = ctx.now.plus(node.rules.election_timeout_ms(node.process.load, ctx.entropy));
}

/// Rule 7: the sender gave up `term`. Releases only a promise that was made to this sender in
/// exactly this term. For the boot window the message is a direct report that the sender does not
/// lead.
pub(super) fn handle_resign(node: &mut Node, ctx: &mut EventContext, from: NodeId, term: Term) {
    if node.following.promise.is_some_and(|promise| promise.to.node == from && promise.term == term) {
        node.following.promise = None;
    }
    if node.following.leader.is_some_and(|(process, leader_term)| process.node == from && leader_term == term) {
        node.following.leader = None;
        node.schedule.deadline = ctx.now.plus(node.rules.leaderless_pause_ms(node.process.load, ctx.entropy));
        ctx.log(LogEvent::LeaderResigned { leader: from, term });
    }
    node.following.hint = node.following.hint.filter(|hint| hint.node != from || hint.term != term);
    boot_window::record_not_leading(node, ctx, from);
}

/// Rule 5: an orderly end of a link proves that its process is dead. Releases a promise that was
/// made to exactly this process, in any term. It never changes a vote, the term or the boot window.
pub(super) fn handle_end_of_stream(node: &mut Node, ctx: &mut EventContext, process: Process) {
    if !node.dead.trusts_end_of_stream {
        return;
    }
    node.dead.insert(process);
    if node.following.promise.is_some_and(|promise| promise.to == process) {
        node.following.promise = None;
        node.dead.leader = Some(process);
    }
    if node.following.leader.is_some_and(|(leader, _)| leader == process) {
        node.following.leader = None;
        node.dead.leader = Some(process);
        node.schedule.deadline = ctx.now.plus(node.rules.leaderless_pause_ms(node.process.load, ctx.entropy));
        ctx.log(LogEvent::LeaderDied { leader: process.node });
    }
    node.following.hint = node.following.hint.filter(|hint| hint.node != process.node);
}

/// Rule 5: a request names a leader whose death its sender detected. This node may have missed the
/// end of the stream, or may have received a reset instead.
pub(super) fn learn_dead_leader(node: &mut Node, ctx: &mut EventContext, dead: Option<Process>) {
    let Some(dead) = dead.filter(|_| node.dead.trusts_end_of_stream) else { return };
    if dead == node.me() {
        // The request names this living process. So an end of stream proves no death in this
        // network, and this node may be wrong about other deaths.
        distrust(node, ctx, dead.node);
    } else if node.following.promise.is_some_and(|promise| promise.to == dead) {
        node.following.promise = None;
        node.dead.leader = Some(dead);
        node.dead.insert(dead);
        node.following.leader = node.following.leader.filter(|(leader, _)| *leader != dead);
    }
}

/// A process connected. If it counted as dead, its death is disproved.
pub(super) fn handle_process_connected(node: &mut Node, ctx: &mut EventContext, process: Process) {
    if node.dead.contains(process) {
        node.dead.remove(process);
        distrust(node, ctx, process.node);
    }
}

/// A death is disproved: from now on this node trusts no end of stream.
fn distrust(node: &mut Node, ctx: &mut EventContext, node_id: NodeId) {
    node.dead.distrust();
    ctx.log(LogEvent::DeathDisproved { node: node_id });
}

/// Rule 7: the leader of `released_term` gave that term up for good and asked the candidate to take
/// over. Releases only a promise that was made in exactly that term.
pub(super) fn release_promise_of(node: &mut Node, released_term: Option<Term>) {
    if node.following.promise.is_some_and(|promise| Some(promise.term) == released_term) {
        node.following.promise = None;
    }
}

/// Rule 7: the leader asks this node to take over. The request counts only if its sender is the
/// followed leader in the followed term. A delayed request is ignored.
pub(super) fn handle_stand_now(node: &mut Node, ctx: &mut EventContext, from: Process, term: Term) {
    if node.following.leader != Some((from, term)) || node.ballot.term() != term || node.process.stopping {
        return;
    }
    release_promise_of(node, Some(term));
    node.following.leader = None;
    if node.is_free_to_vote() {
        candidate::start_campaign(node, ctx, Some(term));
    }
}
