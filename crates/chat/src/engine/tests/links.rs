//! Unit tests of links and their heartbeats, and of the addresses to dial.

use super::*;

#[test]
fn of_two_links_dialled_from_opposite_ends_both_peers_keep_the_one_dialled_by_the_lower_id() {
    // The links open in either order. The other peer has a higher or a lower id. This peer dialled
    // link 1, the other peer dialled link 2. The peer is known to be of this program from its
    // heartbeat on the first link, before or after the second one opens, or on the second one.
    for (other, kept) in [(60, 1), (40, 2)] {
        for (first, beat_on, is_before) in
            [(1, 1, true), (1, 1, false), (1, 2, false), (2, 2, true), (2, 2, false), (2, 1, false)]
        {
            let mut harness = Harness::new(config());
            harness.link(first, other, (first == 1).then_some(1));
            if is_before {
                harness.receive_heartbeat(beat_on, other);
            }
            let opened = harness.link(3 - first, other, (first == 2).then_some(1));
            let beat = harness.receive_heartbeat(beat_on, other);
            let case = format!("other {other}, link {first} first, heartbeat on {beat_on}, before: {is_before}");
            let ended = if is_before { &opened } else { &beat };
            assert_eq!(closed_links(ended), [3 - kept], "{case}");
            assert_eq!(harness.engine.mesh.links.iter().map(|(link, _)| link.0).collect::<Vec<_>>(), [kept], "{case}");
            let asks = sent_history_requests(&harness.receive_heartbeat(kept, other));
            assert_eq!(asks, usize::from(beat_on != kept), "{case}");
        }
    }
}

#[test]
fn of_two_links_dialled_from_the_same_end_the_newer_one_is_kept() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    harness.receive_heartbeat(1, 60);
    let actions = harness.link(2, 60, None);
    assert_eq!(closed_links(&actions), [1]);
    assert_eq!(notices(&actions), Vec::<&Notice>::new(), "no notice to the user");
    assert_eq!(harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() }), []);
}

#[test]
fn a_link_of_a_peer_to_itself_is_closed_and_its_address_is_never_dialled_again() {
    let mut harness = Harness::new(config());
    assert!(harness.feed(Event::TimerFired).contains(&dial(1)));
    assert_eq!(closed_links(&harness.link(1, ME.0, Some(1))), [1]);
    assert_eq!(harness.engine.wake_at(), BootMs::NEVER);
}

#[test]
fn the_connection_limit_holds_for_dialled_and_for_accepted_links() {
    let mut harness = Harness::new(EngineConfig { peers: vec![endpoint(1), endpoint(2), endpoint(3)], ..config() });
    let dials = harness.feed(Event::TimerFired);
    assert_eq!(dials, [dial(1), dial(2)], "the limit is two");
    harness.link(1, 60, Some(1));
    harness.link(2, 61, None);
    harness.receive_heartbeat(2, 61);
    assert_eq!(closed_links(&harness.link(3, 62, None)), [3]);
    assert_eq!(closed_links(&harness.link(4, 63, Some(2))), [4]);
    assert_eq!(closed_links(&harness.link(5, 61, None)), [2], "another link to a linked peer needs no free slot");
    let actions = harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() });
    let dial = Action::Dial { endpoint: endpoint(3) };
    assert_eq!(actions, [dial], "a peer without a slot is dialled when one is free");
}

#[test]
fn an_unconfirmed_link_is_evicted_when_a_heartbeat_is_overdue() {
    let mut harness = Harness::new(EngineConfig { peers: Vec::new(), ..config() });
    harness.link(1, 60, None);
    harness.now = 1;
    harness.link(2, 61, None);
    harness.receive(1, 60, 1, chat("hi"));
    harness.now = 35_000;
    assert_eq!(
        closed_links(&harness.link(4, 62, None)),
        [4],
        "a heartbeat is overdue after 35 s, the interval and the timeout"
    );
    harness.now = 35_001;
    assert_eq!(closed_links(&harness.link(5, 62, None)), [2]);
    assert_eq!(
        closed_links(&harness.link(6, 63, None)),
        [6],
        "one link is confirmed, and the other was opened just now"
    );
}

#[test]
fn the_user_is_notified_once_when_a_configured_peer_closes_two_unconfirmed_links() {
    let mut harness = Harness::new(config());
    let mut notified = Vec::new();
    for link in 1..5 {
        harness.now += 600_000;
        assert!(harness.feed(Event::TimerFired).contains(&dial(1)));
        harness.link(link, 60, Some(1));
        let ended = harness.feed(Event::LinkClosed { link: LinkId(link), reason: "it ended".into() });
        notified.push(notices(&ended).iter().filter(|notice| matches!(notice, Notice::Unreachable { .. })).count());
    }
    assert_eq!(notified, [0, 1, 0, 0]);
}

#[test]
fn a_configured_address_is_dialled_even_if_a_linked_peer_claims_it() {
    let mut harness = Harness::new(config());
    harness.feed(Event::TimerFired);
    harness.feed(Event::DialFailed { endpoint: endpoint(1), reason: String::new() });
    harness.link(1, 60, None);
    harness.receive(1, 60, 1 << 60, MessageBody::heartbeat(Some(endpoint(1))));
    harness.receive(1, 60, 1 << 61, MessageBody::heartbeat(Some(endpoint(2))));
    harness.now = 2_000;
    let dials = harness.feed(Event::TimerFired).into_iter().filter(|action| matches!(action, Action::Dial { .. }));
    assert_eq!(dials.collect::<Vec<_>>(), [dial(1)], "for any other address the claim is believed");
}

#[test]
fn heartbeats_are_sent_and_a_silent_link_is_closed_after_the_interval_plus_the_timeout() {
    let mut harness = Harness::new(config());
    let is_heartbeat = |action: &Action| matches!(action, Action::Send { message, .. } if matches!(message.body, MessageBody::Heartbeat { .. }));
    assert!(harness.link(1, 60, None).iter().any(is_heartbeat), "at once");
    harness.receive_heartbeat(1, 60);
    harness.now = 29_999;
    assert!(!harness.feed(Event::TimerFired).iter().any(is_heartbeat));
    harness.now = 30_000;
    assert!(harness.engine.wake_at().0 <= 30_000 && harness.feed(Event::TimerFired).iter().any(is_heartbeat));
    harness.now = 34_999;
    assert_eq!(closed_links(&harness.feed(Event::TimerFired)), Vec::<u64>::new());
    harness.now = 35_000;
    assert_eq!(closed_links(&harness.feed(Event::TimerFired)), [1]);
}

#[test]
fn posts_leave_the_other_deadlines_unchanged_and_due_work_is_done_with_them() {
    for config in [config(), lan::lan_config()] {
        let mut harness = Harness::new(config);
        harness.link(1, 60, None);
        harness.receive_heartbeat(1, 60);
        harness.feed(Event::TimerFired);
        while harness.engine.wake_at() < BootMs(30_000) {
            harness.now = harness.engine.wake_at().0;
            harness.feed(Event::TimerFired);
        }
        let is_heartbeat = |action: &Action| matches!(action, Action::Send { message, .. } if matches!(message.body, MessageBody::Heartbeat { .. }));
        for (now, beats) in [(29_999, false), (30_000, true)] {
            harness.now = now;
            let posted = harness.feed(Event::PostRequested("hi".to_owned()));
            assert_eq!(posted.iter().any(is_heartbeat), beats, "at {now} ms");
            let wake_at = harness.engine.wake_at();
            assert_eq!(harness.feed(Event::TimerFired), [], "at {now} ms nothing else was due");
            assert_eq!(harness.engine.wake_at(), wake_at, "at {now} ms no deadline is earlier");
        }
    }
}

#[test]
fn a_peer_that_never_sent_a_heartbeat_is_not_timed_out() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    harness.receive(1, 60, 1, chat("hi"));
    harness.now = 1_000_000;
    assert_eq!(closed_links(&harness.feed(Event::TimerFired)), Vec::<u64>::new());
}

#[test]
fn the_redial_delay_starts_again_at_a_second_after_a_confirmed_link_is_lost() {
    let mut harness = Harness::new(config());
    for _ in 0..8 {
        harness.now = harness.now.max(harness.engine.wake_at().0);
        assert!(harness.feed(Event::TimerFired).contains(&dial(1)));
        harness.feed(Event::DialFailed { endpoint: endpoint(1), reason: String::new() });
    }
    harness.now = harness.engine.wake_at().0;
    harness.feed(Event::TimerFired);
    harness.link(1, 60, Some(1));
    harness.receive(1, 60, 1, chat("hi"));
    harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() });
    harness.now += 1_200;
    assert!(harness.feed(Event::TimerFired).contains(&dial(1)));
}

#[test]
fn of_two_peers_linked_at_the_same_time_one_receives_the_address_of_the_other() {
    let mut harness = Harness::new(config());
    let lists = |actions: &Actions| -> Vec<PeerEndpoint> {
        let lists = actions.iter().filter_map(|action| match action {
            Action::Send { message: MeshMessage { body: MessageBody::PeerList(list), .. }, .. } => Some(list.clone()),
            _ => None,
        });
        lists.flatten().collect()
    };
    assert_eq!((lists(&harness.link(1, 60, None)), lists(&harness.link(2, 61, None))), (vec![], vec![]));
    assert_eq!(lists(&harness.receive(1, 60, 1, MessageBody::heartbeat(Some(endpoint(7))))), []);
    assert_eq!(lists(&harness.receive(2, 61, 1, MessageBody::heartbeat(Some(endpoint(8))))), [endpoint(7)]);
}

#[test]
fn a_peer_without_the_extension_receives_only_plain_messages() {
    let mut harness = Harness::new(config());
    let mut actions = harness.link(1, 60, None);
    actions.extend(harness.receive(1, 60, 1, MessageBody::Heartbeat { extension: None, listen: None }));
    actions.extend(harness.feed(Event::ProfileSet(PeerProfile::new("Al", "", None))));
    actions.extend(harness.feed(Event::DirectRequested { to: PeerId(60).to_string(), text: "psst".into() }));
    for action in &actions {
        if let Action::Send { message, format, .. } = action {
            assert!(message.body.is_plain() && !format.extended, "{message:?}");
        }
    }
    assert!(matches!(notices(&actions).last(), Some(Notice::Rejected { .. })));
    let long = harness.feed(Event::PostRequested("x".repeat(5_000)));
    assert!(
        notices(&long)
            .iter()
            .any(|notice| matches!(notice, Notice::Rejected { reason } if reason.contains(&PeerId(60).to_string())))
    );
}

#[test]
fn control_messages_are_accepted_only_from_the_linked_peer_itself() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    harness.receive_heartbeat(1, 60);
    let direct = MessageBody::Direct { to: ME, text: "psst".into() };
    assert_eq!(harness.receive(1, 61, 1, direct.clone()), [], "forged");
    assert!(matches!(notices(&harness.receive(1, 60, 2, direct))[..], [Notice::Direct { .. }]));
    assert_eq!(harness.receive(1, 60, 3, MessageBody::Direct { to: PeerId(1), text: "not for us".into() }), []);
}

#[test]
fn a_peer_on_another_host_cannot_make_this_peer_dial_its_own_services() {
    let listed = ["127.0.0.1:22", "localhost:22", "169.254.169.254:80", "10.0.0.7:8080"];
    let listed: Vec<PeerEndpoint> = listed.iter().map(|text| PeerEndpoint::parse(text).unwrap()).collect();
    for (remote, learned) in [("10.0.0.9", 1), ("127.0.0.1", 4)] {
        let mut harness = Harness::new(EngineConfig { max_connections: 9, peers: Vec::new(), ..config() });
        let remote = remote.parse().unwrap();
        harness.feed(Event::LinkOpened { link: LinkId(1), peer: PeerId(60), dialled: None, remote });
        harness.receive(1, 60, 1 << 60, MessageBody::heartbeat(listed.first().cloned()));
        harness.receive(1, 60, (1 << 60) + 1, MessageBody::PeerList(listed.clone()));
        assert_eq!(harness.engine.address_count(), learned, "{remote}");
    }
}
