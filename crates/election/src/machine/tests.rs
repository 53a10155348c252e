//! Tests of the machine: alone, and in a small simulated cluster.

mod dead_leaders;
mod elections;
mod handovers;
mod lost_ballots;
mod normalize;
mod promises;
mod votes;
mod world;

use super::rules::tests::defaults;
use super::*;
use crate::wire::message::{BallotReport, PreVoteResp};
use world::{Arrival, World};

/// Report of a node with a sound ballot of term 9.
const SOUND: BallotReport = BallotReport { missing_at_start: false, sound: true, term: Term(9) };

fn peer(node: u8) -> Process {
    Process { node: NodeId(node), boot: BootId(9) }
}

fn received(node: u8, message: Message) -> Event {
    Event::MessageReceived { from: peer(node), message }
}

fn request(term: Term, asked_at: BootMs) -> Message {
    Message::Vote { term, asked_at, released_term: None, dead_leader: None }
}

fn ack(term: Term, sent_at: BootMs) -> Message {
    Message::Ack { term, sent_at, load: Load::NEUTRAL, ready: true }
}

fn sends(actions: &[Action], wanted: impl Fn(&Message) -> bool) -> bool {
    actions.iter().any(|action| matches!(action, Action::Send { message, .. } if wanted(message)))
}

/// A machine of a cluster of three that won term 1 at `BootMs(5000)`.
fn leader() -> Machine {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    machine.handle(Event::TimerFired, BootMs(4000), Entropy(0));
    machine.handle(Event::TimerFired, BootMs(4100), Entropy(0));
    let answer = PreVoteResp {
        requester: BootId(1),
        round: 1,
        granted: true,
        ready: false,
        load: Load::NEUTRAL,
        role: MemberRole::Follower,
        ballot: BallotReport { missing_at_start: false, sound: true, term: Term(0) },
        leader: None,
    };
    machine.handle(received(1, Message::PreVoteResp(answer)), BootMs(4110), Entropy(0));
    machine.handle(Event::BallotSaved(Ballot { term: Term(1), voted_for: Some(NodeId(0)) }), BootMs(4900), Entropy(0));
    let granted = |asked_at| Message::VoteResp { term: Term(1), asked_at: BootMs(asked_at), granted: true };
    machine.handle(received(1, granted(4899)), BootMs(4990), Entropy(0));
    assert!(matches!(machine.role_state(), RoleState::Candidate), "a response to another request is no vote");
    machine.handle(received(1, granted(4900)), BootMs(5000), Entropy(0));
    assert!(matches!(machine.role_state(), RoleState::Leader { .. }));
    machine
}
