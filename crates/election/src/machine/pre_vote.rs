//! Pre-vote and load-based nomination (rules 2, 4 and 6). The responses also end the boot window
//! and recover lost ballots.

use super::ballot_recovery::BallotStatus;
use super::boot_window;
use super::candidate;
use super::event::LogEvent;
use super::event_context::EventContext;
use super::leader;
use super::node::Node;
use super::state::{LeaderHint, State};
use crate::process::{Ballot, NodeId, NodeSet, Process};
use crate::wire::message::{Message, PreVoteResp};
use rollcall_core::{MemberRole, Term};

/// Load difference for a nomination (rule 6), in hundredths of the capacity. Another node must be
/// lighter by at least this much to be asked to campaign.
const NOMINATION_LOAD_POINTS: u16 = 15;

/// Rule 2: starts a pre-vote round. It changes no node's vote or term. A node in its boot window
/// asks too: the responses name the leader, and end the window early if there is none.
pub(super) fn start_round(node: &mut Node, ctx: &mut EventContext) {
    if let Some((leader, _)) = node.following.leader.take() {
        ctx.log(LogEvent::LeaderTimedOut { leader: leader.node });
    }
    begin_round(node, ctx);
    let me = NodeSet::of(node.rules.me);
    node.state = State::PreVote { since: ctx.now, term: node.ballot.next_term(), grants: me, lightest: None };
    node.schedule.deadline = ctx.now.plus(node.rules.backoff_ms(node.schedule.lost_rounds, ctx.entropy));
    node.schedule.lost_rounds = node.schedule.lost_rounds.saturating_add(1);
    let message = pre_vote_request(node);
    ctx.broadcast(&node.rules, message);
    if node.recovery.is_sound() && !node.ballot.is_saved() {
        // An earlier write failed. Until a write succeeds, this node can neither vote nor campaign,
        // so it writes again.
        node.ballot.save(None, ctx);
    }
    if node.rules.nodes == 1 {
        recover_ballot(node, ctx);
        campaign_if_granted(node, ctx);
    }
}

/// Takes a new round number, so that responses to earlier rounds can be recognised. It does not
/// change the role.
pub(super) fn begin_round(node: &mut Node, ctx: &EventContext) {
    node.schedule.round = node.schedule.round.wrapping_add(1);
    node.recovery.begin_round(node.schedule.round, ctx.now);
}

pub(super) fn pre_vote_request(node: &Node) -> Message {
    Message::PreVote { round: node.schedule.round, term: node.ballot.next_term(), dead_leader: node.dead.leader }
}

/// Rule 2: answers a pre-vote request. It changes no vote, term or promise.
pub(super) fn handle_request(node: &mut Node, ctx: &mut EventContext, from: Process, round: u32, term: Term) {
    let granted = node.is_free_to_vote() && term > node.ballot.term();
    let answer = PreVoteResp {
        requester: from.boot,
        round,
        granted,
        ready: node.is_free_to_vote() && !node.process.stopping,
        load: node.process.load,
        role: node.member_role(),
        ballot: node.ballot_report(),
        leader: match node.state {
            // A leader without a lease does not refer others to itself.
            State::Leader(_) => leader::is_serving(node, ctx.now).then_some((node.rules.me, node.ballot.term())),
            // Name only a leader whose heartbeats this node hears. Otherwise the nodes would repeat
            // an outdated hint to each other for ever.
            _ => node.following.leader.map(|(process, term)| (process.node, term)),
        },
    };
    ctx.send(from.node, Message::PreVoteResp(answer));
    // Two nodes that ask at the same time would both get pre-votes and then split the votes. So the
    // node with the higher id lets the other go first. A granted pre-vote binds neither node.
    if granted && matches!(node.state, State::PreVote { .. }) && from.node < node.rules.me {
        node.state = State::Follower;
        node.schedule.deadline = ctx.now.plus(node.rules.vote_timeout_ms(node.schedule.lost_rounds, ctx.entropy));
    }
    // The response to an earlier request may have been lost, because the other node had no link to
    // this one. Now it has one.
    if node.needs_answer_from(from.node) {
        ctx.send(from.node, pre_vote_request(node));
    }
}

/// Uses a pre-vote response: for the leader hint, the lost ballot, the boot window and the pre-vote
/// count.
pub(super) fn handle_response(node: &mut Node, ctx: &mut EventContext, from: NodeId, answer: PreVoteResp) {
    if answer.requester != node.process.boot {
        return;
    }
    node.ballot.observe_term(answer.ballot.term);
    let hinted = answer.leader.filter(|(leader, term)| *leader != node.rules.me && *term >= node.ballot.term());
    if let Some((leader, term)) = hinted {
        let until = ctx.now.plus(node.rules.timings.election_timeout_min_ms);
        node.following.hint = Some(LeaderHint { node: leader, term, until });
    }
    if node.recovery.counts_round(answer.round) {
        node.recovery.status.record_report(from, answer.ballot);
        recover_ballot(node, ctx);
    }
    if answer.role != MemberRole::Leader {
        boot_window::record_not_leading(node, ctx, from);
    }
    if let State::PreVote { since, term, grants, lightest } = &mut node.state {
        let is_late = ctx.now.since(*since) > node.rules.timings.net_timeout_ms;
        if answer.round != node.schedule.round || is_late {
            return;
        }
        if answer.ballot.term >= *term {
            // An election of this term or a later one has begun already. Another campaign could
            // only depose its winner.
            node.state = State::Follower;
            return;
        }
        if answer.granted {
            grants.insert(from);
            if answer.ready && lightest.is_none_or(|(load, _)| answer.load < load) {
                *lightest = Some((answer.load, from));
            }
        }
        campaign_if_granted(node, ctx);
    }
}

/// Rule 4: recovers a lost ballot as soon as the reports allow it.
fn recover_ballot(node: &mut Node, ctx: &mut EventContext) {
    let Some(term) = node.recovery.status.abstain_through(node.rules.nodes) else { return };
    node.recovery.status = BallotStatus::Sound;
    // This node may have voted in that term or in a later one that it has seen. It records a vote
    // for itself and does not campaign in that term, so it abstains.
    let term = term.max(node.ballot.term());
    node.ballot.current = Ballot { term, voted_for: (term > Term(0)).then_some(node.rules.me) };
    ctx.log(LogEvent::BallotRecovered { abstains_through: term });
    node.ballot.save(None, ctx);
    if node.ballot.is_saved() {
        campaign_if_granted(node, ctx);
    }
}

/// Campaigns if a majority granted the pre-vote, or nominates a much less loaded node (rule 6).
pub(super) fn campaign_if_granted(node: &mut Node, ctx: &mut EventContext) {
    let State::PreVote { term, grants, lightest, .. } = node.state else { return };
    let is_granted = term == node.ballot.next_term() && grants.len() >= node.rules.majority();
    if !is_granted || !node.is_free_to_vote() || node.process.stopping {
        return;
    }
    match lightest {
        // Rule 6: nominate at most once. If the nominated node does not campaign, this node does.
        Some((load, other))
            if !node.schedule.nominated && load.lighter_by(NOMINATION_LOAD_POINTS, node.process.load) =>
        {
            node.schedule.nominated = true;
            node.state = State::Follower;
            node.schedule.deadline = ctx.now.plus(node.rules.timings.election_retry_ms);
            ctx.log(LogEvent::Nominated { node: other });
            ctx.send(other, Message::Nominate { term: node.ballot.next_term() });
        }
        _ => candidate::start_campaign(node, ctx, None),
    }
}

/// Rule 6: another node asks this less loaded node to campaign.
pub(super) fn handle_nomination(node: &mut Node, ctx: &mut EventContext, term: Term) {
    let idle = matches!(node.state, State::Follower | State::PreVote { .. });
    if idle && node.is_free_to_vote() && !node.process.stopping && term > node.ballot.term() {
        node.ballot.observe_term(Term(term.0.saturating_sub(1)));
        candidate::start_campaign(node, ctx, None);
    }
}
