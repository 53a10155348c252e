//! Storms: all faults at once, a few thousand times.

use super::world::storm::{Outcome, Storm};

/// Number of trace lines that are printed, counted from the end.
const TRACE_LINES: usize = 200;

/// Runs a storm. If it violates a rule, panics with its seed and the end of its trace.
fn run_storm(nodes: usize, seed: u64) -> Outcome {
    let storm = Storm { nodes, seed, bug: None };
    let outcome = storm.run();
    if let Some(violation) = &outcome.violation {
        let trace = storm.replay().trace;
        let end = trace[trace.len().saturating_sub(TRACE_LINES)..].join("\n");
        let replay = format!("ROLLCALL_SEED={seed} cargo test --test it simulation::storms::nodes_{nodes}");
        panic!("{end}\nseed {seed}, {nodes} nodes: {violation:?}\nreplay it: {replay}");
    }
    outcome
}

fn storms(nodes: usize, count: u64) {
    let replayed = std::env::var("ROLLCALL_SEED").ok().map(|seed| seed.parse().expect("ROLLCALL_SEED is a number"));
    let seeds = replayed.map_or(0..count, |seed: u64| seed..seed + 1);
    let (mut steps, mut changes, mut slowest) = (0, 0, 0);
    for seed in seeds {
        let outcome = run_storm(nodes, seed);
        steps += outcome.steps;
        changes += outcome.changes;
        slowest = slowest.max(outcome.recovered);
    }
    let recovered = slowest / 1000;
    println!("{nodes} nodes: {steps} events, {changes} changes, a leader again after {recovered} ms at most");
    assert!(
        nodes == 1 || replayed.is_some() || changes > count / 4,
        "storms without a change of the leader prove nothing"
    );
}

#[test]
fn nodes_1() {
    storms(1, 200);
}

#[test]
fn nodes_2() {
    storms(2, 1000);
}

#[test]
fn nodes_3() {
    storms(3, 2500);
}

#[test]
fn nodes_5() {
    storms(5, 800);
}

#[test]
fn nodes_7() {
    storms(7, 300);
}
