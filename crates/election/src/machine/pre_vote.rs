//! Rules 2, 4 and 6: asking before standing, and what the answers tell besides.

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

/// How much lighter, in hundredths of the capacity, another node must be to be asked to stand instead (rule 6).
const NOMINATION_LOAD_POINTS: u16 = 15;

/// Rule 2: asks everybody, and changes nothing. A node that must hold still asks too: the answers tell it who leads,
/// and end its boot window early if nobody does.
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
        // A write failed before. Until one succeeds this node can neither vote nor stand, so it tries again.
        node.ballot.save(None, ctx);
    }
    if node.rules.nodes == 1 {
        recover_ballot(node, ctx);
        campaign_if_granted(node, ctx);
    }
}

/// Tells the answers to come from the earlier ones.
pub(super) fn begin_round(node: &mut Node, ctx: &EventContext) {
    node.schedule.round = node.schedule.round.wrapping_add(1);
    node.recovery.begin_round(node.schedule.round, ctx.now);
}

pub(super) fn pre_vote_request(node: &Node) -> Message {
    Message::PreVote { round: node.schedule.round, term: node.ballot.next_term(), dead_leader: node.dead.leader }
}

pub(super) fn handle_request(node: &mut Node, ctx: &mut EventContext, from: Process, round: u32, term: Term) {
    let granted = node.is_free_to_vote() && term > node.ballot.term();
    let answer = PreVoteResp {
        asker: from.boot,
        round,
        granted,
        ready: node.is_free_to_vote() && !node.process.stopping,
        load: node.process.load,
        role: node.member_role(),
        ballot: node.ballot_report(),
        leader: match node.state {
            // A leader without a lease does not send anybody to itself.
            State::Leader(_) => leader::is_serving(node, ctx.now).then_some((node.rules.me, node.ballot.term())),
            // Only what this node hears itself: hearsay would go round for ever.
            _ => node.following.leader.map(|(process, term)| (process.node, term)),
        },
    };
    ctx.send(from.node, Message::PreVoteResp(answer));
    // Two that ask at the same moment would both get their answers and split the votes, so the later in the list of
    // peers lets the earlier go first. Nothing was promised by either.
    if granted && matches!(node.state, State::PreVote { .. }) && from.node < node.rules.me {
        node.state = State::Follower;
        node.schedule.deadline = ctx.now.plus(node.rules.vote_timeout_ms(node.schedule.lost_rounds, ctx.entropy));
    }
    // An earlier question of ours may have been lost because the other had no link to us yet; now it has one.
    if node.needs_answer_from(from.node) {
        ctx.send(from.node, pre_vote_request(node));
    }
}

pub(super) fn handle_response(node: &mut Node, ctx: &mut EventContext, from: NodeId, answer: PreVoteResp) {
    if answer.asker != node.process.boot {
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
            // An election of that term or a later one is under way already. To stand beside it could only depose
            // whoever wins it.
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

/// Rule 4: a node that lost its ballot gets one again as soon as the others' word allows it.
fn recover_ballot(node: &mut Node, ctx: &mut EventContext) {
    let Some(term) = node.recovery.status.abstain_through(node.rules.nodes) else { return };
    node.recovery.status = BallotStatus::Sound;
    // It may have voted in that term, or in one it has heard of since: it gives the vote to itself, who does not
    // stand in it, and so to nobody.
    let term = term.max(node.ballot.term());
    node.ballot.current = Ballot { term, voted_for: (term > Term(0)).then_some(node.rules.me) };
    ctx.log(LogEvent::BallotRecovered { abstains_through: term });
    node.ballot.save(None, ctx);
    if node.ballot.is_saved() {
        campaign_if_granted(node, ctx);
    }
}

pub(super) fn campaign_if_granted(node: &mut Node, ctx: &mut EventContext) {
    let State::PreVote { term, grants, lightest, .. } = node.state else { return };
    let is_granted = term == node.ballot.next_term() && grants.len() >= node.rules.majority();
    if !is_granted || !node.is_free_to_vote() || node.process.stopping {
        return;
    }
    match lightest {
        // Rule 6: once, and only a hint; if the other does not stand, this node does.
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

pub(super) fn handle_nomination(node: &mut Node, ctx: &mut EventContext, term: Term) {
    let idle = matches!(node.state, State::Follower | State::PreVote { .. });
    if idle && node.is_free_to_vote() && !node.process.stopping && term > node.ballot.term() {
        node.ballot.observe_term(Term(term.0.saturating_sub(1)));
        candidate::start_campaign(node, ctx, None);
    }
}
