//! Unit tests of the LAN rules of the engine, and of peers that use both transports.

use super::*;
use crate::lan::{self, Datagram, Dialect};
use crate::lan_user_id::LanUserId;

pub(super) fn lan_config() -> EngineConfig {
    let user = LanUserId::parse("me@10.0.0.1").unwrap();
    EngineConfig {
        lan: Some(LanConfig { user, port: 8100, own_ips: vec!["10.0.0.1".parse().unwrap()] }),
        peers: Vec::new(),
        ..config()
    }
}

fn datagram(from: &str, source: &str, body: lan::DatagramBody, dialect: Dialect) -> Event {
    let datagram = Datagram { from: LanUserId::parse(from), id: Some(77), sent_at: 5, body };
    Event::DatagramReceived { source: source.parse().unwrap(), to_shared_port: true, datagram, dialect }
}

#[test]
fn each_peer_is_answered_in_its_dialect_at_the_port_it_announced() {
    for dialect in [Dialect::Compact, Dialect::Spaced] {
        let mut harness = Harness::new(lan_config());
        harness.feed(Event::TimerFired);
        let event = datagram("bob@10.0.0.2", "10.0.0.2:9", lan::DatagramBody::Discovery { port: 8200 }, dialect);
        let sent = harness.feed(event);
        let answers: Vec<_> = sent.iter().filter(|action| matches!(action, Action::SendDatagram { .. })).collect();
        assert_eq!(answers.len(), if dialect == Dialect::Spaced { 2 } else { 1 });
        for answer in answers {
            let Action::SendDatagram { to, dialect: used, .. } = answer else { panic!() };
            assert_eq!((to.to_string().as_str(), *used), ("10.0.0.2:8200", dialect));
        }
    }
}

/// The addresses to which these datagrams go, with their types.
fn sent(actions: &Actions) -> Vec<(String, &lan::DatagramBody)> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::SendDatagram { to, datagram, .. } => Some((to.to_string(), &datagram.body)),
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_peer_that_announced_no_port_is_reached_at_the_shared_port_never_at_a_source_port() {
    let mut harness = Harness::new(lan_config());
    harness.feed(Event::TimerFired);
    let me = LanUserId::parse("me@10.0.0.1").unwrap();
    let direct = lan::DatagramBody::Direct { to: me, text: "psst".into() };
    let mut actions = Actions::new();
    // Each datagram comes from another socket.
    let bodies = [lan::DatagramBody::Ping, direct.clone(), lan::DatagramBody::ListRequest];
    for (port, body) in (40_001..).zip(bodies) {
        actions.extend(harness.feed(datagram("di@10.0.0.3", &format!("10.0.0.3:{port}"), body, Dialect::Spaced)));
    }
    actions.extend(harness.feed(Event::PostRequested("hi".into())));
    actions.extend(harness.feed(Event::DirectRequested { to: "di".into(), text: "psst".into() }));
    let all = sent(&actions);
    assert!(all.len() >= 6 && all.iter().all(|(to, _)| to == "10.0.0.3:50999"), "{all:?}");
    assert_eq!(harness.engine.peers(BootMs(0))[0].at, "10.0.0.3:50999");
    // A peer that announced its port keeps it, even if it sends from another address or socket.
    let discovery = lan::DatagramBody::Discovery { port: 8300 };
    harness.feed(datagram("di", "10.0.0.4:40004", discovery, Dialect::Spaced));
    let acknowledged = harness.feed(datagram("di", "10.0.0.5:40005", direct, Dialect::Spaced));
    assert_eq!(sent(&acknowledged), [("10.0.0.5:8300".to_owned(), &lan::DatagramBody::Ack)]);
    assert_eq!(harness.engine.peers(BootMs(0))[0].at, "10.0.0.5:8300");
}

#[test]
fn a_peer_that_follows_this_peer_is_shown_as_a_follower_until_it_unfollows() {
    let mut harness = Harness::new(lan_config());
    let me = LanUserId::parse("me@10.0.0.1").unwrap();
    let mut number = 0;
    let mut feed = |body| {
        number += 1;
        let datagram = Datagram { from: LanUserId::parse("bob@10.0.0.2"), id: Some(number), sent_at: 5, body };
        let actions = harness.feed(datagram_from("10.0.0.2:8200", datagram));
        let follows: Vec<bool> = notices(&actions)
            .iter()
            .filter_map(|notice| match notice {
                Notice::Follower { follows, .. } => Some(*follows),
                _ => None,
            })
            .collect();
        (follows, harness.engine.peers(BootMs(0))[0].follows_you)
    };
    let (follow, unfollow) = (lan::DatagramBody::Follow { to: me.clone() }, lan::DatagramBody::Unfollow { to: me });
    let other = LanUserId::parse("carol@10.0.0.3").unwrap();
    assert_eq!(feed(unfollow.clone()), (vec![], false), "a stranger");
    assert_eq!(feed(lan::DatagramBody::Follow { to: other }), (vec![], false), "it follows somebody else");
    assert_eq!(feed(follow.clone()), (vec![true], true));
    assert_eq!(feed(follow), (vec![], true));
    assert_eq!(feed(unfollow), (vec![false], false));
}

#[test]
fn this_peer_follows_only_on_request_and_again_when_a_followed_peer_was_restarted() {
    let mut harness = Harness::new(lan_config());
    harness.feed(Event::TimerFired);
    let announce =
        |port| datagram("bob@10.0.0.2", "10.0.0.2:9", lan::DatagramBody::Discovery { port }, Dialect::Compact);
    let bob = || LanUserId::parse("bob@10.0.0.2").unwrap();
    let follows = |actions: &Actions| {
        let is_follow = |(_, body): &&(String, &lan::DatagramBody)| **body == lan::DatagramBody::Follow { to: bob() };
        sent(actions).iter().filter(is_follow).map(|(to, _)| to.clone()).collect::<Vec<_>>()
    };
    assert_eq!(follows(&harness.feed(announce(8200))), Vec::<String>::new(), "nobody is followed unasked");
    let request = |to: &str, follows| Event::FollowRequested { to: to.into(), follows };
    let actions = harness.feed(request("bob", true));
    assert_eq!(follows(&actions), ["10.0.0.2:8200"]);
    assert!(matches!(notices(&actions)[..], [Notice::Following { follows: true, .. }]));
    assert!(harness.engine.peers(BootMs(0))[0].you_follow);
    assert_eq!(follows(&harness.feed(announce(8200))), Vec::<String>::new());
    assert_eq!(follows(&harness.feed(announce(8300))), ["10.0.0.2:8300"], "it was restarted");
    harness.now += 301_000;
    harness.feed(Event::TimerFired);
    assert_eq!(follows(&harness.feed(announce(8400))), ["10.0.0.2:8400"], "it was away");
    // Its first announcement may be an answer to this peer, at this peer's own port.
    let to_own_port = |event| match event {
        Event::DatagramReceived { source, datagram, dialect, .. } => {
            Event::DatagramReceived { source, to_shared_port: false, datagram, dialect }
        }
        other => other,
    };
    let answered = harness.feed(to_own_port(announce(8450)));
    assert_eq!(sent(&answered), [("10.0.0.2:8450".to_owned(), &lan::DatagramBody::Follow { to: bob() })]);
    let actions = harness.feed(request("bob", false));
    assert_eq!(sent(&actions), [("10.0.0.2:8450".to_owned(), &lan::DatagramBody::Unfollow { to: bob() })]);
    assert_eq!(follows(&harness.feed(announce(8500))), Vec::<String>::new());
    let unknown = harness.feed(request("me", true));
    let [Notice::Rejected { reason }] = notices(&unknown)[..] else { panic!("{unknown:?}") };
    assert!(reason.contains("bob@10.0.0.2"), "the answer lists the peers: {reason}");
    harness.link(1, 60, None);
    harness.receive_heartbeat(1, 60);
    let on_mesh = harness.feed(request(&PeerId(60).to_string(), true));
    assert!(matches!(notices(&on_mesh)[..], [Notice::Rejected { .. }]) && sent(&on_mesh).is_empty());
}

#[test]
fn a_peer_that_announces_its_leave_is_removed_and_this_peer_announces_its_own() {
    let mut harness = Harness::new(lan_config());
    for user in ["bob@10.0.0.2", "di@10.0.0.3"] {
        let source = format!("{}:8200", &user[user.len() - 8..]);
        harness.feed(datagram(user, &source, lan::DatagramBody::Discovery { port: 8200 }, Dialect::Compact));
    }
    let leave = |source| datagram("bob@10.0.0.2", source, lan::DatagramBody::Revoke, Dialect::Compact);
    assert_eq!(harness.feed(leave("10.0.0.66:8200")), [], "another host cannot send a peer away");
    let actions = harness.feed(leave("10.0.0.2:40001"));
    assert!(matches!(notices(&actions)[..], [Notice::PeerLost { peer, .. }] if peer.uid == "bob@10.0.0.2"));
    assert_eq!(harness.feed(leave("10.0.0.2:8200")), [], "a stranger");
    let actions = harness.feed(Event::ShuttingDown);
    assert_eq!(sent(&actions), [("10.0.0.3:8200".to_owned(), &lan::DatagramBody::Revoke)]);
}

#[test]
fn a_datagram_without_a_source_address_comes_from_the_claimed_address_and_is_no_mismatch() {
    let mut harness = Harness::new(lan_config());
    harness.feed(Event::TimerFired);
    let discovery = || lan::DatagramBody::Discovery { port: 8200 };
    let actions = harness.feed(datagram("bob@10.0.0.2", "0.0.0.0:8200", discovery(), Dialect::Compact));
    assert!(matches!(notices(&actions)[..], [Notice::PeerFound { .. }]), "{actions:?}");
    assert_eq!(sent(&actions)[0].0, "10.0.0.2:8200");
    let peers = harness.engine.peers(BootMs(0));
    assert_eq!((peers.len(), peers[0].at.as_str(), peers[0].mismatched), (1, "10.0.0.2:8200", false));
    // Its own broadcasts return to this peer in this way, too.
    assert_eq!(harness.feed(datagram("me@10.0.0.1", "0.0.0.0:8100", discovery(), Dialect::Compact)), []);
    assert_eq!(harness.feed(datagram("nobody", "0.0.0.0:8100", discovery(), Dialect::Compact)), []);
}

#[test]
fn a_peer_heard_at_two_addresses_of_this_host_is_listed_once() {
    let mut harness = Harness::new(lan_config());
    harness.feed(Event::TimerFired);
    let discovery = || lan::DatagramBody::Discovery { port: 8300 };
    let mut feed = |user: &str, source: &str, body| {
        let actions = harness.feed(datagram(user, source, body, Dialect::Compact));
        let found = notices(&actions).iter().filter(|notice| matches!(notice, Notice::PeerFound { .. })).count();
        (found, harness.engine.peers(BootMs(0)).into_iter().map(|peer| peer.contact.uid).collect::<Vec<_>>())
    };
    let bob = vec!["bob@10.0.0.1".to_owned()];
    assert_eq!(feed("bob@10.0.0.1", "10.0.0.1:8300", discovery()), (1, bob.clone()));
    assert_eq!(feed("bob@10.0.0.1", "127.0.0.1:8300", discovery()), (0, bob.clone()));
    assert_eq!(feed("bob@127.0.0.1", "127.0.0.1:8300", discovery()), (0, bob.clone()));
    assert_eq!(feed("bob@127.0.0.1", "127.0.0.1:8300", lan::DatagramBody::Ping), (0, bob));
    // Another name, another port, another host or a false address is another peer.
    for (user, source, port) in [
        ("bob@10.9.9.9", "127.0.0.1:8300", 8300),
        ("cat@127.0.0.1", "127.0.0.1:8300", 8300),
        ("bob@127.0.0.1", "127.0.0.1:8301", 8301),
        ("bob@10.0.0.2", "10.0.0.2:8300", 8300),
    ] {
        assert_eq!(feed(user, source, lan::DatagramBody::Discovery { port }).0, 1, "{user} {port}");
    }
}

#[test]
fn the_list_shows_when_each_peer_was_last_seen() {
    let mut harness = Harness::new(lan_config());
    harness.link(1, 60, None);
    harness.receive_heartbeat(1, 60);
    harness.feed(datagram("bob@10.0.0.2", "10.0.0.2:8200", lan::DatagramBody::Ping, Dialect::Compact));
    harness.now = 4_999;
    harness.receive_heartbeat(1, 60);
    let seen = |now| harness.engine.peers(BootMs(now)).iter().map(|peer| peer.seen_seconds_ago).collect::<Vec<_>>();
    assert_eq!((seen(4_999), seen(65_000)), (vec![0, 4], vec![60, 65]));
}

#[test]
fn a_peer_that_changes_its_dialect_is_answered_in_the_latest_one() {
    let mut harness = Harness::new(lan_config());
    for dialect in [Dialect::Compact, Dialect::Spaced, Dialect::Compact] {
        harness.feed(datagram("bob@10.0.0.2", "10.0.0.2:8200", lan::DatagramBody::Ping, dialect));
        let posted = harness.feed(Event::PostRequested("hi".into()));
        let dialects = posted.iter().filter_map(|action| match action {
            Action::SendDatagram { dialect, .. } => Some(*dialect),
            _ => None,
        });
        assert_eq!(dialects.collect::<Vec<_>>(), [dialect]);
    }
}

#[test]
fn a_direct_message_for_another_user_and_an_unrequested_list_are_ignored() {
    let mut harness = Harness::new(lan_config());
    harness.feed(datagram(
        "bob@10.0.0.2",
        "10.0.0.2:8200",
        lan::DatagramBody::Discovery { port: 8200 },
        Dialect::Compact,
    ));
    let to = LanUserId::parse("carol@10.0.0.3").unwrap();
    let direct = lan::DatagramBody::Direct { to: to.clone(), text: "psst".into() };
    assert_eq!(harness.feed(datagram("bob@10.0.0.2", "10.0.0.2:8200", direct, Dialect::Compact)), []);
    let list = || {
        datagram("bob@10.0.0.2", "10.0.0.2:8200", lan::DatagramBody::ListResponse(vec![to.clone()]), Dialect::Compact)
    };
    assert_eq!(harness.feed(list()), []);
    harness.feed(Event::ListRequested);
    let requested = harness.feed(list());
    assert!(
        matches!(&requested[..], [Action::SendDatagram { to, .. }, Action::Notify(Notice::NamesReceived { .. })] if to.port() == LAN_PORT)
    );
}

#[test]
fn a_list_request_of_an_unannounced_peer_is_answered_but_the_peer_is_not_added() {
    let mut peer = Harness::new(lan_config());
    peer.feed(Event::TimerFired);
    let list_request = |body| datagram("rollcall-scan@10.0.0.9", "10.0.0.9:8009", body, Dialect::Compact);
    let actions = peer.feed(list_request(lan::DatagramBody::ListRequest));
    let answers: Vec<&Action> =
        actions.iter().filter(|action| matches!(action, Action::SendDatagram { .. } | Action::Broadcast(_))).collect();
    assert!(
        matches!(answers[..], [Action::SendDatagram { to, datagram, .. }]
            if to.port() == 8009 && matches!(datagram.body, lan::DatagramBody::ListResponse(_))),
        "{answers:?}"
    );
    assert!(notices(&actions).is_empty() && peer.engine.peers(BootMs(0)).is_empty());
    // After an announcement the peer is added to the table, and may request the list too.
    peer.feed(list_request(lan::DatagramBody::Discovery { port: 8009 }));
    peer.feed(list_request(lan::DatagramBody::ListRequest));
    assert_eq!(peer.engine.peers(BootMs(0)).len(), 1);
}

#[test]
fn a_repeated_direct_message_is_acknowledged_again_and_shown_once() {
    let mut harness = Harness::new(lan_config());
    harness.feed(Event::TimerFired);
    let to = LanUserId::parse("me@10.0.0.1").unwrap();
    let direct = lan::DatagramBody::Direct { to, text: "psst".into() };
    let mut actions = Vec::new();
    for _ in 0..3 {
        actions.extend(harness.feed(datagram("di@10.0.0.3", "10.0.0.3:9", direct.clone(), Dialect::Spaced)));
    }
    let shown = notices(&actions).into_iter().filter(|notice| matches!(notice, Notice::Direct { .. })).count();
    let is_ack = |action: &&Action| matches!(action, Action::SendDatagram { datagram, .. } if datagram.body == lan::DatagramBody::Ack);
    assert_eq!((shown, actions.iter().filter(is_ack).count()), (1, 3));
}

#[test]
fn a_claimed_address_that_differs_from_the_source_is_reported_and_changes_no_address() {
    let mut harness = Harness::new(lan_config());
    harness.feed(datagram(
        "bob@10.0.0.2",
        "10.0.0.2:8200",
        lan::DatagramBody::Discovery { port: 8200 },
        Dialect::Compact,
    ));
    let event =
        datagram("bob@10.0.0.2", "10.0.0.66:8200", lan::DatagramBody::Discovery { port: 8266 }, Dialect::Compact);
    let actions = harness.feed(event);
    assert!(notices(&actions).iter().any(|notice| matches!(notice, Notice::AddressMismatch { .. })));
    assert_eq!(harness.engine.peers(BootMs(0))[0].at, "10.0.0.2:8200");
    // Loopback and the other addresses of this host count as one address.
    let mine =
        datagram("eve@10.0.0.1", "127.0.0.1:8300", lan::DatagramBody::Discovery { port: 8300 }, Dialect::Compact);
    assert!(!notices(&harness.feed(mine)).iter().any(|notice| matches!(notice, Notice::AddressMismatch { .. })));
}

#[test]
fn a_list_of_many_long_names_fits_into_a_datagram_and_names_the_latest_peers() {
    let mut harness = Harness::new(lan_config());
    for number in 0..300 {
        harness.now += 1;
        let name = format!("{number:03}{}", "\"".repeat(125));
        harness.feed(datagram(&name, "10.0.0.2:8200", lan::DatagramBody::Ping, Dialect::Compact));
    }
    harness.now += 60_000;
    let actions =
        harness.feed(datagram("bob@10.0.0.2", "10.0.0.2:9", lan::DatagramBody::ListRequest, Dialect::Compact));
    let answer = actions.iter().find_map(|action| match action {
        Action::SendDatagram { datagram, .. } if matches!(datagram.body, lan::DatagramBody::ListResponse(_)) => {
            Some(datagram)
        }
        _ => None,
    });
    let answer = answer.expect("a reply");
    assert!(answer.write(Dialect::Compact).is_some() && answer.write(Dialect::Spaced).is_some());
    let lan::DatagramBody::ListResponse(users) = &answer.body else { panic!() };
    assert_eq!((users.len(), users[0].as_str()), (200, "me@10.0.0.1"));
    assert!(users[1].as_str().starts_with("299") && users[199].as_str().starts_with("101"), "{users:?}");
}

#[test]
fn a_post_without_a_time_gets_the_time_of_receipt() {
    let mut harness = Harness::new(lan_config());
    for (sent_at, said_at) in [(0, at(0).unix_s), (5, 5)] {
        let body = lan::DatagramBody::Post(format!("sent at {sent_at}"));
        let from = LanUserId::parse("di@10.0.0.3");
        let datagram = Datagram { from, id: Some(said_at.unsigned_abs()), sent_at, body };
        let from = "10.0.0.3:8200".parse().unwrap();
        harness.feed(Event::DatagramReceived {
            source: from,
            to_shared_port: true,
            datagram,
            dialect: Dialect::Spaced,
        });
        assert!(harness.engine.history().entries().iter().any(|entry| entry.said_at == said_at), "{sent_at}");
    }
}

#[test]
fn a_post_on_both_transports_is_shown_once_and_identifies_the_peer() {
    let post = |number: u64| lan::DatagramBody::Post(format!("hi {number}"));
    for lan_first in [true, false] {
        let mut harness = Harness::new(lan_config());
        harness.link(1, 60, None);
        harness.receive_heartbeat(1, 60);
        let id = lan_message_id(PeerId(60), 7, "hi 7");
        let datagram = Datagram { from: LanUserId::parse("bob@10.0.0.2"), id: Some(id), sent_at: 5, body: post(7) };
        let on_lan = Event::DatagramReceived {
            source: "10.0.0.2:8200".parse().unwrap(),
            to_shared_port: false,
            datagram,
            dialect: Dialect::Compact,
        };
        let mut actions = if lan_first { harness.feed(on_lan.clone()) } else { Vec::new() };
        actions.extend(harness.receive(1, 60, 7, chat("hi 7")));
        actions.extend(harness.feed(on_lan));
        let posts = notices(&actions).into_iter().filter(|notice| matches!(notice, Notice::Post { .. })).count();
        assert_eq!(posts, 1, "LAN first: {lan_first}");
        let stored: Vec<ChatEntry> = actions.iter().filter_map(Action::persisted).collect();
        let restarted = Engine::new(self::lan_config(), stored, at(0));
        for engine in [&harness.engine, &restarted] {
            let authors: Vec<&Author> = engine.history().entries().iter().map(|entry| &entry.author).collect();
            assert_eq!(
                authors,
                [&Author::Mesh(PeerId(60))],
                "one entry, with the mesh id of its author; LAN first: {lan_first}"
            );
        }
        let lan = harness.engine.lan.as_ref().unwrap();
        assert_eq!(lan.peers.values().next().unwrap().mesh_identity.peer, Some(PeerId(60)));
    }
}

#[test]
fn a_stored_post_of_the_lan_is_not_shown_again_when_it_arrives_on_the_mesh() {
    let lan_id = lan_message_id(PeerId(60), 7, "hi");
    let author = Author::Lan("bob@10.0.0.2".into());
    let stored = ChatEntry { author, name: None, number: lan_id, said_at: 5, text: "hi".into() };
    let mut harness = Harness { engine: Engine::new(config(), vec![stored], at(0)), now: 0 };
    harness.link(1, 60, None);
    let posts =
        |actions: &Actions| notices(actions).iter().filter(|notice| matches!(notice, Notice::Post { .. })).count();
    assert_eq!(posts(&harness.receive(1, 60, 7, chat("hi"))), 0);
    assert_eq!(posts(&harness.receive(1, 60, 8, chat("hi"))), 1, "a new message");
    let authors: Vec<&Author> = harness.engine.history().entries().iter().map(|entry| &entry.author).collect();
    assert_eq!(authors, [&Author::Mesh(PeerId(60)); 2]);
}

#[test]
fn a_text_cannot_be_suppressed_by_using_its_number_for_another_text() {
    let mut harness = Harness::new(lan_config());
    harness.link(1, 60, None);
    let id = lan_message_id(PeerId(60), 7, "the truth");
    let body = lan::DatagramBody::Post("a lie".into());
    let datagram = Datagram { from: LanUserId::parse("eve@10.0.0.3"), id: Some(id), sent_at: 5, body };
    let from = "10.0.0.3:8200".parse().unwrap();
    harness.feed(Event::DatagramReceived { source: from, to_shared_port: false, datagram, dialect: Dialect::Compact });
    let actions = harness.receive(1, 60, 7, chat("the truth"));
    assert!(notices(&actions).iter().any(|notice| matches!(notice, Notice::Post { text, .. } if text == "the truth")));
}

/// Bob's address, on both transports.
const BOB: &str = "10.0.0.9:8200";

/// Announcement that Bob sends at `at_ms`. `peer` is Bob's mesh id. A second engine creates it.
fn announcement(peer: u128, at_ms: u64) -> Datagram {
    let user = LanUserId::parse("bob@10.0.0.9").unwrap();
    let lan = LanConfig { user, port: 8200, own_ips: Vec::new() };
    let mut bob = Engine::new(EngineConfig { id: PeerId(peer), lan: Some(lan), ..config() }, Vec::new(), at(at_ms));
    let broadcast = bob.handle(Event::TimerFired, at(at_ms), EventRng(0)).into_iter().find_map(|action| match action {
        Action::Broadcast(datagram) => Some(datagram),
        _ => None,
    });
    broadcast.expect("a LAN peer announces itself at once")
}

fn datagram_from(source: &str, datagram: Datagram) -> Event {
    Event::DatagramReceived {
        source: source.parse().unwrap(),
        to_shared_port: true,
        datagram,
        dialect: Dialect::Compact,
    }
}

impl Harness {
    /// Links peer 60, which has the nickname bob.
    fn link_bob(&mut self) {
        self.link(1, 60, None);
        let (sender, name) = (PeerId(60), Nickname::parse("bob").ok());
        let message = MeshMessage { sender, number: 1 << 61, said_at: 5, name, body: MessageBody::heartbeat(None) };
        self.feed(Event::MessageReceived { link: LinkId(1), message });
    }

    /// The transport of a direct message to bob; `None` if the name is ambiguous.
    fn transport_of_direct_to_bob(&mut self) -> Option<ChatTransport> {
        let actions = self.feed(Event::DirectRequested { to: "bob".into(), text: "psst".into() });
        notices(&actions).into_iter().find_map(|notice| match notice {
            Notice::DirectSent { to } => Some(to.via),
            _ => None,
        })
    }
}

#[test]
fn a_peer_on_both_transports_is_one_contact_from_its_announcement_on() {
    for link_first in [true, false] {
        let mut harness = Harness::new(lan_config());
        if link_first {
            harness.link_bob();
        }
        harness.feed(datagram_from(BOB, announcement(60, 0)));
        if !link_first {
            harness.link_bob();
        }
        assert_eq!(harness.transport_of_direct_to_bob(), Some(ChatTransport::Mesh), "link first: {link_first}");
    }
}

#[test]
fn a_peer_restarted_with_another_id_is_a_separate_contact_until_that_id_is_linked() {
    let mut harness = Harness::new(lan_config());
    harness.link_bob();
    harness.feed(datagram_from(BOB, announcement(60, 0)));
    harness.feed(datagram_from(BOB, announcement(61, 0)));
    assert_eq!(harness.transport_of_direct_to_bob(), None, "the former link is still open");
    harness.feed(Event::LinkClosed { link: LinkId(1), reason: "gone".into() });
    assert_eq!(harness.transport_of_direct_to_bob(), Some(ChatTransport::Lan));
    harness.link(2, 61, None);
    let lan = harness.engine.lan.as_ref().unwrap();
    assert_eq!(
        lan.peers.values().map(|peer| lan.linked_mesh_peer(peer, &harness.engine.mesh.links)).collect::<Vec<_>>(),
        [Some(PeerId(61))]
    );
}

#[test]
fn a_claim_alone_does_not_make_a_peer_the_same_contact_as_another() {
    // Peer 60 is linked from 10.0.0.9. The LAN peer with the name bob has another address.
    let bob = LanUserId::parse("bob@10.0.0.2").unwrap();
    let claim = |sent_at| Datagram {
        from: Some(bob.clone()),
        id: Some(cross_transport::announcement_id(PeerId(60), &bob, sent_at)),
        sent_at,
        body: lan::DatagramBody::Discovery { port: 8200 },
    };
    for source in ["10.0.0.9:8200", "10.0.0.2:8200"] {
        let mut harness = Harness::new(lan_config());
        harness.link_bob();
        harness.feed(datagram("bob@10.0.0.2", "10.0.0.2:8200", lan::DatagramBody::Ping, Dialect::Compact));
        harness.feed(datagram_from(source, claim(5)));
        assert_eq!(harness.transport_of_direct_to_bob(), None, "both have the name bob; source {source}");
    }
    // The same post on both transports is no proof either.
    let mut harness = Harness::new(lan_config());
    harness.link_bob();
    harness.receive(1, 60, 7, chat("hi"));
    let body = lan::DatagramBody::Post("hi".into());
    let post = Datagram { from: Some(bob.clone()), id: Some(lan_message_id(PeerId(60), 7, "hi")), sent_at: 5, body };
    harness.feed(datagram_from("10.0.0.2:8200", post));
    assert_eq!(harness.transport_of_direct_to_bob(), None);
}

#[test]
fn an_announcement_with_another_name_or_time_matches_no_linked_peer() {
    let rename_sender = |datagram: &mut Datagram| datagram.from = LanUserId::parse("eve@10.0.0.9");
    let change_time = |datagram: &mut Datagram| datagram.sent_at += 1;
    for change in [rename_sender, change_time] {
        let mut harness = Harness::new(lan_config());
        harness.link_bob();
        let mut changed = announcement(60, 0);
        change(&mut changed);
        harness.feed(datagram_from(BOB, changed));
        let lan = harness.engine.lan.as_ref().unwrap();
        assert_eq!(lan.peers.values().map(|peer| peer.mesh_identity.peer).collect::<Vec<_>>(), [None]);
    }
}

#[test]
fn a_profile_on_both_transports_is_shown_once_and_each_change_is_shown() {
    let shown = |actions: &Actions| {
        notices(actions).into_iter().filter(|notice| matches!(notice, Notice::Profile { .. })).count()
    };
    let on_lan = |status: &str| {
        let body = lan::DatagramBody::Profile { profile: PeerProfile::new("Bob", status, None), refused: None };
        datagram("bob@10.0.0.9", BOB, body, Dialect::Compact)
    };
    for lan_first in [true, false] {
        let mut harness = Harness::new(self::lan_config());
        harness.link_bob();
        harness.feed(datagram_from(BOB, announcement(60, 0)));
        let on_mesh = |harness: &mut Harness, status: &str| {
            shown(&harness.receive(1, 60, 1 << 61, MessageBody::Profile(PeerProfile::new("Bob", status, None))))
        };
        let mut count = if lan_first { shown(&harness.feed(on_lan("away"))) } else { 0 };
        count += on_mesh(&mut harness, "away");
        count += shown(&harness.feed(on_lan("away")));
        assert_eq!(count, 1, "LAN first: {lan_first}");
        // The datagrams of both changes arrive after the mesh messages.
        assert_eq!([on_mesh(&mut harness, "back"), on_mesh(&mut harness, "away")], [1, 1], "LAN first: {lan_first}");
        assert_eq!(["back", "away"].map(|status| shown(&harness.feed(on_lan(status)))), [1, 1]);
        assert_eq!(on_mesh(&mut harness, "away"), 0);
    }
}

#[test]
fn a_peer_restarted_at_another_port_is_answered_again() {
    let mut harness = Harness::new(lan_config());
    harness.feed(Event::TimerFired);
    let mut answers = |source: &str, port, to_shared_port| {
        let body = lan::DatagramBody::Discovery { port };
        let datagram = Datagram { from: LanUserId::parse("bob@10.0.0.9"), id: Some(77), sent_at: 5, body };
        let from = source.parse().unwrap();
        let actions =
            harness.feed(Event::DatagramReceived { source: from, to_shared_port, datagram, dialect: Dialect::Compact });
        actions.iter().filter(|action| matches!(action, Action::SendDatagram { .. })).count()
    };
    assert_eq!(answers(BOB, 8200, true), 1);
    assert_eq!(answers(BOB, 8200, true), 0, "the sender has an answer already");
    assert_eq!(answers(BOB, 8300, true), 1, "a restarted peer");
    assert_eq!(answers(BOB, 8400, false), 0, "a datagram to this peer's own port is a reply");
    assert_eq!(answers("10.0.0.66:8500", 8500, true), 0, "another host");
}
