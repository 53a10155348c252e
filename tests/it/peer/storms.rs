//! Simulation tests with random faults of the network and the hosts, from seeds. After the faults
//! have ended, every text has been shown exactly once at every peer. No message circulates forever.

use rand::RngExt;

use super::world::{NetworkConditions, World};

const SEEDS: u64 = 60;

/// Simulates about 90 s with posts, kills, partitions and broken connections, then 120 s without
/// faults.
fn run_with_faults(seed: u64, network: NetworkConditions) -> World {
    let mut world = World::new(seed, network);
    for host in 0..network.hosts {
        world.start(host);
    }
    for _ in 0..150 {
        let pause = world.rng.random_range(0..1200);
        world.run_for(pause);
        let host = world.rng.random_range(0..network.hosts);
        match world.rng.random_range(0..100) {
            0..60 if world.is_up(host) => world.post(host),
            60..68 => {
                if world.is_up(host) {
                    world.kill(host);
                } else {
                    world.start(host);
                }
            }
            68..73 => {
                let side = (0..network.hosts).map(|_| world.rng.random_range(0..2)).collect();
                world.partition(side);
            }
            73..82 => world.heal(),
            82..90 => world.break_random_connection(),
            _ => {}
        }
    }
    world.heal();
    for host in 0..network.hosts {
        if !world.is_up(host) {
            world.start(host);
        }
    }
    world.run_for(120_000);
    world
}

/// Runs all seeds. A failing seed is named, so that it can be run alone with `ROLLCALL_SEED`.
fn each_seed(name: &str, run: impl Fn(u64)) {
    let seeds = match std::env::var("ROLLCALL_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed))).is_err();
        assert!(!failed, "{name} failed; run it again with ROLLCALL_SEED={seed}");
    }
}

#[test]
fn every_text_is_shown_exactly_once_at_every_peer() {
    for (hosts, lan) in [(2, true), (5, false), (6, true)] {
        each_seed(&format!("{hosts} hosts"), |seed| {
            let network = NetworkConditions { hosts, mesh: true, lan, loss_permille: 100, delay_ms: 200 };
            let world = run_with_faults(seed, network);
            world.assert_all_texts_are_everywhere();
            let pairs = hosts * (hosts - 1) / 2;
            assert_eq!(world.open_connections(), pairs, "without faults there is one connection between any two hosts");
        });
    }
}

#[test]
fn an_idle_network_sends_only_heartbeats_and_announcements() {
    let network = NetworkConditions { hosts: 6, mesh: true, lan: true, loss_permille: 0, delay_ms: 20 };
    let mut world = run_with_faults(1, network);
    let (messages, datagrams) = (world.messages, world.datagrams);
    world.run_for(60_000);
    // Each end of the 15 connections sends 20 heartbeats. Each host sends 2 announcements of 3
    // datagrams. The bounds allow one more of each.
    assert!(world.messages - messages <= 21 * 30, "{}", world.messages - messages);
    assert!(world.datagrams - datagrams <= 6 * 3 * 3, "{}", world.datagrams - datagrams);
}

#[test]
fn a_post_crosses_each_connection_at_most_once_each_way() {
    let network = NetworkConditions { hosts: 6, mesh: true, lan: true, loss_permille: 0, delay_ms: 20 };
    let mut world = World::new(5, network);
    for host in 0..network.hosts {
        world.start(host);
    }
    world.run_for(20_000);
    for host in 0..network.hosts {
        let (messages, datagrams) = (world.messages, world.datagrams);
        world.post(host);
        // A few heartbeats and one announcement may fall into this time, so the bounds are higher
        // than the post alone needs.
        world.run_for(100);
        assert!(world.messages - messages <= 2 * 15 + 30, "{}", world.messages - messages);
        assert!(world.datagrams - datagrams <= 5 + 3, "{}", world.datagrams - datagrams);
    }
    world.assert_all_texts_are_everywhere();
}

#[test]
fn after_a_partition_heals_every_peer_gets_the_texts_of_the_other_side() {
    let network = NetworkConditions { hosts: 6, mesh: true, lan: false, loss_permille: 0, delay_ms: 20 };
    let mut world = World::new(9, network);
    for host in 0..network.hosts {
        world.start(host);
    }
    world.run_for(10_000);
    world.partition(vec![0, 0, 0, 1, 1, 1]);
    world.run_for(6_000);
    for round in 0..200 {
        world.post(round % network.hosts);
        world.run_for(100);
    }
    assert!(world.hosts[0].shown.len() < world.posted.len() / 2);
    world.heal();
    world.run_for(60_000);
    world.assert_all_texts_are_everywhere();
}
