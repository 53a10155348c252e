//! Unit tests of peers that use both transports, the mesh and the LAN.

use super::super::cross_transport::announcement_id;
use super::lan::{BOB, datagram, datagram_from, lan_config};
use super::*;
use crate::lan::{self, Datagram, Dialect};
use crate::lan_user_id::LanUserId;

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
        assert_eq!(lan.table.peers.values().next().unwrap().mesh_identity.peer, Some(PeerId(60)));
    }
}

#[test]
fn a_stored_post_of_the_lan_is_not_shown_again_when_it_arrives_on_the_mesh() {
    let lan_id = lan_message_id(PeerId(60), 7, "hi");
    let author = Author::Lan("bob@10.0.0.2".into());
    let stored = ChatEntry { author, name: None, number: lan_id, said_at: 5, text: "hi".into(), via: None };
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
        lan.table
            .peers
            .values()
            .map(|peer| lan.table.linked_mesh_peer(peer, &harness.engine.mesh.links))
            .collect::<Vec<_>>(),
        [Some(PeerId(61))]
    );
}

#[test]
fn a_claim_alone_does_not_make_a_peer_the_same_contact_as_another() {
    // Peer 60 is linked from 10.0.0.9. The LAN peer with the name bob has another address.
    let bob = LanUserId::parse("bob@10.0.0.2").unwrap();
    let claim = |sent_at| Datagram {
        from: Some(bob.clone()),
        id: Some(announcement_id(PeerId(60), &bob, sent_at)),
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
        assert_eq!(lan.table.peers.values().map(|peer| peer.mesh_identity.peer).collect::<Vec<_>>(), [None]);
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
