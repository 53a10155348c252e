//! Tests of links to peers that are not known to be of this program.

use super::*;

/// The peer 60 has links 1 and 2, and the peer 61 has link 3. None of them is of this program.
fn with_two_links_to_one_peer() -> Harness {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, peers: vec![endpoint(1)], ..config() });
    harness.feed(Event::TimerFired);
    harness.link(1, 60, None);
    assert_eq!(closed_links(&harness.link(2, 60, Some(1))), Vec::<u64>::new());
    harness.link(3, 61, None);
    harness
}

fn heartbeat_links(actions: &Actions) -> Vec<u64> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { links, message: MeshMessage { body: MessageBody::Heartbeat { .. }, .. }, .. } => Some(links),
        _ => None,
    });
    let mut links: Vec<u64> = sent.flatten().map(|link| link.0).collect();
    links.sort_unstable();
    links
}

fn dials(actions: Actions) -> Vec<Action> {
    actions.into_iter().filter(|action| matches!(action, Action::Dial { .. })).collect()
}

#[test]
fn both_links_to_a_foreign_peer_stay_open_and_the_newest_is_used() {
    let mut harness = with_two_links_to_one_peer();
    assert_eq!(chat_links(&harness.feed(Event::PostRequested("hi".into()))), [2, 3]);
    // The peer may answer on either link. What it delivers is not sent back to it on the other.
    for (link, number) in [(1, 1), (2, 2)] {
        let actions = harness.receive(link, 70, number, chat("hi"));
        assert_eq!(chat_links(&actions), [3], "link {link}");
    }
    assert_eq!(chat_links(&harness.receive(3, 70, 3, chat("hi"))), [2]);
    harness.now = 1_500;
    assert_eq!(heartbeat_links(&harness.feed(Event::TimerFired)), [1, 2, 3], "each link is kept alive");
    assert_eq!(harness.engine.link_count(), 2, "linked peers");
}

#[test]
fn the_user_is_told_once_of_a_foreign_peer_with_two_links() {
    let mut harness = with_two_links_to_one_peer();
    let found = |actions: &Actions| notices(actions).iter().any(|notice| matches!(notice, Notice::PeerFound { .. }));
    assert!(found(&harness.receive(1, 60, 1, chat("hi"))));
    assert!(!found(&harness.receive(2, 60, 2, chat("hi"))));
    assert!(!found(&harness.link(4, 60, None)) && !found(&harness.receive(4, 60, 3, chat("hi"))));
}

#[test]
fn when_one_of_two_links_ends_the_peer_has_forgotten_this_one_so_the_other_is_closed() {
    for ended in [1, 2] {
        let mut harness = with_two_links_to_one_peer();
        harness.receive(1, 60, 1, chat("hi"));
        let actions = harness.feed(Event::LinkClosed { link: LinkId(ended), reason: String::new() });
        assert_eq!(closed_links(&actions), [3 - ended]);
        assert!(matches!(notices(&actions)[..], [Notice::PeerLost { .. }]));
        assert_eq!(harness.engine.link_count(), 1);
        harness.now = 1_200;
        let dial = Action::Dial { endpoint: endpoint(1) };
        assert_eq!(dials(harness.feed(Event::TimerFired)), [dial], "it is dialled again");
    }
}

#[test]
fn a_foreign_peer_with_two_links_times_out_only_if_both_are_silent() {
    let mut harness = with_two_links_to_one_peer();
    for link in [1, 2] {
        harness.receive(link, 60, link, MessageBody::Heartbeat { extension: None, listen: None });
    }
    harness.now = 30_000;
    harness.receive(1, 70, 1, chat("hi"));
    harness.now = 64_999;
    assert_eq!(closed_links(&harness.feed(Event::TimerFired)), Vec::<u64>::new());
    harness.now = 65_000;
    assert_eq!(closed_links(&harness.feed(Event::TimerFired)), [2, 1]);
}

#[test]
fn two_links_are_two_connections_for_the_limit_and_without_a_free_slot_all_of_the_peer_are_closed() {
    let mut harness = Harness::new(EngineConfig { max_connections: 2, peers: Vec::new(), ..config() });
    harness.link(1, 60, None);
    assert_eq!(closed_links(&harness.link(2, 60, None)), Vec::<u64>::new());
    assert_eq!(closed_links(&harness.link(3, 61, None)), [3]);
    // If one were closed, the peer would forget this one and ignore the others.
    assert_eq!(closed_links(&harness.link(4, 60, None)), [4, 1, 2], "without a free slot none stays");
    assert_eq!(closed_links(&harness.link(5, 61, None)), Vec::<u64>::new());
}

#[test]
fn a_foreign_peer_gets_a_heartbeat_every_one_and_a_half_seconds() {
    for (interval_ms, due) in [(30_000, 1_500), (1_501, 1_500), (1_000, 1_000)] {
        let mut harness = Harness::new(EngineConfig { heartbeat_interval_ms: interval_ms, ..config() });
        assert_eq!(heartbeat_links(&harness.link(1, 60, None)), [1]);
        harness.now = due - 1;
        assert_eq!(heartbeat_links(&harness.feed(Event::TimerFired)), Vec::<u64>::new(), "{interval_ms}");
        harness.now = due;
        assert!(harness.engine.wake_at() <= BootMs(due));
        assert_eq!(heartbeat_links(&harness.feed(Event::TimerFired)), [1], "{interval_ms}");
    }
}

#[test]
fn a_peer_of_this_program_gets_heartbeats_at_the_interval_of_the_settings() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    harness.now = 1_500;
    harness.feed(Event::TimerFired);
    harness.receive_heartbeat(1, 60);
    for (now, links) in [(31_499, vec![]), (31_500, vec![1])] {
        harness.now = now;
        assert_eq!(heartbeat_links(&harness.feed(Event::TimerFired)), links, "at {now} ms");
    }
}

#[test]
fn a_foreign_peer_gets_the_chat_since_its_link_opened_and_no_history() {
    let opened = at(0).unix_s;
    // The peer 62 is of this program, and answers a history request.
    let receive = |harness: &mut Harness, number: u64, said_at: i64| {
        let message = MeshMessage { sender: PeerId(70), number, said_at, name: None, body: chat("hi") };
        chat_links(&harness.feed(Event::MessageReceived { link: LinkId(2), message }))
    };
    let mut harness = Harness::new(EngineConfig { max_connections: 9, peers: Vec::new(), ..config() });
    harness.link(1, 61, None);
    harness.link(2, 62, None);
    harness.receive_heartbeat(2, 62);
    assert_eq!(receive(&mut harness, 1, opened - 1), Vec::<u64>::new(), "said before the link");
    assert_eq!(receive(&mut harness, 2, opened), [1], "said since then");
    harness.receive(2, 62, 9, MessageBody::HistoryEnd { more: false });
    assert_eq!(receive(&mut harness, 3, opened - 1), [1], "new chat, of an author whose clock is late");
}

#[test]
fn an_address_of_a_linked_peer_under_another_name_is_not_dialled() {
    let by_name = PeerEndpoint::parse("peer60.example:1").unwrap();
    for is_learned_first in [true, false] {
        let peers = vec![by_name.clone()];
        let mut harness = Harness::new(EngineConfig { max_connections: 9, peers, ..config() });
        harness.feed(Event::TimerFired);
        if is_learned_first {
            // It is dialled later than now, because it was not dialled with this event.
            assert_eq!(dials(harness.feed(Event::AddressesFound(vec![endpoint(1)]))), []);
        }
        let (link, peer, dialled) = (LinkId(1), PeerId(60), Some(by_name.clone()));
        harness.feed(Event::LinkOpened { link, peer, dialled, remote: REMOTE });
        let mut actions = harness.receive(1, 60, 1, MessageBody::PeerList(vec![endpoint(1), endpoint(2)]));
        harness.now = 300;
        actions.extend(harness.feed(Event::TimerFired));
        let dial = Action::Dial { endpoint: endpoint(2) };
        assert_eq!(dials(actions), [dial], "learned first: {is_learned_first}");
    }
}

#[test]
fn an_address_at_which_a_linked_peer_was_found_is_not_dialled_until_the_peer_is_lost() {
    let mut harness = Harness::new(EngineConfig { peers: Vec::new(), ..config() });
    harness.link(1, 60, None);
    harness.feed(Event::AddressesFound(vec![endpoint(5)]));
    harness.now = 300;
    let dial = Action::Dial { endpoint: endpoint(5) };
    assert_eq!(dials(harness.feed(Event::TimerFired)), [dial]);
    let greeted = harness.feed(Event::DialGreeted { endpoint: endpoint(5), peer: PeerId(60) });
    assert_eq!(greeted, [Action::EndDial { endpoint: endpoint(5) }]);
    harness.now = 600_000;
    assert_eq!(dials(harness.feed(Event::TimerFired)), []);
    harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() });
    harness.now += 1_200;
    assert_eq!(dials(harness.feed(Event::TimerFired)), [super::dial(5)]);
}

#[test]
fn of_two_dials_that_reach_one_unlinked_peer_only_the_first_may_open_a_link() {
    let peers = vec![endpoint(1), endpoint(2)];
    let mut harness = Harness::new(EngineConfig { max_connections: 9, peers, ..config() });
    assert_eq!(dials(harness.feed(Event::TimerFired)), [super::dial(1), super::dial(2)]);
    let greeted = |port| Event::DialGreeted { endpoint: endpoint(port), peer: PeerId(60) };
    assert_eq!(harness.feed(greeted(1)), [Action::Greet { endpoint: endpoint(1) }]);
    assert_eq!(harness.feed(greeted(2)), [Action::EndDial { endpoint: endpoint(2) }]);
    harness.now = 100;
    assert_eq!(dials(harness.feed(Event::TimerFired)), [], "while the first dial is about to open a link");
    let reason = String::new();
    let actions = harness.feed(Event::DialFailed { endpoint: endpoint(1), reason });
    assert_eq!(dials(actions), [super::dial(2)], "the first dial failed after all");
    assert_eq!(harness.feed(greeted(2)), [Action::Greet { endpoint: endpoint(2) }]);
    harness.link(1, 60, Some(2));
    harness.now = 5_000;
    assert_eq!(dials(harness.feed(Event::TimerFired)), []);
}

#[test]
fn posts_before_the_first_link_are_sent_on_it_once() {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, ..config() });
    for text in ["one", "two"] {
        assert_eq!(chat_links(&harness.feed(Event::PostRequested(text.into()))), Vec::<u64>::new());
    }
    assert_eq!(harness.engine.unsent_posts(), 2);
    assert_eq!(chat_links(&harness.link(1, 60, None)), [1, 1]);
    assert_eq!(harness.engine.unsent_posts(), 0);
    assert_eq!(chat_links(&harness.link(2, 61, None)), Vec::<u64>::new());
}

#[test]
fn a_message_that_is_too_long_for_foreign_peers_is_rejected_with_their_names() {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, ..config() });
    harness.link(1, 60, None);
    harness.link(2, 61, None);
    harness.receive_heartbeat(2, 61);
    // The documented limit, for the name and the text together.
    let longest = 3943 - "me".len();
    let actions = harness.feed(Event::PostRequested("x".repeat(longest)));
    assert!(!notices(&actions).iter().any(|notice| matches!(notice, Notice::Rejected { .. })));
    let actions = harness.feed(Event::PostRequested("x".repeat(longest + 1)));
    let reason = notices(&actions).into_iter().find_map(|notice| match notice {
        Notice::Rejected { reason } => Some(reason.clone()),
        _ => None,
    });
    let reason = reason.expect("a reason");
    assert!(reason.contains(&PeerId(60).to_string()) && !reason.contains(&PeerId(61).to_string()), "{reason}");
}
