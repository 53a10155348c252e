//! Hostile bytes for the peer's codecs and engine, as many as there is time for:
//!
//! ```bash
//! cargo run --release --example fuzz                             # a million rounds
//! cargo run --release --example fuzz -- --seeds 1000000..2000000 # others
//! cargo run --release --example fuzz -- --seed 123               # one again
//! ```
//!
//! Each seed is one round (see `tests/it/peer/fuzz`): some eighteen byte strings, mutated from valid messages of all kinds,
//! and an engine that is fed with what could be read. The first that breaks a rule ends it with the seed, the command that
//! runs it again, and status 1.

use std::ops::Range;
use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::Parser;

#[path = "../tests/it/peer/fuzz/mod.rs"]
mod fuzz;

use fuzz::FuzzStats;

/// Rounds between two lines of progress.
const PROGRESS: u64 = 10_000;

#[derive(Parser)]
struct Flags {
    /// The seeds: the first, and the one after the last
    #[arg(long, value_name = "A..B", default_value = "0..1000000", value_parser = seeds)]
    seeds: Range<u64>,
    /// Only this one
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("it must look like 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    Ok(number(first)?..number(end)?)
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let seeds = flags.seed.map_or(flags.seeds, |seed| seed..seed + 1);
    let mut all = FuzzStats::default();
    for seed in seeds.clone() {
        // What was wrong is printed by the panic.
        let Ok(stats) = catch_unwind(|| fuzz::round(seed)) else {
            println!("seed {seed} broke a rule");
            println!("run it again: cargo run --release --example fuzz -- --seed {seed}");
            return ExitCode::FAILURE;
        };
        all.join(stats);
        if (seed + 1) % PROGRESS == 0 || seed + 1 == seeds.end {
            let FuzzStats { tried, read, events } = all;
            println!("up to seed {seed}: {tried} byte strings, {read} of them could be read; {events} events");
        }
    }
    println!("no rule was broken");
    ExitCode::SUCCESS
}
