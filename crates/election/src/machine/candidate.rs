//! Rule 1, candidates and votes: no vote and no vote request is sent before the ballot is on disk.

use super::durable_ballot::PendingReplies;
use super::event::LogEvent;
use super::event_context::EventContext;
use super::leader;
use super::node::Node;
use super::state::State;
use crate::process::{Ballot, NodeId, NodeSet};
use crate::wire::message::Message;
use rollcall_core::{BootMs, Term};

/// Becomes a candidate in the next term. `released_term` is the term of the leader that asked this
/// node to take over.
pub(super) fn start_campaign(node: &mut Node, ctx: &mut EventContext, released_term: Option<Term>) {
    node.ballot.current = Ballot { term: node.ballot.next_term(), voted_for: Some(node.rules.me) };
    node.following.leader = None;
    node.following.hint = None;
    let me = NodeSet::of(node.rules.me);
    node.state = State::Candidate { released_term, asked_at: ctx.now, answered: me, votes: me };
    node.schedule.deadline = ctx.now.plus(node.rules.vote_timeout_ms(node.schedule.lost_rounds, ctx.entropy));
    ctx.log(LogEvent::CampaignStarted { term: node.ballot.term() });
    save_then_send(node, ctx, PendingReplies::VoteRequests);
}

/// Handles a candidate's request for a vote.
pub(super) fn handle_vote_request(node: &mut Node, ctx: &mut EventContext, from: NodeId, term: Term, asked_at: BootMs) {
    let ballot = node.ballot.current;
    let is_past_term = term < ballot.term;
    let is_vote_used = term == ballot.term && ballot.voted_for.is_some_and(|other| other != from);
    if is_past_term || is_vote_used || node.refuses_votes() {
        // Report only the term that is on disk.
        let term = node.ballot.saved.map_or(Term(0), |ballot| ballot.term);
        ctx.send(from, Message::VoteResp { term, asked_at, granted: false });
        return;
    }
    node.state = State::Follower;
    node.following.leader = None;
    node.following.hint = None;
    node.ballot.current = Ballot { term, voted_for: Some(from) };
    node.schedule.deadline = ctx.now.plus(node.rules.vote_timeout_ms(node.schedule.lost_rounds, ctx.entropy));
    save_then_send(node, ctx, PendingReplies::Grant { to: from, asked_at });
}

/// Counts a vote. A response does not count if it belongs to an earlier request or comes after the
/// timeout.
pub(super) fn handle_vote_response(
    node: &mut Node,
    ctx: &mut EventContext,
    from: NodeId,
    term: Term,
    requested_at: BootMs,
    granted: bool,
) {
    node.ballot.observe_term(term);
    let State::Candidate { asked_at, answered, votes, .. } = &mut node.state else { return };
    if requested_at != *asked_at || ctx.now.since(*asked_at) > node.rules.timings.net_timeout_ms {
        return;
    }
    answered.insert(from);
    if granted && term == node.ballot.term() {
        votes.insert(from);
    }
    let (answered, votes) = (*answered, *votes);
    if votes.len() >= node.rules.majority() {
        leader::become_leader(node, ctx);
    } else if votes.len() + node.process.linked.without(answered).len() < node.rules.majority() {
        // Rule 8: the round is lost. The nodes that can still answer are too few for a majority.
        node.state = State::Follower;
        node.schedule.deadline = ctx.now.plus(node.rules.backoff_ms(node.schedule.lost_rounds, ctx.entropy));
    }
}

/// Rule 1: saves the ballot and sends `pending` when it is on disk. If it is on disk already, sends
/// at once.
pub(super) fn save_then_send(node: &mut Node, ctx: &mut EventContext, pending: PendingReplies) {
    node.ballot.save(Some(pending), ctx);
    if node.ballot.is_saved() {
        flush(node, ctx);
    }
}

/// Sends the messages that waited for the ballot.
pub(super) fn flush(node: &mut Node, ctx: &mut EventContext) {
    let term = node.ballot.term();
    match node.ballot.pending.take() {
        None => {}
        Some(PendingReplies::VoteRequests) => request_votes(node, ctx),
        Some(PendingReplies::Grant { to, asked_at }) => {
            ctx.send(to, Message::VoteResp { term, asked_at, granted: true });
        }
        Some(PendingReplies::Ack { to, sent_at }) => {
            let ready = node.can_succeed_leader();
            ctx.send(to, Message::Ack { term, sent_at, load: node.process.load, ready });
        }
    }
}

/// The vote request for the current term.
pub(super) fn vote_request(node: &Node, asked_at: BootMs, released_term: Option<Term>) -> Message {
    Message::Vote { term: node.ballot.term(), asked_at, released_term, dead_leader: node.dead.leader }
}

/// Sends the vote requests. The caller has made sure that the ballot is on disk.
fn request_votes(node: &mut Node, ctx: &mut EventContext) {
    let State::Candidate { asked_at, released_term, .. } = &mut node.state else { return };
    *asked_at = ctx.now;
    let released_term = *released_term;
    node.schedule.deadline = ctx.now.plus(node.rules.vote_timeout_ms(node.schedule.lost_rounds, ctx.entropy));
    if node.rules.nodes == 1 {
        leader::become_leader(node, ctx);
    } else {
        let request = vote_request(node, ctx.now, released_term);
        ctx.broadcast(&node.rules, request);
    }
}

/// Handles a failed write of the ballot. This node then neither votes nor campaigns; a leader keeps
/// its leadership.
pub(super) fn handle_save_failed(node: &mut Node, ctx: &mut EventContext, ballot: Ballot) {
    if !node.ballot.mark_write_failed(ballot) {
        return;
    }
    ctx.log(LogEvent::BallotSaveFailed);
    if !node.leads() {
        node.state = State::Follower;
        let pause = node.rules.backoff_ms(node.schedule.lost_rounds, ctx.entropy);
        node.schedule.deadline = node.schedule.deadline.max(ctx.now.plus(pause));
    }
}
