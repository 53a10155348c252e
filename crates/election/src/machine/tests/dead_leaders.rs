//! Rule 5, proof of death.

use super::*;

#[test]
fn a_leader_whose_links_end_is_replaced_at_once() {
    for orderly_ends in [1000, 500] {
        let mut took = Vec::new();
        for seed in 0..400 {
            let mut world = World::started(3, seed);
            world.orderly_ends = orderly_ends;
            world.run_until_served(3000);
            world.run(10_000);
            let old = world.leader();
            world.kill(old);
            world.run(1);
            let seen = world.queue.values().any(|arrival| matches!(arrival, Arrival::Ended { .. }));
            if seen {
                took.push(world.run_until_served(8000));
            }
        }
        took.sort_unstable();
        let (median, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        assert!(median < 100 && late < 300, "{orderly_ends}: {took:?}");
    }
}

#[test]
fn an_end_of_stream_releases_only_the_promise_to_that_process_and_never_a_vote() {
    let leader = peer(1);
    let follower = || {
        let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
        machine.handle(received(2, request(Term(4), BootMs(1))), BootMs(8000), Entropy(0));
        machine.handle(
            Event::BallotSaved(Ballot { term: Term(4), voted_for: Some(NodeId(2)) }),
            BootMs(8000),
            Entropy(0),
        );
        let heartbeat = Message::Heartbeat { term: Term(4), sent_at: BootMs(5) };
        machine.handle(Event::MessageReceived { from: leader, message: heartbeat }, BootMs(9000), Entropy(0));
        machine
    };
    let votes_in = |machine: &mut Machine, term| {
        let actions = machine.handle(received(2, request(Term(term), BootMs(2))), BootMs(9010), Entropy(0));
        actions.iter().any(|action| matches!(action, Action::SaveBallot(_)))
    };
    for (ended, free) in
        [(leader, true), (Process { boot: BootId(8), ..leader }, false), (Process { node: NodeId(2), ..leader }, false)]
    {
        let mut machine = follower();
        machine.handle(Event::EndOfStream(ended), BootMs(9005), Entropy(0));
        assert_eq!(votes_in(&mut machine, 5), free, "{ended:?}");
    }
    let mut machine = follower();
    machine.handle(Event::EndOfStream(leader), BootMs(9005), Entropy(0));
    let rival = Process { node: NodeId(1), boot: BootId(99) };
    let message = request(Term(4), BootMs(2));
    let actions = machine.handle(Event::MessageReceived { from: rival, message }, BootMs(9010), Entropy(0));
    assert!(
        !sends(&actions, |message| matches!(message, Message::VoteResp { granted: true, .. })),
        "a node votes once per term"
    );
}

#[test]
fn an_end_of_stream_does_not_shorten_the_boot_window() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    machine.handle(received(1, Message::Heartbeat { term: Term(1), sent_at: BootMs(5) }), BootMs(100), Entropy(0));
    machine.handle(Event::BallotSaved(Ballot { term: Term(1), voted_for: Some(NodeId(1)) }), BootMs(100), Entropy(0));
    machine.handle(Event::EndOfStream(peer(1)), BootMs(200), Entropy(0));
    let actions = machine.handle(received(2, request(Term(2), BootMs(2))), BootMs(210), Entropy(0));
    assert!(!actions.iter().any(|action| matches!(action, Action::SaveBallot(_))));
}

#[test]
fn messages_of_a_dead_process_are_ignored_until_its_death_is_disproved() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let heartbeat = received(1, Message::Heartbeat { term: Term(1), sent_at: BootMs(5) });
    machine.handle(heartbeat, BootMs(9000), Entropy(0));
    machine.handle(Event::BallotSaved(Ballot { term: Term(1), voted_for: Some(NodeId(1)) }), BootMs(9000), Entropy(0));
    machine.handle(Event::EndOfStream(peer(1)), BootMs(9100), Entropy(0));
    assert_eq!(machine.handle(heartbeat, BootMs(9101), Entropy(0)), []);
    let notes = machine.handle(Event::ProcessConnected(peer(1)), BootMs(9200), Entropy(0));
    assert_eq!(notes, [Action::Log(LogEvent::DeathDisproved { node: NodeId(1) })]);
    machine.handle(heartbeat, BootMs(9300), Entropy(0));
    machine.handle(Event::EndOfStream(peer(1)), BootMs(9400), Entropy(0));
    let actions = machine.handle(received(2, request(Term(2), BootMs(2))), BootMs(9410), Entropy(0));
    assert!(
        !actions.iter().any(|action| matches!(action, Action::SaveBallot(_))),
        "an end of stream proves no death any more"
    );
}

#[test]
fn a_leader_that_is_reported_dead_refuses_the_vote() {
    let mut machine = leader();
    let me = Process { node: NodeId(0), boot: BootId(1) };
    let message = Message::Vote { term: Term(2), asked_at: BootMs(1), released_term: None, dead_leader: Some(me) };
    let actions = machine.handle(received(1, message), BootMs(5100), Entropy(0));
    assert!(actions.contains(&Action::Log(LogEvent::DeathDisproved { node: NodeId(0) })));
    assert!(matches!(machine.role_state(), RoleState::Leader { .. }));
}
