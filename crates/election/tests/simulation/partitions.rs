//! Partitioned, lossy and slow networks. Rows 6, 10, 11, 12, 14, 15 and 34 of the faults in
//! tests/README.md.

use rollcall_election::NodeId;
use rollcall_election::machine::LogEvent;

use super::world::{Cut, MS, NetworkConditions, SECOND, World};

/// Number of campaigns since `start`.
fn campaigns_since(world: &World, start: u64) -> usize {
    world.notes.iter().filter(|(at, _, note)| *at >= start && matches!(note, LogEvent::CampaignStarted { .. })).count()
}

/// Row 10: A and C cannot communicate. The leader continues, and the far end of the chain learns
/// the leader.
#[test]
fn in_a_chain_the_leader_is_stable_and_the_far_node_learns_it() {
    for seed in 0..60 {
        let mut world = World::settled(3, seed);
        let leader = world.leader();
        // The leader is at one end of the chain, or in the middle.
        let middle = (leader + usize::try_from(seed % 3).expect("small")) % 3;
        let (a, c) = ((middle + 1) % 3, (middle + 2) % 3);
        world.cut_both(a, c, Cut::Holds);
        world.run(20 * SECOND);
        let (settled, changes) = (world.leader(), world.checks.changes);
        world.run(60 * SECOND);
        assert_eq!((world.leader(), world.checks.changes), (settled, changes), "seed {seed}: it is stable");
        let term = world.checks.served;
        for node in 0..3 {
            let known_leader = world.hosts[node].machine().leader();
            assert_eq!(known_leader, Some((World::id(settled), term)), "seed {seed}: node {node}");
        }
        world.assert_no_violation();
    }
}

/// Cuts every link that has no bit in `graph`. Links are numbered as in `pairs`.
fn apply(world: &mut World, pairs: &[(usize, usize)], graph: u32, directed: bool) {
    let kind = [Cut::Loses, Cut::Holds][world.pick(2)];
    for (index, (from, to)) in pairs.iter().enumerate() {
        if graph >> index & 1 == 0 {
            world.cut(*from, *to, kind);
            if !directed {
                world.cut(*to, *from, kind);
            }
        }
    }
}

/// Runs every graph in which some node can communicate with a majority in both directions. Returns
/// the longest time until a node serves permanently.
fn slowest_over_graphs(nodes: usize, directed: bool, seeds: u64) -> u64 {
    let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    let pairs: Vec<_> = all.filter(|(from, to)| if directed { from != to } else { from < to }).collect();
    let has = |graph: u32, from, to| {
        let link = |pair| pairs.iter().position(|other| *other == pair).is_some_and(|index| graph >> index & 1 == 1);
        if directed { link((from, to)) && link((to, from)) } else { link((from, to)) || link((to, from)) }
    };
    let well_connected = |graph: &u32| {
        (0..nodes).any(|node| 1 + (0..nodes).filter(|other| has(*graph, node, *other)).count() > nodes / 2)
    };
    let mut slowest = 0;
    for graph in (0..1_u32 << pairs.len()).filter(well_connected) {
        for seed in 0..seeds {
            let mut world = World::settled(nodes, u64::from(graph) * seeds + seed);
            apply(&mut world, &pairs, graph, directed);
            let start = world.now;
            let mut stable = 0;
            while stable < 8 * SECOND {
                let lost = world.run_until(8 * SECOND - stable, |world| world.serving().is_none());
                stable = if lost.is_some() { 0 } else { 8 * SECOND };
                let found = world.run_until(60 * SECOND, |world| world.serving().is_some());
                assert!(found.is_some() && world.now - start < 120 * SECOND, "graph {graph:b}, seed {seed}");
            }
            slowest = slowest.max(world.now - start - stable);
            world.assert_no_violation();
        }
    }
    println!("{nodes} nodes, directed {directed}: a leader for good after {} ms at most", slowest / MS);
    slowest
}

/// Row 11 of the faults in tests/README.md.
#[test]
fn on_every_directed_graph_of_three_with_a_well_connected_node_a_leader_serves() {
    assert!(slowest_over_graphs(3, true, 6) <= 15 * SECOND);
}

/// Row 11 of the faults in tests/README.md.
#[test]
fn on_every_graph_of_five_with_a_well_connected_node_a_leader_serves() {
    assert!(slowest_over_graphs(5, false, 1) <= 30 * SECOND);
}

/// Row 12 of the faults in tests/README.md.
#[test]
fn four_nodes_cut_in_halves_have_no_leader() {
    for seed in 0..60 {
        let mut world = World::settled(4, seed);
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            world.cut_both(a, b, Cut::Holds);
        }
        // Heartbeats that were acknowledged before the partition still count.
        world.run(2500 * MS);
        assert_eq!(world.run_until(60 * SECOND, |world| world.serving().is_some()), None, "seed {seed}");
        world.heal_all();
        world.run_until_served(6 * SECOND);
        world.assert_no_violation();
    }
}

/// Row 14 of the faults in tests/README.md.
#[test]
fn a_follower_that_disconnects_repeatedly_does_not_raise_the_term() {
    for seed in 0..60 {
        let mut world = World::settled(3, seed);
        let (leader, term) = (world.leader(), world.checks.served);
        let follower = (leader + 1) % 3;
        let end = world.now + 60 * SECOND;
        while world.now < end {
            let kind = [Cut::Loses, Cut::Holds][world.pick(2)];
            world.isolate(follower, kind);
            let (stopped, back) = (world.between(SECOND / 10, 8 * SECOND), world.between(SECOND / 10, 4 * SECOND));
            world.run(stopped);
            world.heal_all();
            let lapsed = world.run_until(back, |world| world.serving() != Some(leader));
            assert_eq!(lapsed, None, "seed {seed}");
        }
        assert_eq!((world.leader(), world.checks.served), (leader, term), "seed {seed}");
        world.assert_no_violation();
    }
}

/// Row 15. On TCP a lost packet only arrives late. The simulation also loses messages for good,
/// which a proxy cannot do.
#[test]
fn a_lossy_or_slow_network_rarely_changes_the_leader() {
    let lossy = NetworkConditions { loss: 50, ..NetworkConditions::default() };
    let late = NetworkConditions { late: (50, 400 * MS), ..NetworkConditions::default() };
    let slow = NetworkConditions { delay: (190 * MS, 210 * MS), ..NetworkConditions::default() };
    for (name, network, most) in [("5% lost", lossy, 1), ("5% late", late, 0), ("200 ms", slow, 0)] {
        let mut worst = 0;
        for seed in 0..20 {
            let mut world = World::settled(3, seed);
            let before = world.checks.changes;
            world.network = network;
            world.run(600 * SECOND);
            assert!(world.run_until(5 * SECOND, |world| world.serving().is_some()).is_some());
            worst = worst.max(world.checks.changes - before);
            world.assert_no_violation();
        }
        println!("{name}: at most {worst} changes in 10 minutes");
        assert!(worst <= most, "{name}: {worst} changes");
    }
}

/// Row 34: B and C are frozen until A's writes time out and A closes its links. Then they resume.
/// No node campaigns before A's lease has expired: the followers read a reset, and a promise
/// outlasts the lease.
#[test]
fn frozen_followers_do_not_elect_before_the_lease_has_expired() {
    for seed in 0..200 {
        let mut world = World::settled(3, seed);
        let leader = world.leader();
        let (start, term) = (world.now, world.checks.served);
        let asleep = world.between(2000 * MS, 4000 * MS);
        for node in world.others(leader) {
            world.freeze(node, asleep);
        }
        world.run(2000 * MS);
        let lease = world.hosts[leader].running.as_ref().expect("the node runs").serves_until;
        for node in world.others(leader) {
            world.reset_link(leader, node);
        }
        let first = world.run_until(20 * SECOND, |world| campaigns_since(world, start) > 0);
        assert!(first.is_none() || world.now > lease || lease == 0, "seed {seed}");
        world.run_until_served(8 * SECOND);
        world.run(10 * SECOND);
        world.run_until_served(SECOND);
        assert!(world.checks.served >= term);
        world.assert_no_violation();
    }
}

/// Row 6: a frozen follower changes nothing.
#[test]
fn a_frozen_follower_causes_no_election() {
    for seed in 0..60 {
        let mut world = World::settled(3, seed);
        let (leader, start) = (world.leader(), world.now);
        world.freeze((leader + 1) % 3, 10 * SECOND);
        world.run(30 * SECOND);
        assert_eq!((world.leader(), campaigns_since(&world, start)), (leader, 0), "seed {seed}");
        assert_eq!(world.checks.last, Some(NodeId(u8::try_from(leader).expect("small"))));
        world.assert_no_violation();
    }
}
