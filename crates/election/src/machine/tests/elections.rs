//! Elections in the small simulated cluster.

use rand::RngExt;

use super::*;

#[test]
fn a_single_node_leads_at_once_and_its_lease_never_ends() {
    let mut world = World::started(1, 1);
    assert!(world.run_until_served(100) < 100);
    assert_eq!(world.nodes[0].machine.as_ref().unwrap().serves_until(), BootMs::NEVER);
}

#[test]
fn a_new_cluster_elects_without_waiting_for_the_boot_window() {
    for nodes in [2, 3, 5, 7] {
        let mut took: Vec<u64> = (0..300).map(|seed| World::started(nodes, seed).run_until_served(6000)).collect();
        took.sort_unstable();
        // The boot window alone takes 3000 ms.
        assert!(took[299] < 1500, "{nodes} nodes: {took:?}");
    }
}

#[test]
fn a_cluster_that_lost_power_elects_at_once() {
    let mut world = World::started(3, 7);
    world.run_until_served(3000);
    world.run(5000);
    (0..3).for_each(|node| world.kill(node));
    world.run(10);
    (0..3).for_each(|node| world.start(node));
    assert!(world.run_until_served(3000) < 2500);
    assert!(world.serving_term > Term(1));
}

#[test]
fn two_nodes_of_three_elect_a_leader_after_the_boot_window() {
    let mut world = World::new(3, 3);
    world.start(0);
    world.start(1);
    world.run(2990);
    assert!(world.serving().is_empty(), "the third node may be the leader");
    assert!(world.run_until_served(2000) < 1000);
}

#[test]
fn one_node_of_three_never_serves() {
    let mut world = World::new(3, 4);
    world.start(1);
    world.run(120_000);
    assert!(world.leaders.is_empty());
    assert_eq!(world.nodes[1].highest_term, Term(0), "rule 2: a pre-vote does not raise the term");
}

#[test]
fn a_killed_leader_is_replaced_after_the_promises_have_expired() {
    for seed in 0..100 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        world.kill(old);
        let took = world.run_until_served(8000);
        assert!((1900..5500).contains(&took), "seed {seed}: {took} ms");
    }
}

#[test]
fn a_leader_that_resigns_is_replaced_at_once() {
    let mut took = Vec::new();
    for seed in 0..300 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        world.feed(old, Event::StopRequested);
        world.run_until_over(old);
        took.push(world.run_until_served(3000));
        world.run(5000);
        assert_ne!(world.leader(), old, "a stopping node never campaigns again");
    }
    took.sort_unstable();
    assert!(took[299] < 1000, "{took:?}");
}

#[test]
fn a_follower_that_disconnects_repeatedly_does_not_raise_the_term() {
    let mut world = World::started(3, 11);
    world.run_until_served(3000);
    world.run(5000);
    let term = world.serving_term;
    let follower = u8::try_from((world.leader() + 1) % 3).unwrap();
    for _ in 0..6 {
        world.isolate(follower);
        world.run(6000);
        world.cut.clear();
        world.run(4000);
    }
    assert_eq!(world.serving_term, term);
}

#[test]
fn the_far_end_of_a_chain_learns_the_leader() {
    let mut world = World::started(3, 12);
    world.run_until_served(3000);
    world.run(5000);
    let leader = world.leader();
    let far = (leader + 1) % 3;
    let (a, b) = (u8::try_from(leader).unwrap(), u8::try_from(far).unwrap());
    world.cut = vec![(a, b), (b, a)];
    let term = world.serving_term;
    world.run(30_000);
    assert_eq!(world.serving_term, term);
    let known_leader = world.nodes[far].machine.as_ref().unwrap().leader();
    assert_eq!(known_leader, Some((NodeId(a), term)));
}

#[test]
fn the_least_loaded_node_wins_nearly_always() {
    let (mut wins, runs) = (0, 100);
    for seed in 0..runs {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        let (light, heavy) = ((old + 1) % 3, (old + 2) % 3);
        world.set_load(light, 100);
        world.set_load(heavy, 700);
        world.run(5000);
        world.kill(old);
        world.run_until_served(8000);
        wins += u32::from(world.leader() == light);
    }
    assert!(wins >= 98, "{wins} of {runs}");
}

/// All faults at once: kills, restarts, pauses, partitions, losses, and clocks that differ by up to
/// 5%. `World::check` and `World::feed` assert the invariants. At the end the faults stop and a
/// leader must serve again.
#[test]
fn the_invariants_hold_under_random_faults() {
    for seed in 0..300 {
        let nodes = [1, 2, 3, 3, 3, 5][usize::try_from(seed % 6).unwrap()];
        let mut world = World::new(nodes, seed);
        for node in 0..nodes {
            world.nodes[node].rate = world.rng.random_range(975..=1025);
            world.start(node);
        }
        world.loss = [0, 0, 20, 100][world.rng.random_range(0..4)];
        world.stalls = true;
        world.orderly_ends = [0, 500, 1000][world.rng.random_range(0..3)];
        for _ in 0..60 {
            let node = world.rng.random_range(0..nodes);
            match world.rng.random_range(0..10) {
                0 | 1 if world.nodes[node].machine.is_some() => world.kill(node),
                0..=3 if world.nodes[node].machine.is_none() => world.start(node),
                4 => {
                    world.nodes[node].paused_until =
                        world.nodes[node].paused_until.max(world.now + world.rng.random_range(100..9000));
                }
                5 => world.isolate(u8::try_from(node).unwrap()),
                6 => {
                    let other = world.rng.random_range(0..nodes);
                    world.cut.push((u8::try_from(node).unwrap(), u8::try_from(other).unwrap()));
                }
                7 => world.cut.clear(),
                8 => world.feed(node, Event::LoadSampled(Load::from_permille(u16::try_from(node * 300).unwrap()))),
                _ => {}
            }
            let ms = world.rng.random_range(1..3000);
            world.run(ms);
        }
        world.cut.clear();
        world.loss = 0;
        world.stalls = false;
        for node in 0..nodes {
            if world.nodes[node].machine.is_none() {
                world.start(node);
            }
        }
        world.run(9000);
        let took = world.run_until_served(15_000);
        assert!(took < 15_000, "seed {seed}");
    }
}
