//! Hostile bytes for the peer's codecs and, as far as they can be read, for its engine. Each seed is one round: valid
//! messages of all kinds, mutated, read, held against the rules, written again. A broken rule panics, and whoever runs the
//! round names its seed.

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

/// Files are slow: one round in so many has one.
const FILE_EVERY: u64 = 16;

/// How much was tried, and how much of it could be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FuzzCounts {
    /// Byte strings that were given to a codec.
    pub(crate) tried: u64,
    /// Those of which something could be read.
    pub(crate) read: u64,
    /// Events that an engine took in.
    pub(crate) events: u64,
}

impl FuzzCounts {
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
