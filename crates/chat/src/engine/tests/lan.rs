//! Unit tests of the LAN rules of the engine.

use super::super::limits::{MAX_LAN_PEERS, MAX_LAN_PEERS_PER_HOST};
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

pub(super) fn datagram(from: &str, source: &str, body: lan::DatagramBody, dialect: Dialect) -> Event {
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
pub(super) fn sent(actions: &Actions) -> Vec<(String, &lan::DatagramBody)> {
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
        let source = format!("10.0.1.{}:8200", number / 100);
        harness.feed(datagram(&name, &source, lan::DatagramBody::Ping, Dialect::Compact));
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

/// Bob's address, on both transports.
pub(super) const BOB: &str = "10.0.0.9:8200";

pub(super) fn datagram_from(source: &str, datagram: Datagram) -> Event {
    Event::DatagramReceived {
        source: source.parse().unwrap(),
        to_shared_port: true,
        datagram,
        dialect: Dialect::Compact,
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

/// An announcement with a name, a claimed address and the source of the datagram.
fn announced(name: &str, claimed: &str, source: &str) -> Event {
    let body = lan::DatagramBody::Discovery { port: 8200 };
    datagram(&format!("{name}@{claimed}"), &format!("{source}:8200"), body, Dialect::Compact)
}

fn has_lan_peer(harness: &Harness, uid: &str) -> bool {
    harness.engine.peers(BootMs(harness.now)).iter().any(|peer| peer.contact.uid == uid)
}

#[test]
fn one_host_with_many_names_gets_only_its_share_of_the_list() {
    let mut harness = Harness::new(lan_config());
    for number in 0..3000 {
        harness.feed(announced(&format!("n{number}"), "10.0.0.66", "10.0.0.66"));
        harness.feed(announced(&format!("m{number}"), "10.9.9.9", "10.0.0.66"));
    }
    assert_eq!(harness.engine.lan_peer_count(), Some(MAX_LAN_PEERS_PER_HOST));
    assert_eq!(harness.engine.counters().rejected_lan_peers, 6000 - MAX_LAN_PEERS_PER_HOST as u64);
    harness.feed(announced("bob", "10.0.0.2", "10.0.0.2"));
    assert!(has_lan_peer(&harness, "bob@10.0.0.2"));
}

#[test]
fn false_peers_cannot_displace_those_that_were_heard_from_their_own_address() {
    let mut harness = Harness::new(lan_config());
    let real: Vec<String> = (1..=20).map(|host| format!("10.0.0.{host}")).collect();
    for ip in &real[10..] {
        harness.feed(announced("real", ip, ip));
    }
    // Claims of others' addresses from many sources, then more peers than the list holds, each of
    // them several times on its host.
    for number in 0..2000 {
        let source = format!("10.7.{}.{}", number / 200, number % 200 + 1);
        harness.feed(announced(&format!("claims{number}"), "10.0.0.11", &source));
    }
    for number in 0..2000 {
        harness.now += 1;
        let source = format!("10.8.0.{}", number % 200 + 1);
        harness.feed(announced(&format!("many{number}"), &source, &source));
    }
    assert_eq!(harness.engine.lan_peer_count(), Some(MAX_LAN_PEERS));
    assert!(real[10..].iter().all(|ip| has_lan_peer(&harness, &format!("real@{ip}"))));
    let mismatched = |harness: &Harness| harness.engine.peers(BootMs(0)).iter().filter(|peer| peer.mismatched).count();
    assert_eq!(mismatched(&harness), 0, "all of them made room");
    // The list is full, and new real peers still find a place. A false one does not.
    for ip in &real[1..10] {
        let actions = harness.feed(announced("late", ip, ip));
        assert!(notices(&actions).iter().any(|notice| matches!(notice, Notice::PeerLost { .. })));
    }
    harness.feed(announced("eve", "10.0.0.11", "10.7.7.7"));
    assert!(real[1..10].iter().all(|ip| has_lan_peer(&harness, &format!("late@{ip}"))));
    assert!(real[10..].iter().all(|ip| has_lan_peer(&harness, &format!("real@{ip}"))));
    assert_eq!((harness.engine.lan_peer_count(), mismatched(&harness)), (Some(MAX_LAN_PEERS), 0));
}

#[test]
fn an_unknown_scan_is_answered_even_if_the_list_is_full() {
    let mut harness = Harness::new(lan_config());
    for number in 0..MAX_LAN_PEERS {
        let source = format!("10.7.{}.{}", number / 200, number % 200 + 1);
        harness.feed(announced("n", &source, &source));
    }
    let request = lan::DatagramBody::ListRequest;
    // The limit on replies has buckets for as many sources.
    harness.now += 10_000;
    let actions = harness.feed(datagram("scan@10.0.0.9", "10.0.0.9:8300", request, Dialect::Compact));
    assert_eq!(sent(&actions).len(), 1);
    assert_eq!(harness.engine.counters().rejected_lan_peers, 0);
}
