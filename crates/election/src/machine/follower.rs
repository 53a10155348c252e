//! Rule 3 from the other side: promises to a leader, and what voids them.

use super::boot_window;
use super::candidate;
use super::durable_ballot::PendingReplies;
use super::event::{Note, SteppedDownBecause};
use super::leader;
use super::node::Node;
use super::pre_vote;
use super::state::{Promise, State};
use super::turn::Turn;
use crate::process::{Ballot, NodeId, Process};
use crate::wire::message::Message;
use rollcall_core::{BootMs, Term};

pub(super) fn heard_heartbeat(node: &mut Node, turn: &mut Turn, from: Process, term: Term, sent_at: BootMs) {
    if term < node.ballot.term() {
        // A leader that was passed over learns so, but only from what is on disk.
        if node.ballot.is_saved() {
            let term = node.ballot.term();
            turn.send(from.node, Message::Ack { term, sent_at, load: node.process.load, ready: false });
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
        leader::step_down(node, turn, SteppedDownBecause::HigherTerm(term));
    }
    follow(node, turn, from, term);
    // A node that does not know how it voted must not become part of a lease's majority either: it could have
    // promised the same to another.
    if node.recovery.is_sound() {
        let until = turn.now.plus(node.rules.promise_ms());
        node.following.promise = Some(Promise { to: from, term, until });
        candidate::save_then(node, turn, PendingReplies::Ack { to: from.node, sent_at });
    } else {
        // It follows, and so would never ask by itself; but the others' word is what it needs to be of use again.
        pre_vote::begin_round(node, turn);
        let question = pre_vote::question(node);
        turn.broadcast(&node.rules, question);
    }
}

/// Whatever this node was about ends: it has a leader.
fn follow(node: &mut Node, turn: &mut Turn, leader: Process, term: Term) {
    if term > node.ballot.term() {
        // The vote of the term goes to its leader, so that no other can get it any more.
        node.ballot.current = Ballot { term, voted_for: Some(leader.node) };
    }
    if node.following.leader != Some((leader, term)) {
        turn.note(Note::Follows { leader: leader.node, term });
    }
    node.state = State::Follower;
    node.following.leader = Some((leader, term));
    node.dead.leader = None;
    node.schedule.gave_up = None;
    node.following.hint = None;
    node.schedule.lost = 0;
    node.schedule.nominated = false;
    node.schedule.deadline = turn.now.plus(node.rules.silence_ms(node.process.load, turn.draw));
}

/// Voids a promise made to exactly the term that was given up, and nothing else. For the boot window it is the
/// sender's own word that it does not lead, as good as an answer.
pub(super) fn heard_resign(node: &mut Node, turn: &mut Turn, from: NodeId, term: Term) {
    if node.following.promise.is_some_and(|promise| promise.to.node == from && promise.term == term) {
        node.following.promise = None;
    }
    if node.following.leader.is_some_and(|(process, of)| process.node == from && of == term) {
        node.following.leader = None;
        node.schedule.deadline = turn.now.plus(node.rules.short_pause_ms(node.process.load, turn.draw));
        turn.note(Note::LeaderResigned { leader: from, term });
    }
    node.following.hint = node.following.hint.filter(|hint| hint.node != from || hint.term != term);
    boot_window::told_not_leading(node, turn, from);
}

/// Rule 5: a process is dead. That voids a promise made to exactly it, whatever the term, and never a vote, the term
/// or the boot window.
pub(super) fn ended(node: &mut Node, turn: &mut Turn, process: Process) {
    if !node.dead.trusts_ends {
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
        node.schedule.deadline = turn.now.plus(node.rules.short_pause_ms(node.process.load, turn.draw));
        turn.note(Note::LeaderDied { leader: process.node });
    }
    node.following.hint = node.following.hint.filter(|hint| hint.node != process.node);
}

/// A candidate names the process whose death it saw; this node may not have seen it, or only as a reset.
pub(super) fn told_of_death(node: &mut Node, turn: &mut Turn, dead: Option<Process>) {
    let Some(dead) = dead.filter(|_| node.dead.trusts_ends) else { return };
    if dead == node.me() {
        // This very process. Whoever saw it die was wrong, and so might this node be about others.
        distrust(node, turn, dead.node);
    } else if node.following.promise.is_some_and(|promise| promise.to == dead) {
        node.following.promise = None;
        node.dead.leader = Some(dead);
        node.dead.insert(dead);
        node.following.leader = node.following.leader.filter(|(leader, _)| *leader != dead);
    }
}

/// A process greets again whose death this node believed in.
pub(super) fn greeted(node: &mut Node, turn: &mut Turn, process: Process) {
    if node.dead.contains(process) {
        node.dead.remove(process);
        distrust(node, turn, process.node);
    }
}

fn distrust(node: &mut Node, turn: &mut Turn, who: NodeId) {
    node.dead.distrust();
    turn.note(Note::EndOfStreamWasNoDeath { node: who });
}

/// Rule 7: a candidate was told to stand by the leader of `voids`, who gave that term up for good. That voids a
/// promise made to exactly that term.
pub(super) fn told_of_handover(node: &mut Node, voids: Option<Term>) {
    if node.following.promise.is_some_and(|promise| Some(promise.term) == voids) {
        node.following.promise = None;
    }
}

/// Rule 7: the leader told this node to take its place. Only from the leader it follows, in the term it follows it in:
/// a delayed one says nothing any more.
pub(super) fn stand_now(node: &mut Node, turn: &mut Turn, from: Process, term: Term) {
    if node.following.leader != Some((from, term)) || node.ballot.term() != term || node.process.stopping {
        return;
    }
    told_of_handover(node, Some(term));
    node.following.leader = None;
    if node.is_free() {
        candidate::stand(node, turn, Some(term));
    }
}
