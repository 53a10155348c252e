//! Term: the number of an election, as in Raft.

use serde::{Deserialize, Serialize};

/// Number of an election. It grows with each election. Before the first election it is 0.
///
/// Invariant: at most one node leads in a term.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Term(pub u64);

impl Term {
    /// Largest accepted distance of a term from the highest term on a node's disk. A cluster that
    /// elects a leader every second needs 136 years for that many terms, so it is also enough for a
    /// node without a ballot.
    ///
    /// Each step of this size costs a durable ballot, so a faulty member needs 2^32 ballots of one
    /// node to use up its terms: 50 days of a thousand ballots a second.
    const MAX_AHEAD: u64 = 1 << 32;

    /// The highest term that a node accepts from others if `self` is the highest term that was on
    /// its disk.
    #[must_use]
    pub fn limit(self) -> Self {
        Self(self.0.saturating_add(Self::MAX_AHEAD))
    }

    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
