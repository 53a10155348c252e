//! Soak test: runs many storms of the simulation.
//!
//! ```bash
//! cargo run --release --example soak                             # a hundred thousand storms
//! cargo run --release --example soak -- --seeds 100000..200000   # other seeds
//! cargo run --release --example soak -- --seed 123               # one storm again, with its trace
//! ```
//!
//! Each seed is one storm in a cluster of 1, 2, 3, 5 or 7 nodes (`--nodes 3` runs only that size).
//! The first storm that violates a rule ends the soak with its trace, its seed, the command that
//! replays it, and status 1.

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;

#[allow(dead_code, unused_imports, reason = "shared with the tests, which need more of it")]
#[path = "../tests/simulation/world/mod.rs"]
mod world;

use world::storm::Storm;

/// Cluster sizes. Three occurs most often, as in production.
const SIZES: [usize; 6] = [1, 2, 3, 3, 5, 7];

/// Number of storms between two progress lines.
const PROGRESS: u64 = 1000;

#[derive(Parser)]
struct Flags {
    /// Range of seeds; its end is excluded
    #[arg(long, value_name = "A..B", default_value = "0..100000", value_parser = seeds)]
    seeds: Range<u64>,
    /// Run only this seed, and print its trace
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Number of nodes, instead of all sizes in turn
    #[arg(long)]
    nodes: Option<usize>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("it must look like 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    Ok(number(first)?..number(end)?)
}

impl Flags {
    /// The storm of a seed. The size depends on the seed, so that a range contains all sizes.
    fn storm(&self, seed: u64) -> Storm {
        let index = usize::try_from(seed % 6).expect("below 6");
        Storm { nodes: self.nodes.unwrap_or(SIZES[index]), seed, bug: None }
    }
}

/// Prints the trace of a storm and its result.
fn show(storm: Storm) -> ExitCode {
    let Storm { nodes, seed, .. } = storm;
    let outcome = storm.replay();
    outcome.trace.iter().for_each(|line| println!("{line}"));
    let Some(violation) = outcome.violation else {
        println!("seed {seed}, {nodes} nodes: no rule was broken");
        return ExitCode::SUCCESS;
    };
    println!("seed {seed}, {nodes} nodes: {violation:?}");
    println!("replay it: cargo run --release --example soak -- --seed {seed} --nodes {nodes}");
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Some(seed) = flags.seed {
        return show(flags.storm(seed));
    }
    let (mut steps, mut changes, mut slowest) = (0, 0, 0);
    for seed in flags.seeds.clone() {
        let storm = flags.storm(seed);
        let outcome = storm.run();
        if outcome.violation.is_some() {
            return show(storm);
        }
        steps += outcome.steps;
        changes += outcome.changes;
        slowest = slowest.max(outcome.recovered);
        if (seed + 1) % PROGRESS == 0 || seed + 1 == flags.seeds.end {
            let recovered = slowest / 1000;
            println!(
                "up to seed {seed}: {steps} events, {changes} changes, a leader again after {recovered} ms at most"
            );
        }
    }
    println!("no rule was broken");
    ExitCode::SUCCESS
}
