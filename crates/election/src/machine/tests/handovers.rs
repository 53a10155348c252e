//! Rule 7, planned handover.

use super::*;

#[test]
fn a_loaded_leader_hands_over_once_to_a_less_loaded_follower() {
    for seed in 0..50 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(1000);
        let old = world.leader();
        let light = (old + 1) % 3;
        for node in 0..3 {
            world.set_load(node, if node == light { 100 } else { 950 });
        }
        world.run(40_000);
        assert_eq!(world.leader(), light, "seed {seed}");
        let term = world.serving_term;
        world.run(60_000);
        assert_eq!(world.serving_term, term, "seed {seed}: the leader changed again");
    }
}

#[test]
fn a_short_load_spike_causes_no_handover() {
    let mut world = World::started(3, 5);
    world.run_until_served(3000);
    world.run(30_000);
    let (leader, term) = (world.leader(), world.serving_term);
    for spike in 0..20 {
        for node in 0..3 {
            world.set_load(node, if node == leader && spike % 2 == 0 { 950 } else { 300 });
        }
        world.run(3500);
    }
    assert_eq!(world.serving_term, term);
}

#[test]
fn a_handover_leaves_a_gap_of_milliseconds() {
    let mut gaps = Vec::new();
    for seed in 0..200 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(5000);
        let old = world.leader();
        world.feed(old, Event::StopRequested);
        while !world.serving().is_empty() {
            world.run(1);
        }
        gaps.push(world.run_until_served(3000));
    }
    gaps.sort_unstable();
    assert!(gaps[198] <= 100, "{gaps:?}");
}

#[test]
fn a_delayed_stand_now_message_is_ignored() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    machine.handle(received(1, Message::Heartbeat { term: Term(5), sent_at: BootMs(1) }), BootMs(9000), Entropy(0));
    machine.handle(Event::BallotSaved(Ballot { term: Term(5), voted_for: Some(NodeId(1)) }), BootMs(9000), Entropy(0));
    for (from, term) in [(1, 4), (1, 6), (2, 5)] {
        let actions = machine.handle(received(from, Message::StandNow { term: Term(term) }), BootMs(9100), Entropy(0));
        assert_eq!(actions, [], "from {from} in {term}");
    }
    let actions = machine.handle(received(1, Message::StandNow { term: Term(5) }), BootMs(9100), Entropy(0));
    assert!(actions.contains(&Action::SaveBallot(Ballot { term: Term(6), voted_for: Some(NodeId(0)) })));
}

#[test]
fn a_handover_releases_only_the_promise_of_that_term() {
    let votes_with_released_term = |released_term: u64| {
        let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
        machine.handle(received(1, Message::Heartbeat { term: Term(5), sent_at: BootMs(1) }), BootMs(9000), Entropy(0));
        machine.handle(
            Event::BallotSaved(Ballot { term: Term(5), voted_for: Some(NodeId(1)) }),
            BootMs(9000),
            Entropy(0),
        );
        let message = Message::Vote {
            term: Term(9),
            asked_at: BootMs(1),
            released_term: Some(Term(released_term)),
            dead_leader: None,
        };
        let actions = machine.handle(received(2, message), BootMs(9100), Entropy(0));
        actions.iter().any(|action| matches!(action, Action::SaveBallot(_)))
    };
    assert!(votes_with_released_term(5));
    assert!(!votes_with_released_term(4));
    assert!(!votes_with_released_term(8));
}
