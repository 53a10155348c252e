//! Rule 1: standing and voting, and nothing leaves before it is on disk.

use super::durable_ballot::PendingReplies;
use super::event::Note;
use super::leader;
use super::node::Node;
use super::state::State;
use super::turn::Turn;
use crate::process::{Ballot, NodeId, NodeSet};
use crate::wire::message::Message;
use rollcall_core::{BootMs, Term};

pub(super) fn stand(node: &mut Node, turn: &mut Turn, voids: Option<Term>) {
    node.ballot.current = Ballot { term: node.ballot.next_term(), voted_for: Some(node.rules.me) };
    node.following.leader = None;
    node.following.hint = None;
    let me = NodeSet::of(node.rules.me);
    node.state = State::Candidate { voids, asked_at: turn.now, answered: me, votes: me };
    node.schedule.deadline = turn.now.plus(node.rules.vote_wait_ms(node.schedule.lost, turn.draw));
    turn.note(Note::Stands { term: node.ballot.term() });
    save_then(node, turn, PendingReplies::Campaign);
}

/// A candidate asks for a vote.
pub(super) fn vote(node: &mut Node, turn: &mut Turn, from: NodeId, term: Term, asked_at: BootMs) {
    let ballot = node.ballot.current;
    let passed = term < ballot.term;
    let taken = term == ballot.term && ballot.voted_for.is_some_and(|other| other != from);
    if passed || taken || node.refuses_votes() {
        // What is not on disk yet must not be told.
        let term = node.ballot.saved.map_or(Term(0), |ballot| ballot.term);
        turn.send(from, Message::VoteResp { term, asked_at, granted: false });
        return;
    }
    node.state = State::Follower;
    node.following.leader = None;
    node.following.hint = None;
    node.ballot.current = Ballot { term, voted_for: Some(from) };
    node.schedule.deadline = turn.now.plus(node.rules.vote_wait_ms(node.schedule.lost, turn.draw));
    save_then(node, turn, PendingReplies::Grant { to: from, asked_at });
}

pub(super) fn heard_vote(node: &mut Node, turn: &mut Turn, from: NodeId, term: Term, asked: BootMs, granted: bool) {
    node.ballot.hear_of(term);
    let State::Candidate { asked_at, answered, votes, .. } = &mut node.state else { return };
    if asked != *asked_at || turn.now.since(*asked_at) > node.rules.timings.net_timeout_ms {
        return;
    }
    answered.insert(from);
    if granted && term == node.ballot.term() {
        votes.insert(from);
    }
    let (answered, votes) = (*answered, *votes);
    if votes.len() >= node.rules.majority() {
        leader::win(node, turn);
    } else if votes.len() + node.process.linked.without(answered).len() < node.rules.majority() {
        // Rule 8: the round is lost already; whoever could still answer is not enough.
        node.state = State::Follower;
        node.schedule.deadline = turn.now.plus(node.rules.backoff_ms(node.schedule.lost, turn.draw));
    }
}

/// Rule 1: `pending` leaves when the present ballot is on disk, which may be now.
pub(super) fn save_then(node: &mut Node, turn: &mut Turn, pending: PendingReplies) {
    node.ballot.save(Some(pending), turn);
    if node.ballot.is_saved() {
        flush(node, turn);
    }
}

/// Sends what waited for the ballot.
pub(super) fn flush(node: &mut Node, turn: &mut Turn) {
    let term = node.ballot.term();
    match node.ballot.pending.take() {
        None => {}
        Some(PendingReplies::Campaign) => campaign(node, turn),
        Some(PendingReplies::Grant { to, asked_at }) => {
            turn.send(to, Message::VoteResp { term, asked_at, granted: true });
        }
        Some(PendingReplies::Ack { to, sent_at }) => {
            let ready = node.could_stand();
            turn.send(to, Message::Ack { term, sent_at, load: node.process.load, ready });
        }
    }
}

/// The request for a vote in the present term.
pub(super) fn request(node: &Node, asked_at: BootMs, voids: Option<Term>) -> Message {
    Message::Vote { term: node.ballot.term(), asked_at, voids, dead: node.dead.leader }
}

fn campaign(node: &mut Node, turn: &mut Turn) {
    let State::Candidate { asked_at, voids, .. } = &mut node.state else { return };
    *asked_at = turn.now;
    let voids = *voids;
    node.schedule.deadline = turn.now.plus(node.rules.vote_wait_ms(node.schedule.lost, turn.draw));
    if node.rules.nodes == 1 {
        leader::win(node, turn);
    } else {
        let request = request(node, turn.now, voids);
        turn.broadcast(&node.rules, request);
    }
}

/// The ballot could not be written: no vote, no candidacy.
pub(super) fn save_failed(node: &mut Node, turn: &mut Turn, ballot: Ballot) {
    if !node.ballot.write_failed(ballot) {
        return;
    }
    turn.note(Note::BallotNotSaved);
    if !node.leads() {
        node.state = State::Follower;
        let pause = node.rules.backoff_ms(node.schedule.lost, turn.draw);
        node.schedule.deadline = node.schedule.deadline.max(turn.now.plus(pause));
    }
}
