//! Simulation tests of the LAN transport without the mesh: the number of datagrams until peers know
//! each other, and the rate limit towards peers that answer every answer.

use std::net::SocketAddr;

use rollcall_chat::LanUserId;
use rollcall_chat::engine::{Event, Notice};
use rollcall_chat::lan::{Datagram, DatagramBody, Dialect};

use super::world::{NetworkConditions, World};

const LAN: NetworkConditions = NetworkConditions { hosts: 10, mesh: false, lan: true, loss_permille: 0, delay_ms: 5 };

#[test]
fn ten_peers_know_each_other_after_less_than_a_hundred_datagrams() {
    let mut world = World::new(1, LAN);
    for host in 0..LAN.hosts {
        world.start(host);
        world.run_for(100);
    }
    world.run_for(10_000);
    for host in 0..LAN.hosts {
        assert_eq!(world.peer_count(host), LAN.hosts - 1, "h{host}");
    }
    assert!(world.datagrams < 100, "{}", world.datagrams);
}

#[test]
fn ten_peers_that_start_simultaneously_know_each_other_too() {
    let mut world = World::new(2, LAN);
    for host in 0..LAN.hosts {
        world.start(host);
    }
    world.run_for(10_000);
    assert!((0..LAN.hosts).all(|host| world.peer_count(host) == LAN.hosts - 1));
    assert!(world.datagrams < 130, "{}", world.datagrams);
}

#[test]
fn lost_announcements_are_repeated() {
    let mut world = World::new(3, NetworkConditions { loss_permille: 300, ..LAN });
    for host in 0..LAN.hosts {
        world.start(host);
    }
    world.run_for(240_000);
    assert!((0..LAN.hosts).all(|host| world.peer_count(host) == LAN.hosts - 1));
}

#[test]
fn a_peer_absent_for_five_minutes_is_removed_and_added_again_on_return() {
    let mut world = World::new(4, NetworkConditions { hosts: 2, ..LAN });
    world.start(0);
    world.start(1);
    world.run_for(1_000);
    world.kill(1);
    world.run_for(269_000);
    assert_eq!(world.peer_count(0), 1);
    world.run_for(32_000);
    assert_eq!(world.peer_count(0), 0);
    assert!(world.hosts[0].notices.iter().any(|notice| matches!(notice, Notice::PeerLost { .. })));
    world.start(1);
    world.run_for(1_000);
    assert_eq!((world.peer_count(0), world.peer_count(1)), (1, 1));
}

/// Announcement of a peer that is not a host of the simulation.
fn foreign_announcement(world: &World, number: u64, shared: bool, dialect: Dialect) -> Event {
    let from: SocketAddr = SocketAddr::new(World::ip(0), World::lan_port(0));
    let user = LanUserId::parse(&format!("stranger{number}@{}", World::ip(0)));
    let datagram = Datagram {
        from: user,
        id: Some(world.now_ms),
        sent_at: 0,
        body: DatagramBody::Discovery { port: World::lan_port(0) },
    };
    Event::DatagramReceived { source: from, to_shared_port: shared, datagram, dialect }
}

#[test]
fn a_peer_that_answers_every_answer_gets_one_answer() {
    let mut world = World::new(5, NetworkConditions { hosts: 2, ..LAN });
    world.start(1);
    world.run_for(1_000);
    let before = world.datagrams;
    for round in 0..10_000 {
        // Alternately an announcement at the shared port and an answer at the peer's own port.
        let event = foreign_announcement(&world, 0, round % 2 == 0, Dialect::Compact);
        world.feed(1, event);
    }
    assert_eq!(world.datagrams - before, 1);
}

#[test]
fn an_announcement_at_the_own_port_is_an_answer_and_is_not_answered() {
    let mut world = World::new(6, NetworkConditions { hosts: 2, ..LAN });
    world.start(1);
    let before = world.datagrams;
    let event = foreign_announcement(&world, 0, false, Dialect::Compact);
    world.feed(1, event);
    assert_eq!((world.datagrams - before, world.peer_count(1)), (0, 1));
}

#[test]
fn a_source_address_with_many_names_gets_few_answers() {
    let mut world = World::new(7, NetworkConditions { hosts: 2, ..LAN });
    world.start(1);
    let before = world.datagrams;
    for number in 0..10_000 {
        let event = foreign_announcement(&world, number, true, Dialect::Compact);
        world.feed(1, event);
    }
    assert_eq!(world.datagrams - before, 16);
    assert_eq!(world.peer_count(1), 128, "the share of one host in the table is bounded");
}
