//! A number of rounds that is fast enough for every test run. `examples/fuzz.rs` runs more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{FuzzCounts, round};

const ROUNDS: u64 = 1000;

#[test]
fn mutated_bytes_never_break_a_codec_or_the_engine() {
    let seeds = match std::env::var("ROLLCALL_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..ROUNDS,
    };
    let mut all = FuzzCounts::default();
    for seed in seeds.clone() {
        let counts = catch_unwind(AssertUnwindSafe(|| round(seed)));
        all.join(
            counts.unwrap_or_else(|_| panic!("a check failed for seed {seed}; run it again with ROLLCALL_SEED={seed}")),
        );
    }
    // If all input were invalid, only the first checks of each codec would be tested.
    if seeds.end - seeds.start > 1 {
        assert!(all.read * 4 > all.tried && all.read < all.tried, "{all:?}");
        assert!(all.events > ROUNDS * 5, "{all:?}");
    }
}
