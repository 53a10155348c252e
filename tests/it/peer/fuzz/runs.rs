//! Fuzz rounds of the test suite. `examples/fuzz.rs` runs more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{FuzzStats, round};

const ROUNDS: u64 = 1000;

#[test]
fn no_bytes_break_a_codec_or_the_engine() {
    let seeds = match std::env::var("ROLLCALL_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..ROUNDS,
    };
    let mut all = FuzzStats::default();
    for seed in seeds.clone() {
        let stats = catch_unwind(AssertUnwindSafe(|| round(seed)));
        all.join(stats.unwrap_or_else(|_| panic!("seed {seed} broke a rule; run it again with ROLLCALL_SEED={seed}")));
    }
    // If no bytes could be parsed, the rounds would test only the beginning of each codec.
    if seeds.end - seeds.start > 1 {
        assert!(all.read * 4 > all.tried && all.read < all.tried, "{all:?}");
        assert!(all.events > ROUNDS * 5, "{all:?}");
    }
}
