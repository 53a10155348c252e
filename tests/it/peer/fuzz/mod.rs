//! Fuzzing of the peer's codecs and engine. Each seed is one round: valid messages of all types are mutated, parsed, checked
//! against the rules and encoded again. A broken rule panics; the caller reports the seed.

mod datagrams;
mod engine;
mod mutations;
#[cfg(test)]
mod runs;
mod samples;
mod settings;
mod streams;

use rand::SeedableRng;
use rand::rngs::SmallRng;

/// Number of rounds with one settings file. Files are slow.
const FILE_EVERY: u64 = 16;

/// Counters of a round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FuzzStats {
    /// Byte strings passed to a codec.
    pub(crate) tried: u64,
    /// Byte strings that could be parsed.
    pub(crate) read: u64,
    /// Events passed to an engine.
    pub(crate) events: u64,
}

impl FuzzStats {
    fn add(&mut self, is_read: bool) {
        self.tried += 1;
        self.read += u64::from(is_read);
    }

    /// Adds the counters of another round.
    pub(crate) fn join(&mut self, other: Self) {
        self.tried += other.tried;
        self.read += other.read;
        self.events += other.events;
    }
}

/// Runs one round.
pub(crate) fn round(seed: u64) -> FuzzStats {
    let (mut rng, mut stats) = (SmallRng::seed_from_u64(seed), FuzzStats::default());
    let datagrams = datagrams::round(&mut rng, &mut stats);
    let messages = streams::round(&mut rng, &mut stats);
    engine::round(&mut rng, &mut stats, datagrams, messages);
    if seed.is_multiple_of(FILE_EVERY) {
        settings::round(&mut rng, &mut stats);
    }
    stats
}
