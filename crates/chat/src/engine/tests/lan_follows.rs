//! Unit tests of followers, followed peers and leaves on the LAN.

use super::lan::{datagram, datagram_from, lan_config, sent};
use super::*;
use crate::lan::{self, Datagram, Dialect};
use crate::lan_user_id::LanUserId;

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
fn a_followed_peer_that_has_left_can_be_unfollowed_by_its_user_id_or_name() {
    let mut harness = Harness::new(lan_config());
    let request = |to: &str, follows| Event::FollowRequested { to: to.into(), follows };
    let rejected = |actions: &Actions| match notices(actions)[..] {
        [Notice::Rejected { reason }] => reason.clone(),
        _ => String::new(),
    };
    for (user, source) in
        [("bob@10.0.0.2", "10.0.0.2:8200"), ("bob@10.0.0.3", "10.0.0.3:8200"), ("di@10.0.0.4", "10.0.0.4:8200")]
    {
        harness.feed(datagram(user, source, lan::DatagramBody::Discovery { port: 8200 }, Dialect::Compact));
    }
    let stranger = harness.feed(request("di", false));
    assert_eq!(rejected(&stranger), "you do not follow di@10.0.0.4, so nothing was sent");
    assert_eq!(sent(&stranger), []);
    for user in ["bob@10.0.0.2", "bob@10.0.0.3", "di@10.0.0.4"] {
        harness.feed(request(user, true));
        let source = format!("{}:8200", user.rsplit_once('@').unwrap().1);
        harness.feed(datagram(user, &source, lan::DatagramBody::Revoke, Dialect::Compact));
    }
    assert_eq!(harness.engine.check_peer_name("di", true), Ok(()));
    assert!(harness.engine.check_peer_name("di", false).is_err(), "only UNFOLLOW takes a peer that has left");
    let two = harness.feed(request("bob", false));
    assert!(rejected(&two).contains("bob@10.0.0.2, bob@10.0.0.3"), "{two:?}");
    assert!(harness.engine.check_peer_name("bob", true).is_err());
    for name in ["bob@10.0.0.3", "bob", "di"] {
        let actions = harness.feed(request(name, false));
        assert!(matches!(notices(&actions)[..], [Notice::Following { follows: false, .. }]), "{name}");
        assert_eq!(sent(&actions), [], "it has left");
    }
    assert!(rejected(&harness.feed(request("di", false))).starts_with("no peer is called"));
}

#[test]
fn a_user_id_that_is_a_bare_name_does_not_take_the_messages_of_others_with_this_name() {
    let mut harness = Harness::new(lan_config());
    for (user, source) in [("bob@10.0.0.2", "10.0.0.2:8200"), ("bob", "10.0.0.3:8200")] {
        harness.feed(datagram(user, source, lan::DatagramBody::Discovery { port: 8200 }, Dialect::Compact));
    }
    let direct = |to: &str| Event::DirectRequested { to: to.into(), text: "psst".into() };
    let actions = harness.feed(direct("bob"));
    assert!(matches!(notices(&actions)[..], [Notice::Rejected { .. }]) && sent(&actions).is_empty(), "{actions:?}");
    assert_eq!(sent(&harness.feed(direct("bob@10.0.0.2"))).len(), 1);
}

#[test]
fn a_forged_follow_or_unfollow_from_another_host_changes_nothing() {
    let mut harness = Harness::new(lan_config());
    let me = LanUserId::parse("me@10.0.0.1").unwrap();
    let mut number = 0;
    let mut feed = |source, body| {
        number += 1;
        let datagram = Datagram { from: LanUserId::parse("bob@10.0.0.2"), id: Some(number), sent_at: 5, body };
        harness.feed(datagram_from(source, datagram));
        harness.engine.peers(BootMs(0))[0].follows_you
    };
    let (follow, unfollow) = (lan::DatagramBody::Follow { to: me.clone() }, lan::DatagramBody::Unfollow { to: me });
    assert!(!feed("10.0.0.2:8200", lan::DatagramBody::Discovery { port: 8200 }));
    assert!(!feed("10.0.0.66:8200", follow.clone()));
    assert!(feed("10.0.0.2:8200", follow));
    assert!(feed("10.0.0.66:8200", unfollow.clone()));
    assert!(!feed("10.0.0.2:9999", unfollow), "any port of its host");
}
