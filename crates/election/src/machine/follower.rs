//! Rule 3 from the other side: promises to a leader, and what voids them.

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

pub(super) fn handle_heartbeat(node: &mut Node, ctx: &mut EventContext, from: Process, term: Term, sent_at: BootMs) {
    if term < node.ballot.term() {
        // A leader that was passed over learns so, but only from what is on disk.
        if node.ballot.is_saved() {
            let term = node.ballot.term();
            ctx.send(from.node, Message::Ack { term, sent_at, load: node.process.load, ready: false });
        }
        return;
    }
    // Two leaders of one term cannot be by rule 1; and if they were, nothing good would come of following both.
    let leads = node.leads();
    let followed = node.following.leader.map(|(process, of)| (process.node, of));
    let known = if leads { Some((node.rules.me, node.ballot.term())) } else { followed };
    if known.is_some_and(|(leader, of)| of == term && leader != from.node) {
        return;
    }
    if leads {
        leader::step_down(node, ctx, StepDownReason::HigherTerm(term));
    }
    follow(node, ctx, from, term);
    // A node that does not know how it voted must not become part of a lease's majority either: it could have
    // promised the same to another.
    if node.recovery.is_sound() {
        let until = ctx.now.plus(node.rules.promise_duration_ms());
        node.following.promise = Some(Promise { to: from, term, until });
        candidate::save_then_send(node, ctx, PendingReplies::Ack { to: from.node, sent_at });
    } else {
        // It follows, and so would never ask by itself; but the others' word is what it needs to be of use again.
        pre_vote::begin_round(node, ctx);
        let question = pre_vote::pre_vote_request(node);
        ctx.broadcast(&node.rules, question);
    }
}

/// Whatever this node was about ends: it has a leader.
fn follow(node: &mut Node, ctx: &mut EventContext, leader: Process, term: Term) {
    if term > node.ballot.term() {
        // The vote of the term goes to its leader, so that no other can get it any more.
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

/// Voids a promise made to exactly the term that was given up, and nothing else. For the boot window it is the
/// sender's own word that it does not lead, as good as an answer.
pub(super) fn handle_resign(node: &mut Node, ctx: &mut EventContext, from: NodeId, term: Term) {
    if node.following.promise.is_some_and(|promise| promise.to.node == from && promise.term == term) {
        node.following.promise = None;
    }
    if node.following.leader.is_some_and(|(process, of)| process.node == from && of == term) {
        node.following.leader = None;
        node.schedule.deadline = ctx.now.plus(node.rules.leaderless_pause_ms(node.process.load, ctx.entropy));
        ctx.log(LogEvent::LeaderResigned { leader: from, term });
    }
    node.following.hint = node.following.hint.filter(|hint| hint.node != from || hint.term != term);
    boot_window::record_not_leading(node, ctx, from);
}

/// Rule 5: a process is dead. That voids a promise made to exactly it, whatever the term, and never a vote, the term
/// or the boot window.
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

/// A candidate names the process whose death it saw; this node may not have seen it, or only as a reset.
pub(super) fn learn_dead_leader(node: &mut Node, ctx: &mut EventContext, dead: Option<Process>) {
    let Some(dead) = dead.filter(|_| node.dead.trusts_end_of_stream) else { return };
    if dead == node.me() {
        // This very process. Whoever saw it die was wrong, and so might this node be about others.
        distrust(node, ctx, dead.node);
    } else if node.following.promise.is_some_and(|promise| promise.to == dead) {
        node.following.promise = None;
        node.dead.leader = Some(dead);
        node.dead.insert(dead);
        node.following.leader = node.following.leader.filter(|(leader, _)| *leader != dead);
    }
}

/// A process greets again whose death this node believed in.
pub(super) fn handle_process_connected(node: &mut Node, ctx: &mut EventContext, process: Process) {
    if node.dead.contains(process) {
        node.dead.remove(process);
        distrust(node, ctx, process.node);
    }
}

fn distrust(node: &mut Node, ctx: &mut EventContext, who: NodeId) {
    node.dead.distrust();
    ctx.log(LogEvent::DeathDisproved { node: who });
}

/// Rule 7: a candidate was told to stand by the leader of `released_term`, who gave that term up for good. That voids a
/// promise made to exactly that term.
pub(super) fn release_promise_of(node: &mut Node, released_term: Option<Term>) {
    if node.following.promise.is_some_and(|promise| Some(promise.term) == released_term) {
        node.following.promise = None;
    }
}

/// Rule 7: the leader told this node to take its place. Only from the leader it follows, in the term it follows it in:
/// a delayed one says nothing any more.
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
