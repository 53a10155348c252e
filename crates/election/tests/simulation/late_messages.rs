//! Messages that arrive too late, and load that moves the leadership. Rows 26 and 28 of the faults
//! in tests/README.md.

use super::world::{Cut, MS, NetworkConditions, SECOND, World};

/// Row 26: old messages arrive again at any time, up to a minute late, and have no effect.
#[test]
fn old_messages_are_ignored() {
    let mut repeated = 0;
    for seed in 0..100 {
        let mut world = World::settled(3, seed);
        world.network = NetworkConditions { repeat: 500, ..NetworkConditions::default() };
        // Some handovers and resignations, so that there are messages to repeat.
        for _ in 0..2 {
            let leader = world.leader();
            world.stop(leader);
            world.run_until_served(SECOND);
            world.run(SECOND);
            world.start_all();
            world.run(5 * SECOND);
            let leader = world.leader();
            world.isolate(leader, Cut::Holds);
            world.run(5 * SECOND);
            world.heal_all();
            world.run(5 * SECOND);
        }
        let before = world.repeated_releases;
        let (leader, changes) = (world.leader(), world.checks.changes);
        let lapsed = world.run_until(60 * SECOND, |world| world.serving() != Some(leader));
        assert_eq!((lapsed, world.checks.changes), (None, changes), "seed {seed}");
        world.assert_no_violation();
        repeated += world.repeated_releases - before;
    }
    println!("{repeated} StandNow and Resign messages were repeated");
    assert!(repeated > 1000, "{repeated}");
}

/// Row 28 of the faults in tests/README.md.
#[test]
fn a_leader_under_full_load_hands_over_once() {
    let mut slowest = 0;
    for seed in 0..100 {
        let mut world = World::settled(3, seed);
        let leader = world.leader();
        let light = (leader + 1) % 3;
        for node in 0..3 {
            world.set_load(node, [950, 100, 300][(node + 3 - leader) % 3]);
        }
        let took = world.run_until(60 * SECOND, |world| world.serving() == Some(light));
        slowest = slowest.max(took.expect("the leader hands over to the least loaded node"));
        let changes = world.checks.changes;
        world.run(30 * SECOND);
        assert!(world.checks.changes - changes <= 1, "seed {seed}");
        assert_eq!(world.leader(), light, "seed {seed}");
        world.assert_no_violation();
    }
    println!("handed over after {} ms at most", slowest / MS);
    assert!(slowest <= 30 * SECOND);
}
