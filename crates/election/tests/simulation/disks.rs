//! Late, corrupt and lost ballots, and restarted nodes. Rows 18, 19, 20, 21, 30 and 35 of the
//! faults in tests/README.md.

use rollcall_election::machine::LogEvent;

use super::world::{Cut, MS, SECOND, World};

/// Row 18: every node's disk stalls for five seconds at each write. The simulation checks at every
/// message that no vote is sent before it is on disk.
#[test]
fn no_vote_is_sent_before_a_stalled_disk_has_written_it() {
    let mut slowest = 0;
    for seed in 0..100 {
        let mut world = World::settled(3, seed);
        for host in &mut world.hosts {
            host.disk.stalls = 1000;
        }
        let old = world.leader();
        world.kill(old);
        let early = world.run_until(5 * SECOND, |world| world.serving().is_some());
        assert_eq!(early, None, "seed {seed}: a node serves before any ballot can be on disk");
        // Votes are older than net_timeout_ms when they are on disk, so no candidate can win.
        world.run(20 * SECOND);
        world.assert_no_violation();
        for host in &mut world.hosts {
            host.disk.stalls = 0;
        }
        slowest = slowest.max(world.run_until_served(12 * SECOND));
        world.assert_no_violation();
    }
    println!("after stalls: a leader within {} ms", slowest / MS);
}

/// Rows 19 and 35: a node with a missing or corrupt ballot helps to elect no leader while another
/// node is down. It votes again once that node is back.
#[test]
fn a_node_that_lost_its_ballot_abstains_until_the_others_have_reported() {
    for seed in 0..200 {
        let mut world = World::settled(3, seed);
        let term = world.checks.served;
        let leader = world.leader();
        // The leader or a follower loses its ballot, and another node is down.
        let wiped = (leader + usize::try_from(seed % 3).expect("small")) % 3;
        let down = (wiped + 1) % 3;
        world.kill(down);
        world.kill(wiped);
        world.damage(wiped);
        world.start(wiped);
        world.run(3 * SECOND);
        let alone = world.run_until(60 * SECOND, |world| world.serving().is_some());
        assert_eq!(alone, None, "seed {seed}: one sound ballot of three is no majority");
        world.start(down);
        world.run_until_served(8 * SECOND);
        assert!(world.checks.served > term);
        world.run(10 * SECOND);
        assert!(world.hosts[wiped].disk.durable().is_some(), "seed {seed}: it takes part again");
        world.assert_no_violation();
    }
}

/// Row 35: one of five nodes votes, loses its ballot and restarts, while its candidate is cut off
/// and still counts the vote. The nodes that the restarted node asks meanwhile do not know the term
/// of the candidate.
#[test]
fn a_vote_that_was_lost_with_its_ballot_is_not_given_again() {
    let mut wins = 0;
    for seed in 0..300 {
        let mut world = World::settled(5, seed);
        let start = world.now;
        (0..5).for_each(|node| world.lose_power(node));
        world.start_all();
        let campaigns =
            |note: &(u64, _, LogEvent)| note.0 >= start && matches!(note.2, LogEvent::CampaignStarted { .. });
        world.run_until(10 * SECOND, |world| world.notes.iter().any(campaigns));
        let Some(candidate) = world.notes.iter().find(|note| campaigns(note)).map(|note| usize::from(note.1.0)) else {
            continue;
        };
        let others = world.others(candidate);
        let (voter, late) = (others[0], others[1]);
        for node in others.iter().skip(1) {
            world.cut_both(candidate, *node, Cut::Holds);
        }
        world.run(40 * MS);
        world.kill(voter);
        world.damage(voter);
        world.cut_both(candidate, voter, Cut::Loses);
        world.start(voter);
        world.run(80 * MS);
        // The second vote arrives only now. It is in time to count. From now on its sender can
        // reach only the candidate.
        for node in others.iter().filter(|node| **node != late) {
            world.cut_both(late, *node, Cut::Loses);
        }
        world.heal(candidate, late);
        world.heal(late, candidate);
        let led = world.run_until(2 * SECOND, |world| {
            world.notes.iter().any(|note| {
                note.0 > start && usize::from(note.1.0) == candidate && matches!(note.2, LogEvent::ElectionWon { .. })
            })
        });
        wins += u64::from(led.is_some());
        world.run(10 * SECOND);
        world.assert_no_violation();
        world.heal_all();
        world.run(20 * SECOND);
        world.run_until_served(SECOND);
        world.assert_no_violation();
    }
    assert!(wins >= 5, "the candidate has to win with the lost vote: {wins}");
}

/// Row 19: without any ballot no earlier vote is known, so the cluster elects a leader.
#[test]
fn a_cluster_that_lost_all_ballots_elects_a_leader() {
    let mut slowest = 0;
    for (nodes, seed) in [2, 3, 5, 7].into_iter().flat_map(|nodes| (0..30).map(move |seed| (nodes, seed))) {
        let mut world = World::new(nodes, seed);
        for node in 0..nodes {
            world.damage(node);
            world.start(node);
            let pause = world.between(0, SECOND / 2);
            world.run(pause);
        }
        slowest = slowest.max(world.run_until_served(10 * SECOND));
        world.assert_no_violation();
    }
    println!("all ballots gone: a leader {} ms after the last start at most", slowest / MS);
}

/// Row 19: while one node is down, its report is missing, so no node leads.
#[test]
fn a_cluster_that_lost_all_ballots_needs_all_nodes() {
    for seed in 0..60 {
        let mut world = World::new(3, seed);
        for node in 0..3 {
            world.damage(node);
        }
        world.start(0);
        world.start(1);
        assert_eq!(world.run_until(30 * SECOND, |world| world.serving().is_some()), None, "seed {seed}");
        world.start(2);
        world.run_until_served(10 * SECOND);
        world.assert_no_violation();
    }
}

/// Row 20: a process that is replaced within 20 ms has made a promise, and its successor keeps the
/// promise.
#[test]
fn a_node_that_restarts_at_once_does_not_vote_early() {
    for seed in 0..200 {
        let mut world = World::settled(3, seed);
        let (leader, term) = (world.leader(), world.checks.served);
        let lease = world.hosts[leader].running.as_ref().expect("the node runs").serves_until;
        for node in world.others(leader) {
            world.cut_both(leader, node, Cut::Holds);
            world.kill(node);
        }
        let pause = world.between(MS, 20 * MS);
        world.run(pause);
        world.start_all();
        let early = world.run_until(lease - world.now, |world| world.checks.served > term);
        assert_eq!(early, None, "seed {seed}");
        world.run_until_served(6 * SECOND);
        world.assert_no_violation();
    }
}

/// Row 21, for the machine: a host that lost power returns under half-open links, and the other
/// nodes recognise the new process.
#[test]
fn a_host_that_returns_under_half_open_links_is_admitted() {
    for seed in 0..100 {
        let mut world = World::settled(3, seed);
        let node = (world.leader() + usize::try_from(seed % 3).expect("small")) % 3;
        world.lose_power(node);
        let stopped = world.between(10 * MS, 6 * SECOND);
        world.run(stopped);
        world.start(node);
        world.run(8 * SECOND);
        let leader = world.leader();
        let known_leader = world.hosts[node].machine().leader();
        assert_eq!(known_leader.map(|(leader, _)| leader), Some(World::id(leader)), "seed {seed}");
        for other in world.others(node) {
            let boot = world.hosts[node].process().map(|process| process.boot);
            assert_eq!(world.hosts[other].running.as_ref().expect("the node runs").linked[node], boot, "seed {seed}");
        }
        world.assert_no_violation();
    }
}

/// Row 30 of the faults in tests/README.md.
#[test]
fn a_cluster_that_was_killed_completely_elects_a_leader() {
    for nodes in [1, 2, 3, 5, 7] {
        let mut slowest = 0;
        for seed in 0..60 {
            let mut world = World::settled(nodes, seed);
            for node in 0..nodes {
                if seed % 2 == 0 { world.kill(node) } else { world.lose_power(node) }
            }
            world.run(20 * MS);
            for node in 0..nodes {
                // An operator starts the nodes one after the other.
                let pause = world.between(0, SECOND / 2);
                world.run(pause);
                world.start(node);
            }
            slowest = slowest.max(world.run_until_served(10 * SECOND));
            world.assert_no_violation();
        }
        println!("{nodes} nodes: a leader {} ms after the last start at most", slowest / MS);
        assert!(slowest <= 5 * SECOND);
    }
}
