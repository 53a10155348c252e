//! Rule 4, nodes that lost their ballots.

use super::*;

/// Response of `node` to pre-vote round `round` of the first process, with this ballot report.
fn report(node: u8, round: u32, ballot: BallotReport) -> Event {
    received(
        node,
        Message::PreVoteResp(PreVoteResp {
            requester: BootId(1),
            round,
            granted: false,
            ready: false,
            load: Load::NEUTRAL,
            role: MemberRole::Follower,
            ballot,
            leader: None,
        }),
    )
}

#[test]
fn a_wiped_node_cannot_help_elect_a_second_leader_of_a_term() {
    for seed in 0..50 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(5000);
        let leader = world.leader();
        let (wiped, down) = ((leader + 1) % 3, (leader + 2) % 3);
        world.kill(down);
        world.kill(leader);
        world.kill(wiped);
        world.nodes[wiped].disk = None;
        world.nodes[wiped].highest_term = Term(0);
        world.run(10);
        world.start(wiped);
        world.start(down);
        world.run(30_000);
        assert!(world.serving().is_empty(), "a node that lost its ballot abstains");
        world.start(leader);
        world.run_until_served(10_000);
    }
}

#[test]
fn a_node_that_lost_its_ballot_abstains_until_it_is_recovered() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), None, BootMs(0));
    let vote = |term| received(1, request(Term(term), BootMs(1)));
    let later = BootMs(60_000);
    let granted = |message: &Message| matches!(message, Message::VoteResp { granted: true, .. });
    machine.handle(Event::TimerFired, BootMs(59_000), Entropy(0));
    machine.handle(Event::TimerFired, later, Entropy(0));
    assert!(!machine.handle(vote(9), later, Entropy(0)).iter().any(|action| matches!(action, Action::SaveBallot(_))));
    machine.handle(report(1, 1, SOUND), later, Entropy(0));
    let actions = machine.handle(report(2, 1, SOUND), later, Entropy(0));
    let abstains = Ballot { term: Term(9), voted_for: Some(NodeId(0)) };
    assert!(actions.contains(&Action::SaveBallot(abstains)), "{actions:?}");
    machine.handle(Event::BallotSaved(abstains), later, Entropy(0));
    // The node abstains in the highest reported term and votes in the next one.
    assert!(!sends(&machine.handle(vote(9), later, Entropy(0)), granted));
    machine.handle(vote(10), later, Entropy(0));
    let votes = Ballot { term: Term(10), voted_for: Some(NodeId(1)) };
    assert!(sends(&machine.handle(Event::BallotSaved(votes), later, Entropy(0)), granted));
}

/// A vote that was granted before the ballot was lost may still elect a leader. The other nodes may
/// not know its term yet.
#[test]
fn reports_right_after_the_start_do_not_recover_a_lost_ballot() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), None, BootMs(0));
    let saves = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::SaveBallot(_)));
    machine.handle(Event::TimerFired, BootMs(2499), Entropy(0));
    machine.handle(report(1, 1, SOUND), BootMs(2510), Entropy(0));
    assert!(!saves(&machine.handle(report(2, 1, SOUND), BootMs(9000), Entropy(0))), "the request was sent too early");
    machine.handle(Event::TimerFired, BootMs(9100), Entropy(0));
    machine.handle(report(1, 2, SOUND), BootMs(9101), Entropy(0));
    assert!(!saves(&machine.handle(report(2, 1, SOUND), BootMs(9101), Entropy(0))), "a response to the early request");
    assert!(saves(&machine.handle(report(2, 2, SOUND), BootMs(9102), Entropy(0))));
}

#[test]
fn two_nodes_that_lost_their_ballots_do_not_send_requests_endlessly() {
    let mut world = World::new(3, 1);
    for node in 0..2 {
        world.nodes[node].disk = None;
        world.start(node);
    }
    world.run(6000);
    let requests = world.sent.iter().filter(|(_, message)| matches!(message, Message::PreVote { .. })).count();
    assert!(requests < 200, "{requests} requests in six seconds");
}

#[test]
fn a_node_grants_pre_votes_only_when_its_recovered_ballot_is_on_disk() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), None, BootMs(0));
    let later = BootMs(4000);
    machine.handle(Event::TimerFired, BootMs(3500), Entropy(0));
    machine.handle(Event::TimerFired, later, Entropy(0));
    let wiped = BallotReport { missing_at_start: true, sound: false, term: Term(0) };
    machine.handle(report(1, 1, wiped), later, Entropy(0));
    let actions = machine.handle(report(2, 1, wiped), later, Entropy(0));
    assert!(actions.contains(&Action::SaveBallot(Ballot::default())), "{actions:?}");
    let pre_vote = || received(2, Message::PreVote { round: 4, term: Term(1), dead_leader: None });
    let grants_pre_vote =
        |message: &Message| matches!(message, Message::PreVoteResp(PreVoteResp { granted: true, .. }));
    assert!(!sends(&machine.handle(pre_vote(), later, Entropy(0)), grants_pre_vote));
    machine.handle(Event::BallotSaved(Ballot::default()), later, Entropy(0));
    assert!(sends(&machine.handle(pre_vote(), later, Entropy(0)), grants_pre_vote));
}

#[test]
fn a_wiped_node_that_follows_a_leader_recovers_its_ballot() {
    for seed in 0..50 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(5000);
        let leader = world.leader();
        let (wiped, other) = ((leader + 1) % 3, (leader + 2) % 3);
        world.kill(wiped);
        world.nodes[wiped].disk = None;
        world.nodes[wiped].highest_term = Term(0);
        world.run(10);
        world.start(wiped);
        world.run(6000);
        // Without the third node, the lease depends on the acknowledgements of the node that lost
        // its ballot.
        world.kill(other);
        world.run(10_000);
        assert_eq!(world.serving(), [leader], "seed {seed}");
    }
}

#[test]
fn a_cluster_that_lost_all_ballots_elects_a_leader() {
    for seed in 0..50 {
        let mut world = World::new(3, seed);
        for node in 0..3 {
            world.nodes[node].disk = None;
            world.start(node);
        }
        assert!(world.run_until_served(20_000) > 2500);
    }
}

#[test]
fn a_node_that_lost_its_first_vote_and_a_new_node_elect_no_second_leader() {
    let mut world = World::new(3, 1);
    world.start(0);
    world.start(2);
    world.run_until_served(6000);
    let leader = world.leader();
    let voter = 2 - leader;
    world.isolate(u8::try_from(leader).unwrap());
    world.kill(voter);
    world.nodes[voter].disk = None;
    world.nodes[voter].highest_term = Term(0);
    world.run(10);
    world.start(voter);
    world.start(1);
    world.run(60_000);
    assert_eq!(world.leaders.len(), 1, "only the first term has a leader");
}
