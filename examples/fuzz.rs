//! Fuzzing of the peer's codecs and engine:
//!
//! ```bash
//! cargo run --release --example fuzz                             # a million rounds
//! cargo run --release --example fuzz -- --seeds 1000000..2000000 # other rounds
//! cargo run --release --example fuzz -- --seed 123               # one round again
//! ```
//!
//! Each seed is one round (see `tests/it/peer/fuzz`): about eighteen byte strings, mutated from
//! valid messages of all kinds, and an engine that gets the decoded values. The first failed check
//! ends the program with status 1. It prints the seed and the command that runs this seed again.

use std::ops::Range;
use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::Parser;

#[path = "../tests/it/peer/fuzz/mod.rs"]
mod fuzz;

use fuzz::FuzzCounts;

/// Number of rounds between two progress lines.
const PROGRESS_INTERVAL: u64 = 10_000;

#[derive(Parser)]
struct Flags {
    /// Seeds to run: the first, and the one after the last
    #[arg(long, value_name = "A..B", default_value = "0..1000000", value_parser = seeds)]
    seeds: Range<u64>,
    /// Run only this seed
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
    let mut all = FuzzCounts::default();
    for seed in seeds.clone() {
        // The panic message has named the failed check already.
        let Ok(counts) = catch_unwind(|| fuzz::round(seed)) else {
            println!("a check failed for seed {seed}");
            println!("run it again: cargo run --release --example fuzz -- --seed {seed}");
            return ExitCode::FAILURE;
        };
        all.join(counts);
        if (seed + 1) % PROGRESS_INTERVAL == 0 || seed + 1 == seeds.end {
            let FuzzCounts { tried, read, events } = all;
            println!("up to seed {seed}: {tried} byte strings, {read} of them valid; {events} events");
        }
    }
    println!("all checks passed");
    ExitCode::SUCCESS
}
