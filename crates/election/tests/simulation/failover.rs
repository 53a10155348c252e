//! Time until another node serves, and proof that the old leader has stopped by then. Rows 1 to 5,
//! 7 to 9, 16 and 17 of the faults in tests/README.md.

use super::world::{Cut, MS, Rule, SECOND, World};

/// Number of runs of each fault.
const RUNS: u64 = 400;

/// Median, 99th percentile and maximum of many runs, in milliseconds.
struct Times {
    p50: f64,
    p99: f64,
    worst: f64,
}

/// Applies `fault` to the leader of a settled cluster of three with ordinary loads. Returns the
/// distribution of the times that `fault` returns.
fn measure(name: &str, mut fault: impl FnMut(&mut World, usize) -> u64) -> Times {
    let mut took: Vec<u64> = (0..RUNS)
        .map(|seed| {
            let mut world = World::settled(3, seed);
            for node in 0..3 {
                let load = world.between(50, 450);
                world.set_load(node, u16::try_from(load).expect("at most 1000"));
            }
            world.run(2 * SECOND);
            let leader = world.leader();
            let took = fault(&mut world, leader);
            world.assert_no_violation();
            took
        })
        .collect();
    took.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a few seconds of microseconds")]
    let at = |share: usize| took[(took.len() - 1) * share / 100] as f64 / 1000.0;
    let times = Times { p50: at(50), p99: at(99), worst: at(100) };
    println!("{name}: p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms", times.p50, times.p99, times.worst);
    times
}

/// Time until a node other than `old` serves.
fn time_to_successor(world: &mut World, old: usize) -> u64 {
    let took = world.run_until(20 * SECOND, |world| world.serving().is_some_and(|node| node != old));
    took.expect("a successor within 20 seconds")
}

/// Row 1, as far as the election is concerned. Clients add the time of one request.
#[test]
fn a_killed_leader_is_replaced_in_a_fraction_of_a_second() {
    let times = measure("kill -9", |world, leader| {
        world.kill(leader);
        time_to_successor(world, leader)
    });
    assert!(times.p50 <= 150.0 && times.p99 <= 300.0 && times.worst <= 5500.0);
}

/// Row 1 without the proof of death: a reset proves nothing.
#[test]
fn a_killed_leader_whose_links_are_reset_is_replaced_by_the_timeouts() {
    let times = measure("kill -9, reset", |world, leader| {
        world.orderly_ends = 0;
        world.kill(leader);
        time_to_successor(world, leader)
    });
    assert!(times.worst <= 5500.0);
}

/// Row 2 of the faults in tests/README.md.
#[test]
fn a_leader_whose_host_is_cut_off_is_replaced() {
    let times = measure("cut off", |world, leader| {
        world.isolate(leader, Cut::Holds);
        time_to_successor(world, leader)
    });
    assert!(times.p50 <= 3500.0 && times.p99 <= 5000.0);
}

/// Row 2 at the highest load. Rule 6 makes loaded nodes wait longer, but never beyond the maximum.
#[test]
fn a_leader_is_replaced_by_nodes_under_full_load() {
    let times = measure("cut off, full load", |world, leader| {
        (0..3).for_each(|node| world.set_load(node, 1000));
        // The next heartbeat sets the timeouts from this load.
        world.run(SECOND);
        world.isolate(leader, Cut::Holds);
        time_to_successor(world, leader)
    });
    assert!(times.p99 <= 5000.0 && times.worst <= 5500.0);
}

/// Row 3 of the faults in tests/README.md.
#[test]
fn a_leader_that_is_asked_to_stop_is_replaced_at_once() {
    let times = measure("SIGTERM", |world, leader| {
        world.stop(leader);
        time_to_successor(world, leader)
    });
    assert!(times.p99 <= 300.0);
}

/// Row 4: from the moment when the old leader stops serving to the moment when the new one begins.
#[test]
fn a_planned_handover_leaves_a_gap_of_milliseconds() {
    let times = measure("handover gap", |world, leader| {
        let light = (leader + 1) % 3;
        (0..3).for_each(|node| world.set_load(node, if node == light { 100 } else { 900 }));
        let handed = world.run_until(60 * SECOND, |world| world.serving() != Some(leader));
        handed.expect("the leader hands over");
        let gap = time_to_successor(world, leader);
        assert_eq!(world.leader(), light, "the least loaded node leads");
        gap
    });
    assert!(times.p99 <= 50.0);
}

/// Row 7: the last acknowledged heartbeat was sent before the partition.
#[test]
fn an_isolated_leader_stops_serving_with_its_lease() {
    for kind in [Cut::Loses, Cut::Holds] {
        let times = measure("isolated", |world, leader| {
            world.isolate(leader, kind);
            let took = world.run_until(10 * SECOND, |world| !world.serves(leader));
            took.expect("the leader stops serving")
        });
        assert!(times.worst <= 2500.0);
    }
}

/// Row 8 of the faults in tests/README.md.
#[test]
fn a_leader_that_can_only_receive_is_replaced() {
    let times = measure("only receives", |world, leader| {
        world.others(leader).into_iter().for_each(|other| world.cut(leader, other, Cut::Holds));
        time_to_successor(world, leader)
    });
    assert!(times.worst <= 6500.0);
}

/// Row 9 at full load, which makes the followers wait longest.
#[test]
fn a_leader_that_can_only_send_is_replaced() {
    let times = measure("only sends", |world, leader| {
        (0..3).for_each(|node| world.set_load(node, 1000));
        world.run(SECOND);
        world.others(leader).into_iter().for_each(|other| world.cut(other, leader, Cut::Holds));
        time_to_successor(world, leader)
    });
    assert!(times.worst <= 6500.0);
}

/// Rows 5 and 17: a leader that was frozen, or whose host was suspended, answers nothing as the
/// leader when it resumes.
#[test]
fn a_frozen_leader_does_not_serve_when_it_resumes() {
    for duration in [2600 * MS, 3 * SECOND, 10 * SECOND] {
        let times = measure("frozen", |world, leader| {
            let terms = world.checks.served;
            world.freeze(leader, duration);
            let mut waking = None;
            let end = world.now + duration;
            let took = world.run_until(20 * SECOND, |world| {
                if world.now >= end && waking.is_none() {
                    waking = Some(world.serves(leader) && world.checks.served == terms);
                }
                world.serving().is_some_and(|node| node != leader) || world.checks.served > terms
            });
            world.run_until(20 * SECOND, |world| world.now > end);
            assert_ne!(waking, Some(true), "it serves its old term when it resumes");
            took.unwrap_or(0)
        });
        assert!(duration < 9 * SECOND || times.worst <= 5500.0);
    }
}

/// Row 16 tests the margin between L and V. With a clock skew of a tenth two nodes never serve at
/// once. With a lease as long as the promise they would.
#[test]
fn clock_skew_of_a_tenth_causes_no_lease_overlap() {
    use super::world::Bug;
    let overlaps = |bug| {
        (0..300).filter(move |seed| {
            let mut world = World::settled(3, *seed);
            world.bug = bug;
            let leader = world.leader();
            for node in 0..3 {
                world.set_load(node, 0);
                world.set_rate(node, if node == leader { 950_000 } else { 1_050_000 });
            }
            world.run(5 * SECOND);
            let leader = world.leader();
            world.isolate(leader, Cut::Holds);
            world.run(10 * SECOND);
            world.checks.violation.as_ref().is_some_and(|violation| violation.rule == Rule::OneServingNode)
        })
    };
    assert_eq!(overlaps(None).count(), 0);
    assert!(overlaps(Some(Bug::LeaseAsLongAsPromise)).count() > 0);
}
