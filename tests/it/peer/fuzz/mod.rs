//! Hostile bytes for the peer's codecs and, as far as they can be read, for its engine. Each seed is one round: valid
//! messages of all kinds, mutated, read, held against the rules, written again. A broken rule panics, and whoever runs the
//! round names its seed.

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

/// Files are slow: one round in so many has one.
const FILE_EVERY: u64 = 16;

/// How much was tried, and how much of it could be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FuzzStats {
    /// Byte strings that were given to a codec.
    pub(crate) tried: u64,
    /// Those of which something could be read.
    pub(crate) read: u64,
    /// Events that an engine took in.
    pub(crate) events: u64,
}

impl FuzzStats {
    fn add(&mut self, is_read: bool) {
        self.tried += 1;
        self.read += u64::from(is_read);
    }

    /// Adds another round's.
    pub(crate) fn join(&mut self, other: Self) {
        self.tried += other.tried;
        self.read += other.read;
        self.events += other.events;
    }
}

/// One round.
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
