//! Rule 1, votes: when a vote is granted and when it is sent.

use super::*;

#[test]
fn no_vote_and_no_vote_request_is_sent_before_the_ballot_is_on_disk() {
    let mut world = World::started(3, 5);
    for _ in 0..2000 {
        world.run(1);
        for (from, message) in std::mem::take(&mut world.sent) {
            let node = &world.nodes[usize::from(from.node.0)];
            match message {
                Message::Vote { term, .. } | Message::VoteResp { term, granted: true, .. } => {
                    assert!(node.disk.is_some_and(|ballot| ballot.term >= term), "{from:?} {message:?}");
                }
                Message::Ack { term, .. } => assert!(node.disk.is_some_and(|ballot| ballot.term >= term)),
                _ => {}
            }
        }
    }
    assert_eq!(world.serving().len(), 1);
}

#[test]
fn a_failed_write_gives_no_vote_and_is_retried() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let vote_request = Event::MessageReceived {
        from: Process { node: NodeId(1), boot: BootId(9) },
        message: request(Term(1), BootMs(77)),
    };
    let after_window = BootMs(4000);
    let ballot = Ballot { term: Term(1), voted_for: Some(NodeId(1)) };
    let actions = machine.handle(vote_request, after_window, Entropy(0));
    assert!(actions.contains(&Action::SaveBallot(ballot)));
    let actions = machine.handle(Event::BallotSaveFailed(ballot), after_window, Entropy(0));
    assert!(!actions.iter().any(|action| matches!(action, Action::Send { .. })), "{actions:?}");
    // At the next request the node writes again. It votes only after that write.
    let actions = machine.handle(vote_request, after_window, Entropy(0));
    assert!(actions.contains(&Action::SaveBallot(ballot)));
    let actions = machine.handle(Event::BallotSaved(ballot), after_window, Entropy(0));
    let granted = Message::VoteResp { term: Term(1), asked_at: BootMs(77), granted: true };
    assert_eq!(actions, vec![Action::Send { to: NodeId(1), message: granted }]);
    // A node votes only once in a term.
    let rival = Event::MessageReceived {
        from: Process { node: NodeId(2), boot: BootId(9) },
        message: request(Term(1), BootMs(78)),
    };
    let actions = machine.handle(rival, after_window, Entropy(0));
    assert!(matches!(
        &actions[..],
        [Action::Send { to: NodeId(2), message: Message::VoteResp { granted: false, .. } }]
    ));
}

#[test]
fn late_votes_do_not_count() {
    let mut machine = leader();
    // A deposed leader campaigns again. The response takes longer than the network timeout.
    machine.handle(received(1, ack(Term(2), BootMs(0))), BootMs(6000), Entropy(0));
    assert!(matches!(machine.role_state(), RoleState::Follower));
    machine.handle(received(2, Message::Nominate { term: Term(3) }), BootMs(7000), Entropy(0));
    machine.handle(Event::BallotSaved(Ballot { term: Term(3), voted_for: Some(NodeId(0)) }), BootMs(7000), Entropy(0));
    let granted = Message::VoteResp { term: Term(3), asked_at: BootMs(7000), granted: true };
    machine.handle(received(1, granted), BootMs(9001), Entropy(0));
    assert!(!matches!(machine.role_state(), RoleState::Leader { .. }));
    machine.handle(received(1, granted), BootMs(9000), Entropy(0));
    assert!(matches!(machine.role_state(), RoleState::Leader { .. }));
}

#[test]
fn impossible_terms_and_unknown_nodes_are_ignored() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let far = Term(u64::MAX);
    let no_member = Process { node: NodeId(200), boot: BootId(1) };
    let answer = PreVoteResp {
        requester: BootId(1),
        round: 0,
        granted: false,
        ready: false,
        load: Load::NEUTRAL,
        role: MemberRole::Follower,
        ballot: SOUND,
        leader: Some((NodeId(200), Term(9))),
    };
    for message in [
        Message::Heartbeat { term: far, sent_at: BootMs(1) },
        request(far, BootMs(1)),
        Message::Nominate { term: far },
        Message::PreVoteResp(PreVoteResp { ballot: BallotReport { term: far, ..SOUND }, leader: None, ..answer }),
        Message::PreVoteResp(answer),
        Message::PreVote { round: 1, term: Term(1), dead_leader: Some(no_member) },
        Message::Vote { term: Term(1), asked_at: BootMs(1), released_term: None, dead_leader: Some(no_member) },
    ] {
        let before = machine.clone();
        let actions = machine.handle(received(1, message), BootMs(5000), Entropy(0));
        assert!(
            matches!(
                actions[..],
                [
                    Action::Log(LogEvent::BootWindowEnded { .. }),
                    Action::Log(LogEvent::MessageIgnored { from: NodeId(1), .. })
                ]
            ),
            "{message:?}: {actions:?}"
        );
        assert_eq!(machine.term(), before.term());
        assert_eq!(machine.leader(), None);
        machine = before;
    }
}

#[test]
fn no_number_of_messages_raises_the_term_limit_before_a_ballot_is_on_disk() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let is_ignored = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Log(LogEvent::MessageIgnored { .. })))
    };
    let ballot = |term| Ballot { term: Term(term), voted_for: Some(NodeId(1)) };
    let limit = Term(0).limit().0;
    for (step, name) in ["a response", "a failed write", "another failed write"].into_iter().enumerate() {
        let at = BootMs(5000 + step as u64);
        // Both messages name the highest term that is accepted, and one above it.
        let answered = |term| Message::VoteResp { term: Term(term), asked_at: BootMs(0), granted: false };
        assert!(!is_ignored(&machine.handle(received(1, answered(limit)), at, Entropy(0))), "{name}");
        assert!(is_ignored(&machine.handle(received(1, answered(limit + 1)), at, Entropy(0))), "{name}");
        let heartbeat = |term| Message::Heartbeat { term: Term(term), sent_at: BootMs(1) };
        let actions = machine.handle(received(1, heartbeat(limit)), at, Entropy(0));
        assert!(actions.contains(&Action::SaveBallot(ballot(limit))), "{name}: {actions:?}");
        assert!(is_ignored(&machine.handle(received(1, heartbeat(limit + 1)), at, Entropy(0))), "{name}");
        machine.handle(Event::BallotSaveFailed(ballot(limit)), at, Entropy(0));
    }
    machine.handle(received(1, Message::Heartbeat { term: Term(limit), sent_at: BootMs(1) }), BootMs(6000), Entropy(0));
    machine.handle(Event::BallotSaved(ballot(limit)), BootMs(6000), Entropy(0));
    let next = Message::Heartbeat { term: Term(2 * limit), sent_at: BootMs(1) };
    assert!(!is_ignored(&machine.handle(received(1, next), BootMs(6000), Entropy(0))));
    machine.handle(Event::BallotSaveFailed(ballot(2 * limit)), BootMs(6000), Entropy(0));
    assert_eq!(machine.saved_term(), None, "the write failed");
    let next = Message::Heartbeat { term: Term(2 * limit + 1), sent_at: BootMs(1) };
    assert!(is_ignored(&machine.handle(received(1, next), BootMs(6000), Entropy(0))));
    let next = Message::Heartbeat { term: Term(2 * limit), sent_at: BootMs(1) };
    assert!(!is_ignored(&machine.handle(received(1, next), BootMs(6000), Entropy(0))), "the limit does not fall");
}
