//! The storms of the simulation, as many as there is time for:
//!
//! ```bash
//! cargo run --release --example soak -- --seeds 0..100000
//! ```
//!
//! Each seed is one storm in a cluster of 1, 2, 3, 5 or 7 nodes (`--nodes 3` keeps to one size). The first that breaks a
//! rule ends the soak with its seed, the command that replays it, and status 1.

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;

#[allow(dead_code, unused_imports, reason = "shared with the tests, which need more of it")]
#[path = "../tests/it/simulation/world/mod.rs"]
mod world;

use world::storm::Storm;

/// Sizes of clusters, three most often because most clusters have that.
const SIZES: [usize; 6] = [1, 2, 3, 3, 5, 7];

/// Storms between two lines of progress.
const PROGRESS: u64 = 1000;

#[derive(Parser)]
struct Flags {
    /// The seeds: the first, and the one after the last
    #[arg(long, value_name = "A..B", default_value = "0..100000", value_parser = seeds)]
    seeds: Range<u64>,
    /// How many nodes the clusters have, instead of all sizes in turn
    #[arg(long)]
    nodes: Option<usize>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("it must look like 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    Ok(number(first)?..number(end)?)
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let (mut steps, mut changes, mut slowest) = (0, 0, 0);
    for seed in flags.seeds.clone() {
        let turn = usize::try_from(seed % 6).unwrap_or(0);
        let nodes = flags.nodes.unwrap_or(SIZES[turn]);
        let storm = Storm { nodes, seed, bug: None };
        let outcome = storm.run();
        if let Some(violation) = outcome.violation {
            storm.replay().trace.iter().for_each(|line| println!("{line}"));
            println!("seed {seed}, {nodes} nodes: {violation:?}");
            println!("replay it: ROLLCALL_SEED={seed} cargo test --test it simulation::storms::nodes_{nodes}");
            return ExitCode::FAILURE;
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
