//! Rules 3 and 4: the lease, the promise and the boot window.

use super::*;

#[test]
fn the_lease_counts_from_the_send_time_of_an_acknowledged_heartbeat() {
    let mut machine = leader();
    assert!(!machine.is_serving(BootMs(5001)), "a new leader serves only after its first majority acknowledgement");
    machine.handle(received(1, ack(Term(1), BootMs(5000))), BootMs(6500), Entropy(0));
    assert_eq!(machine.serves_until(), BootMs(7500));
    assert!(machine.is_serving(BootMs(7499)));
    assert!(!machine.is_serving(BootMs(7500)));
    // An acknowledgement of a heartbeat that was never sent extends no lease.
    machine.handle(received(2, ack(Term(1), BootMs(99_000))), BootMs(6600), Entropy(0));
    assert_eq!(machine.serves_until(), BootMs(7500));
}

#[test]
fn a_leader_steps_down_v_after_its_last_acknowledged_heartbeat() {
    let mut machine = leader();
    machine.handle(received(1, ack(Term(1), BootMs(5000))), BootMs(5003), Entropy(0));
    machine.handle(Event::TimerFired, BootMs(7999), Entropy(0));
    assert!(matches!(machine.role_state(), RoleState::Leader { .. }));
    machine.handle(Event::TimerFired, BootMs(8000), Entropy(0));
    assert!(matches!(machine.role_state(), RoleState::Follower));
}

#[test]
fn a_leader_that_lost_its_majority_resigns_its_term() {
    let mut machine = leader();
    let due = leader::step_down_at(&machine.node);
    assert!(!machine.is_serving(due), "the lease has ended by then");
    let resigns = |message: &Message| matches!(message, Message::Resign { .. });
    let early = machine.handle(Event::TimerFired, BootMs(due.0 - 1), Entropy(0));
    assert!(!sends(&early, resigns));
    let mut timed_out = machine.clone();
    let actions = timed_out.handle(Event::TimerFired, due, Entropy(0));
    assert!(sends(&actions, |message| *message == Message::Resign { term: Term(1) }));
    assert_eq!(timed_out.role_state(), RoleState::Follower);
    // Neither a late acknowledgement nor a late vote makes it a leader of that term again.
    let granted = Message::VoteResp { term: Term(1), asked_at: BootMs(4900), granted: true };
    for late in [ack(Term(1), BootMs(5000)), granted] {
        machine.handle(received(1, late), due, Entropy(0));
        machine.handle(received(2, late), due, Entropy(0));
        assert_eq!((machine.role_state(), machine.serves_until()), (RoleState::Follower, BootMs(0)));
    }
}

#[test]
fn an_isolated_leader_stops_serving_before_another_can_start() {
    for seed in 0..100 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        world.isolate(u8::try_from(old).unwrap());
        world.run(2600);
        assert!(world.serving().is_empty());
        world.run_until_served(5000);
        assert_ne!(world.leader(), old);
        // After the partition the old leader follows and disturbs no other node.
        world.cut.clear();
        let term = world.serving_term;
        world.run(20_000);
        assert_eq!(world.serving_term, term, "seed {seed}");
    }
}

#[test]
fn a_promise_holds_until_its_last_millisecond() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let leader = Process { node: NodeId(1), boot: BootId(9) };
    let heartbeat =
        Event::MessageReceived { from: leader, message: Message::Heartbeat { term: Term(1), sent_at: BootMs(5) } };
    machine.handle(heartbeat, BootMs(10_000), Entropy(0));
    machine.handle(
        Event::BallotSaved(Ballot { term: Term(1), voted_for: Some(NodeId(1)) }),
        BootMs(10_000),
        Entropy(0),
    );
    let vote = |asked_at| Event::MessageReceived {
        from: Process { node: NodeId(2), boot: BootId(9) },
        message: request(Term(2), BootMs(asked_at)),
    };
    let refused = machine.handle(vote(1), BootMs(13_000), Entropy(0));
    assert!(!refused.iter().any(|action| matches!(action, Action::SaveBallot(_))));
    let granted = machine.handle(vote(2), BootMs(13_001), Entropy(0));
    assert!(granted.iter().any(|action| matches!(action, Action::SaveBallot(_))));
}

#[test]
fn a_response_to_an_earlier_process_is_ignored() {
    let mut machine = Machine::new(defaults(0, 3), BootId(2), Some(Ballot::default()), BootMs(0));
    for node in [1, 2] {
        let answer = PreVoteResp {
            requester: BootId(1),
            round: 0,
            granted: false,
            ready: false,
            load: Load::NEUTRAL,
            role: MemberRole::Follower,
            ballot: BallotReport { missing_at_start: false, sound: true, term: Term(0) },
            leader: None,
        };
        machine.handle(received(node, Message::PreVoteResp(answer)), BootMs(10), Entropy(0));
    }
    let actions = machine.handle(received(1, request(Term(1), BootMs(1))), BootMs(20), Entropy(0));
    assert!(!actions.iter().any(|action| matches!(action, Action::SaveBallot(_))), "the boot window still holds");
}

#[test]
fn a_resignation_releases_only_the_promise_of_that_term() {
    let is_released_by_resignation_of = |resigned: u64| {
        let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
        machine.handle(received(1, Message::Heartbeat { term: Term(5), sent_at: BootMs(1) }), BootMs(9000), Entropy(0));
        machine.handle(
            Event::BallotSaved(Ballot { term: Term(5), voted_for: Some(NodeId(1)) }),
            BootMs(9000),
            Entropy(0),
        );
        machine.handle(received(1, Message::Resign { term: Term(resigned) }), BootMs(9100), Entropy(0));
        let vote = received(2, request(Term(6), BootMs(1)));
        machine.handle(vote, BootMs(9200), Entropy(0)).iter().any(|action| matches!(action, Action::SaveBallot(_)))
    };
    assert!(is_released_by_resignation_of(5));
    assert!(!is_released_by_resignation_of(4));
    assert!(!is_released_by_resignation_of(6));
}

#[test]
fn a_resignation_ends_the_boot_window_of_a_restarted_follower() {
    let mut took = Vec::new();
    for seed in 0..300 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        let restarted = (old + 1) % 3;
        world.kill(restarted);
        world.run(20);
        world.start(restarted);
        world.run(500);
        assert_eq!(world.leader(), old);
        world.feed(old, Event::StopRequested);
        world.run_until_over(old);
        world.kill(old);
        took.push(world.run_until_served(4000));
    }
    took.sort_unstable();
    assert!(took[299] < 1000, "{took:?}");
}
