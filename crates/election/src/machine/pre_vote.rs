//! Rules 2, 4 and 6: asking before standing, and what the answers tell besides.

use super::ballot_recovery::Memory;
use super::boot_window;
use super::candidate;
use super::event::Note;
use super::leader;
use super::node::Node;
use super::state::{Hint, State};
use super::turn::Turn;
use crate::process::{Ballot, NodeId, NodeSet, Process};
use crate::wire::message::{Message, PreVoteResp};
use rollcall_core::{MemberRole, Term};

/// How much lighter, in hundredths of the capacity, another node must be to be asked to stand instead (rule 6).
const NOMINATE_POINTS: u16 = 15;

/// Rule 2: asks everybody, and changes nothing. A node that must hold still asks too: the answers tell it who leads,
/// and end its boot window early if nobody does.
pub(super) fn ask(node: &mut Node, turn: &mut Turn) {
    if let Some((leader, _)) = node.following.leader.take() {
        turn.note(Note::LeaderSilent { leader: leader.node });
    }
    begin_round(node, turn);
    let me = NodeSet::of(node.rules.me);
    node.state = State::PreVote { since: turn.now, term: node.ballot.next_term(), grants: me, lightest: None };
    node.schedule.deadline = turn.now.plus(node.rules.backoff_ms(node.schedule.lost, turn.draw));
    node.schedule.lost = node.schedule.lost.saturating_add(1);
    let message = question(node);
    turn.broadcast(&node.rules, message);
    if node.recovery.is_sound() && !node.ballot.is_saved() {
        // A write failed before. Until one succeeds this node can neither vote nor stand, so it tries again.
        node.ballot.save(None, turn);
    }
    if node.rules.nodes == 1 {
        settle_ballot(node, turn);
        stand_if_granted(node, turn);
    }
}

/// Tells the answers to come from the earlier ones.
pub(super) fn begin_round(node: &mut Node, turn: &Turn) {
    node.schedule.round = node.schedule.round.wrapping_add(1);
    node.recovery.begin_round(node.schedule.round, turn.now);
}

pub(super) fn question(node: &Node) -> Message {
    Message::PreVote { round: node.schedule.round, term: node.ballot.next_term(), dead: node.dead.leader }
}

pub(super) fn answer_question(node: &mut Node, turn: &mut Turn, from: Process, round: u32, term: Term) {
    let granted = node.is_free() && term > node.ballot.term();
    let answer = PreVoteResp {
        asker: from.boot,
        round,
        granted,
        ready: node.is_free() && !node.process.stopping,
        load: node.process.load,
        role: node.member_role(),
        ballot: node.ballot_report(),
        leader: match node.state {
            // A leader without a lease does not send anybody to itself.
            State::Leader(_) => leader::is_serving(node, turn.now).then_some((node.rules.me, node.ballot.term())),
            // Only what this node hears itself: hearsay would go round for ever.
            _ => node.following.leader.map(|(process, term)| (process.node, term)),
        },
    };
    turn.send(from.node, Message::PreVoteResp(answer));
    // Two that ask at the same moment would both get their answers and split the votes, so the later in the list of
    // peers lets the earlier go first. Nothing was promised by either.
    if granted && matches!(node.state, State::PreVote { .. }) && from.node < node.rules.me {
        node.state = State::Follower;
        node.schedule.deadline = turn.now.plus(node.rules.vote_wait_ms(node.schedule.lost, turn.draw));
    }
    // An earlier question of ours may have been lost because the other had no link to us yet; now it has one.
    if node.wants_to_hear(from.node) {
        turn.send(from.node, question(node));
    }
}

pub(super) fn heard_answer(node: &mut Node, turn: &mut Turn, from: NodeId, answer: PreVoteResp) {
    if answer.asker != node.process.boot {
        return;
    }
    node.ballot.hear_of(answer.ballot.term);
    let hinted = answer.leader.filter(|(leader, term)| *leader != node.rules.me && *term >= node.ballot.term());
    if let Some((leader, term)) = hinted {
        let until = turn.now.plus(node.rules.timings.election_timeout_min_ms);
        node.following.hint = Some(Hint { node: leader, term, until });
    }
    if node.recovery.counts(answer.round) {
        node.recovery.memory.told(from, answer.ballot);
        settle_ballot(node, turn);
    }
    if answer.role != MemberRole::Leader {
        boot_window::told_not_leading(node, turn, from);
    }
    if let State::PreVote { since, term, grants, lightest } = &mut node.state {
        let is_late = turn.now.since(*since) > node.rules.timings.net_timeout_ms;
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
        stand_if_granted(node, turn);
    }
}

/// Rule 4: a node that lost its ballot gets one again as soon as the others' word allows it.
fn settle_ballot(node: &mut Node, turn: &mut Turn) {
    let Some(term) = node.recovery.memory.verdict(node.rules.nodes) else { return };
    node.recovery.memory = Memory::Sound;
    // It may have voted in that term, or in one it has heard of since: it gives the vote to itself, who does not
    // stand in it, and so to nobody.
    let term = term.max(node.ballot.term());
    node.ballot.current = Ballot { term, voted_for: (term > Term(0)).then_some(node.rules.me) };
    turn.note(Note::MemorySettled { abstains_through: term });
    node.ballot.save(None, turn);
    if node.ballot.is_saved() {
        stand_if_granted(node, turn);
    }
}

pub(super) fn stand_if_granted(node: &mut Node, turn: &mut Turn) {
    let State::PreVote { term, grants, lightest, .. } = node.state else { return };
    let asked_for_it = term == node.ballot.next_term() && grants.len() >= node.rules.majority();
    if !asked_for_it || !node.is_free() || node.process.stopping {
        return;
    }
    match lightest {
        // Rule 6: once, and only a hint; if the other does not stand, this node does.
        Some((load, other)) if !node.schedule.nominated && load.lighter_by(NOMINATE_POINTS, node.process.load) => {
            node.schedule.nominated = true;
            node.state = State::Follower;
            node.schedule.deadline = turn.now.plus(node.rules.timings.election_retry_ms);
            turn.note(Note::Nominated { node: other });
            turn.send(other, Message::Nominate { term: node.ballot.next_term() });
        }
        _ => candidate::stand(node, turn, None),
    }
}

pub(super) fn nominated(node: &mut Node, turn: &mut Turn, term: Term) {
    let idle = matches!(node.state, State::Follower | State::PreVote { .. });
    if idle && node.is_free() && !node.process.stopping && term > node.ballot.term() {
        node.ballot.hear_of(Term(term.0.saturating_sub(1)));
        candidate::stand(node, turn, None);
    }
}
