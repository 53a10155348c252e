//! Fuzzing of the peer's codecs, and of its engine with the decoded values. Each seed is one round:
//! valid messages of all kinds are mutated, decoded, checked and encoded again. A failed check
//! panics, and the runner prints the seed.

mod config_file;
mod engine;
mod lan_datagrams;
mod mesh_messages;
mod mutations;
#[cfg(test)]
mod rounds;
mod samples;

use rand::SeedableRng;
use rand::rngs::SmallRng;

/// One round in this many also tests the configuration file. Not all do, because files are slow.
const FILE_EVERY: u64 = 16;

/// Numbers of byte strings, decoded values and events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FuzzCounts {
    /// Byte strings given to a codec.
    pub(crate) tried: u64,
    /// Byte strings with at least one decoded value.
    pub(crate) read: u64,
    /// Events given to an engine.
    pub(crate) events: u64,
}

impl FuzzCounts {
    fn add(&mut self, is_read: bool) {
        self.tried += 1;
        self.read += u64::from(is_read);
    }

    /// Adds the counts of another round.
    pub(crate) fn join(&mut self, other: Self) {
        self.tried += other.tried;
        self.read += other.read;
        self.events += other.events;
    }
}

/// Runs one round.
pub(crate) fn round(seed: u64) -> FuzzCounts {
    let (mut rng, mut counts) = (SmallRng::seed_from_u64(seed), FuzzCounts::default());
    let datagrams = lan_datagrams::round(&mut rng, &mut counts);
    let messages = mesh_messages::round(&mut rng, &mut counts);
    engine::round(&mut rng, &mut counts, datagrams, messages);
    if seed.is_multiple_of(FILE_EVERY) {
        config_file::round(&mut rng, &mut counts);
    }
    counts
}
