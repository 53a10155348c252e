//! The LAN, and peers that are on both links.

use super::*;
use crate::lan::{self, Datagram, Dialect};
use crate::lan_user_id::LanUserId;

pub(super) fn on_lan() -> Rules {
    let user = LanUserId::parse("me@10.0.0.1").unwrap();
    Rules {
        lan: Some(LanRules { user, port: 8100, own_ips: vec!["10.0.0.1".parse().unwrap()] }),
        peers: Vec::new(),
        ..rules()
    }
}

fn datagram(from: &str, source: &str, body: lan::DatagramBody, dialect: Dialect) -> Event {
    let datagram = Datagram { from: LanUserId::parse(from), id: Some(77), sent_at: 5, body };
    Event::HeardDatagram { from: source.parse().unwrap(), shared: true, datagram, dialect }
}

#[test]
fn each_peer_is_answered_in_its_dialect_at_the_port_it_told() {
    for dialect in [Dialect::Compact, Dialect::Spaced] {
        let mut bench = Bench::new(on_lan());
        bench.feed(Event::Woke);
        let event = datagram("bob@10.0.0.2", "10.0.0.2:9", lan::DatagramBody::Discovery { port: 8200 }, dialect);
        let sent = bench.feed(event);
        let answers: Vec<_> = sent.iter().filter(|action| matches!(action, Action::SendDatagram { .. })).collect();
        assert_eq!(answers.len(), if dialect == Dialect::Spaced { 2 } else { 1 });
        for answer in answers {
            let Action::SendDatagram { to, dialect: form, .. } = answer else { panic!() };
            assert_eq!((to.to_string().as_str(), *form), ("10.0.0.2:8200", dialect));
        }
    }
}

#[test]
fn a_peer_that_changes_its_dialect_is_answered_in_the_one_it_spoke_last() {
    let mut bench = Bench::new(on_lan());
    for dialect in [Dialect::Compact, Dialect::Spaced, Dialect::Compact] {
        bench.feed(datagram("bob@10.0.0.2", "10.0.0.2:8200", lan::DatagramBody::Ping, dialect));
        let posted = bench.feed(Event::Posted("hi".into()));
        let forms = posted.iter().filter_map(|action| match action {
            Action::SendDatagram { dialect, .. } => Some(*dialect),
            _ => None,
        });
        assert_eq!(forms.collect::<Vec<_>>(), [dialect]);
    }
}

#[test]
fn what_is_for_somebody_else_is_not_shown_and_a_list_nobody_asked_for_moves_nothing() {
    let mut bench = Bench::new(on_lan());
    bench.feed(datagram(
        "bob@10.0.0.2",
        "10.0.0.2:8200",
        lan::DatagramBody::Discovery { port: 8200 },
        Dialect::Compact,
    ));
    let to = LanUserId::parse("carol@10.0.0.3").unwrap();
    let direct = lan::DatagramBody::Direct { to: to.clone(), text: "psst".into() };
    assert_eq!(bench.feed(datagram("bob@10.0.0.2", "10.0.0.2:8200", direct, Dialect::Compact)), []);
    let list = || {
        datagram("bob@10.0.0.2", "10.0.0.2:8200", lan::DatagramBody::ListResponse(vec![to.clone()]), Dialect::Compact)
    };
    assert_eq!(bench.feed(list()), []);
    bench.feed(Event::Listed);
    let looked = bench.feed(list());
    assert!(
        matches!(&looked[..], [Action::SendDatagram { to, .. }, Action::Tell(Notice::Listed { .. })] if to.port() == LAN_PORT)
    );
}

#[test]
fn who_only_looks_around_is_answered_and_not_kept_in_mind() {
    let mut peer = Bench::new(on_lan());
    peer.feed(Event::Woke);
    let question = |body| datagram("rollcall-scan@10.0.0.9", "10.0.0.9:8009", body, Dialect::Compact);
    let actions = peer.feed(question(lan::DatagramBody::ListRequest));
    let answers: Vec<&Action> =
        actions.iter().filter(|action| matches!(action, Action::SendDatagram { .. } | Action::Shout(_))).collect();
    assert!(
        matches!(answers[..], [Action::SendDatagram { to, datagram, .. }]
            if to.port() == 8009 && matches!(datagram.body, lan::DatagramBody::ListResponse(_))),
        "{answers:?}"
    );
    assert!(told(&actions).is_empty() && peer.engine.known().is_empty());
    // One that announced itself may ask, too, and stays.
    peer.feed(question(lan::DatagramBody::Discovery { port: 8009 }));
    peer.feed(question(lan::DatagramBody::ListRequest));
    assert_eq!(peer.engine.known().len(), 1);
}

#[test]
fn a_direct_message_that_comes_again_is_acknowledged_again_and_shown_once() {
    let mut bench = Bench::new(on_lan());
    bench.feed(Event::Woke);
    let to = LanUserId::parse("me@10.0.0.1").unwrap();
    let direct = lan::DatagramBody::Direct { to, text: "psst".into() };
    let mut actions = Vec::new();
    for _ in 0..3 {
        actions.extend(bench.feed(datagram("di@10.0.0.3", "10.0.0.3:9", direct.clone(), Dialect::Spaced)));
    }
    let shown = told(&actions).into_iter().filter(|notice| matches!(notice, Notice::Direct { .. })).count();
    let is_ack = |action: &&Action| matches!(action, Action::SendDatagram { datagram, .. } if datagram.body == lan::DatagramBody::Ack);
    assert_eq!((shown, actions.iter().filter(is_ack).count()), (1, 3));
}

#[test]
fn a_claimed_address_that_is_not_the_source_is_told_and_moves_nobody() {
    let mut bench = Bench::new(on_lan());
    bench.feed(datagram(
        "bob@10.0.0.2",
        "10.0.0.2:8200",
        lan::DatagramBody::Discovery { port: 8200 },
        Dialect::Compact,
    ));
    let event =
        datagram("bob@10.0.0.2", "10.0.0.66:8200", lan::DatagramBody::Discovery { port: 8266 }, Dialect::Compact);
    let actions = bench.feed(event);
    assert!(told(&actions).iter().any(|notice| matches!(notice, Notice::Mismatch { .. })));
    assert_eq!(bench.engine.known()[0].at, "10.0.0.2:8200");
    // On one machine all addresses are one.
    let mine =
        datagram("eve@10.0.0.1", "127.0.0.1:8300", lan::DatagramBody::Discovery { port: 8300 }, Dialect::Compact);
    assert!(!told(&bench.feed(mine)).iter().any(|notice| matches!(notice, Notice::Mismatch { .. })));
}

#[test]
fn a_list_of_many_long_names_fits_into_a_datagram_and_has_those_heard_last() {
    let mut bench = Bench::new(on_lan());
    for number in 0..300 {
        bench.now += 1;
        let name = format!("{number:03}{}", "\"".repeat(125));
        bench.feed(datagram(&name, "10.0.0.2:8200", lan::DatagramBody::Ping, Dialect::Compact));
    }
    bench.now += 60_000;
    let actions = bench.feed(datagram("bob@10.0.0.2", "10.0.0.2:9", lan::DatagramBody::ListRequest, Dialect::Compact));
    let answer = actions.iter().find_map(|action| match action {
        Action::SendDatagram { datagram, .. } if matches!(datagram.body, lan::DatagramBody::ListResponse(_)) => {
            Some(datagram)
        }
        _ => None,
    });
    let answer = answer.expect("an answer");
    assert!(answer.write(Dialect::Compact).is_some() && answer.write(Dialect::Spaced).is_some());
    let lan::DatagramBody::ListResponse(users) = &answer.body else { panic!() };
    assert_eq!((users.len(), users[0].as_str()), (200, "me@10.0.0.1"));
    assert!(users[1].as_str().starts_with("299") && users[199].as_str().starts_with("101"), "{users:?}");
}

#[test]
fn what_does_not_say_when_it_was_said_was_said_when_it_came() {
    let mut bench = Bench::new(on_lan());
    for (sent_at, said_at) in [(0, at(0).unix_s), (5, 5)] {
        let body = lan::DatagramBody::Post(format!("sent at {sent_at}"));
        let from = LanUserId::parse("di@10.0.0.3");
        let datagram = Datagram { from, id: Some(said_at.unsigned_abs()), sent_at, body };
        let from = "10.0.0.3:8200".parse().unwrap();
        bench.feed(Event::HeardDatagram { from, shared: true, datagram, dialect: Dialect::Spaced });
        assert!(bench.engine.history().entries().iter().any(|entry| entry.said_at == said_at), "{sent_at}");
    }
}

#[test]
fn one_post_on_both_links_is_shown_once_and_the_two_are_one_person() {
    let post = |number: u64| lan::DatagramBody::Post(format!("hi {number}"));
    for lan_first in [true, false] {
        let mut bench = Bench::new(on_lan());
        bench.link(1, 60, None);
        bench.extend(1, 60);
        let id = lan_number(PeerId(60), 7, "hi 7");
        let datagram = Datagram { from: LanUserId::parse("bob@10.0.0.2"), id: Some(id), sent_at: 5, body: post(7) };
        let on_lan = Event::HeardDatagram {
            from: "10.0.0.2:8200".parse().unwrap(),
            shared: false,
            datagram,
            dialect: Dialect::Compact,
        };
        let mut actions = if lan_first { bench.feed(on_lan.clone()) } else { Vec::new() };
        actions.extend(bench.hear(1, 60, 7, chat("hi 7")));
        actions.extend(bench.feed(on_lan));
        let posts = told(&actions).into_iter().filter(|notice| matches!(notice, Notice::Post { .. })).count();
        assert_eq!(posts, 1, "LAN first: {lan_first}");
        let kept: Vec<Entry> = actions.iter().filter_map(Action::kept).collect();
        let started_again = Engine::new(self::on_lan(), kept, at(0));
        for engine in [&bench.engine, &started_again] {
            let authors: Vec<&Author> = engine.history().entries().iter().map(|entry| &entry.author).collect();
            assert_eq!(authors, [&Author::Mesh(PeerId(60))], "once, and as neighbours know it; LAN first: {lan_first}");
        }
        let lan = bench.engine.lan.as_ref().unwrap();
        assert_eq!(lan.peers.values().next().unwrap().on_mesh.peer, Some(PeerId(60)));
    }
}

#[test]
fn a_post_that_was_kept_of_the_lan_is_not_shown_again_when_the_mesh_alone_brings_it() {
    let lan_id = lan_number(PeerId(60), 7, "hi");
    let author = Author::Lan("bob@10.0.0.2".into());
    let kept = Entry { author, name: None, number: lan_id, said_at: 5, text: "hi".into() };
    let mut bench = Bench { engine: Engine::new(rules(), vec![kept], at(0)), now: 0 };
    bench.link(1, 60, None);
    let posts = |actions: &Actions| told(actions).iter().filter(|told| matches!(told, Notice::Post { .. })).count();
    assert_eq!(posts(&bench.hear(1, 60, 7, chat("hi"))), 0);
    assert_eq!(posts(&bench.hear(1, 60, 8, chat("hi"))), 1, "this is another one");
    let authors: Vec<&Author> = bench.engine.history().entries().iter().map(|entry| &entry.author).collect();
    assert_eq!(authors, [&Author::Mesh(PeerId(60)); 2]);
}

#[test]
fn nobody_suppresses_a_text_by_using_its_number_for_another() {
    let mut bench = Bench::new(on_lan());
    bench.link(1, 60, None);
    let id = lan_number(PeerId(60), 7, "the truth");
    let body = lan::DatagramBody::Post("a lie".into());
    let datagram = Datagram { from: LanUserId::parse("eve@10.0.0.3"), id: Some(id), sent_at: 5, body };
    let from = "10.0.0.3:8200".parse().unwrap();
    bench.feed(Event::HeardDatagram { from, shared: false, datagram, dialect: Dialect::Compact });
    let actions = bench.hear(1, 60, 7, chat("the truth"));
    assert!(told(&actions).iter().any(|told| matches!(told, Notice::Post { text, .. } if text == "the truth")));
}

/// Where bob is, on both links.
const BOB: &str = "10.0.0.9:8200";

/// What bob shouts on the LAN at this time if he is this peer of the mesh: what this peer's own engine would.
fn announcement(peer: u128, at_ms: u64) -> Datagram {
    let user = LanUserId::parse("bob@10.0.0.9").unwrap();
    let lan = LanRules { user, port: 8200, own_ips: Vec::new() };
    let mut bob = Engine::new(Rules { id: PeerId(peer), lan: Some(lan), ..rules() }, Vec::new(), at(at_ms));
    let shouted = bob.handle(Event::Woke, at(at_ms), Draw(0)).into_iter().find_map(|action| match action {
        Action::Shout(datagram) => Some(datagram),
        _ => None,
    });
    shouted.expect("a peer of the LAN announces itself at once")
}

fn heard_from(source: &str, datagram: Datagram) -> Event {
    Event::HeardDatagram { from: source.parse().unwrap(), shared: true, datagram, dialect: Dialect::Compact }
}

impl Bench {
    /// Links peer 60, which says that it is called bob.
    fn link_bob(&mut self) {
        self.link(1, 60, None);
        let (sender, name) = (PeerId(60), Nickname::parse("bob").ok());
        let message = MeshMessage { sender, number: 1 << 61, said_at: 5, name, body: MessageBody::heartbeat(None) };
        self.feed(Event::Heard { link: LinkId(1), message, text_times: false });
    }

    /// Where a direct message to bob goes; nowhere if it is not clear who that is.
    fn whispers_to_bob(&mut self) -> Option<Via> {
        let actions = self.feed(Event::Whispered { to: "bob".into(), text: "psst".into() });
        told(&actions).into_iter().find_map(|notice| match notice {
            Notice::SentTo { to } => Some(to.via),
            _ => None,
        })
    }
}

#[test]
fn who_is_on_both_links_is_one_person_from_its_announcement_on() {
    for link_first in [true, false] {
        let mut bench = Bench::new(on_lan());
        if link_first {
            bench.link_bob();
        }
        bench.feed(heard_from(BOB, announcement(60, 0)));
        if !link_first {
            bench.link_bob();
        }
        assert_eq!(bench.whispers_to_bob(), Some(Via::Mesh), "link first: {link_first}");
    }
}

#[test]
fn who_starts_again_with_another_id_is_another_until_that_is_linked() {
    let mut bench = Bench::new(on_lan());
    bench.link_bob();
    bench.feed(heard_from(BOB, announcement(60, 0)));
    bench.feed(heard_from(BOB, announcement(61, 0)));
    assert_eq!(bench.whispers_to_bob(), None, "its former link is there still");
    bench.feed(Event::Unlinked { link: LinkId(1), why: "gone".into() });
    assert_eq!(bench.whispers_to_bob(), Some(Via::Lan));
    bench.link(2, 61, None);
    let lan = bench.engine.lan.as_ref().unwrap();
    assert_eq!(
        lan.peers.values().map(|peer| lan.linked_peer(peer, &bench.engine.mesh.links)).collect::<Vec<_>>(),
        [Some(PeerId(61))]
    );
}

#[test]
fn nobody_is_another_by_what_it_says_alone() {
    // Peer 60 is linked from 10.0.0.9. Bob, who is on the LAN alone, is somewhere else.
    let bob = LanUserId::parse("bob@10.0.0.2").unwrap();
    let claim = |sent_at| Datagram {
        from: Some(bob.clone()),
        id: Some(cross_transport::announcement_number(PeerId(60), &bob, sent_at)),
        sent_at,
        body: lan::DatagramBody::Discovery { port: 8200 },
    };
    for source in ["10.0.0.9:8200", "10.0.0.2:8200"] {
        let mut bench = Bench::new(on_lan());
        bench.link_bob();
        bench.feed(datagram("bob@10.0.0.2", "10.0.0.2:8200", lan::DatagramBody::Ping, Dialect::Compact));
        bench.feed(heard_from(source, claim(5)));
        assert_eq!(bench.whispers_to_bob(), None, "both are called bob; it came from {source}");
    }
    // A post on both links is no better a proof.
    let mut bench = Bench::new(on_lan());
    bench.link_bob();
    bench.hear(1, 60, 7, chat("hi"));
    let body = lan::DatagramBody::Post("hi".into());
    let post = Datagram { from: Some(bob.clone()), id: Some(lan_number(PeerId(60), 7, "hi")), sent_at: 5, body };
    bench.feed(heard_from("10.0.0.2:8200", post));
    assert_eq!(bench.whispers_to_bob(), None);
}

#[test]
fn an_announcement_under_another_name_or_of_another_time_is_nobody_who_is_linked() {
    let is_eves = |datagram: &mut Datagram| datagram.from = LanUserId::parse("eve@10.0.0.9");
    let is_late = |datagram: &mut Datagram| datagram.sent_at += 1;
    for change in [is_eves, is_late] {
        let mut bench = Bench::new(on_lan());
        bench.link_bob();
        let mut changed = announcement(60, 0);
        change(&mut changed);
        bench.feed(heard_from(BOB, changed));
        let lan = bench.engine.lan.as_ref().unwrap();
        assert_eq!(lan.peers.values().map(|peer| peer.on_mesh.peer).collect::<Vec<_>>(), [None]);
    }
}

#[test]
fn a_profile_on_both_links_is_shown_once_and_each_change_is_shown() {
    let shown =
        |actions: &Actions| told(actions).into_iter().filter(|notice| matches!(notice, Notice::Profile { .. })).count();
    let on_lan = |status: &str| {
        let body = lan::DatagramBody::Profile { profile: PeerProfile::new("Bob", status, None), refused: None };
        datagram("bob@10.0.0.9", BOB, body, Dialect::Compact)
    };
    for lan_first in [true, false] {
        let mut bench = Bench::new(self::on_lan());
        bench.link_bob();
        bench.feed(heard_from(BOB, announcement(60, 0)));
        let on_mesh = |bench: &mut Bench, status: &str| {
            shown(&bench.hear(1, 60, 1 << 61, MessageBody::Profile(PeerProfile::new("Bob", status, None))))
        };
        let mut count = if lan_first { shown(&bench.feed(on_lan("away"))) } else { 0 };
        count += on_mesh(&mut bench, "away");
        count += shown(&bench.feed(on_lan("away")));
        assert_eq!(count, 1, "LAN first: {lan_first}");
        // The datagrams of both changes are lost, or the mesh is slow.
        assert_eq!([on_mesh(&mut bench, "back"), on_mesh(&mut bench, "away")], [1, 1], "LAN first: {lan_first}");
        assert_eq!(["back", "away"].map(|status| shown(&bench.feed(on_lan(status)))), [1, 1]);
        assert_eq!(on_mesh(&mut bench, "away"), 0);
    }
}

#[test]
fn who_starts_again_at_another_port_is_answered_again() {
    let mut bench = Bench::new(on_lan());
    bench.feed(Event::Woke);
    let mut answers = |source: &str, port, shared| {
        let body = lan::DatagramBody::Discovery { port };
        let datagram = Datagram { from: LanUserId::parse("bob@10.0.0.9"), id: Some(77), sent_at: 5, body };
        let from = source.parse().unwrap();
        let actions = bench.feed(Event::HeardDatagram { from, shared, datagram, dialect: Dialect::Compact });
        actions.iter().filter(|action| matches!(action, Action::SendDatagram { .. })).count()
    };
    assert_eq!(answers(BOB, 8200, true), 1);
    assert_eq!(answers(BOB, 8200, true), 0, "it knows this peer");
    assert_eq!(answers(BOB, 8300, true), 1, "it was started again");
    assert_eq!(answers(BOB, 8400, false), 0, "what comes to this peer's own port is an answer");
    assert_eq!(answers("10.0.0.66:8500", 8500, true), 0, "this is somebody else");
}
