//! The times of an election that all nodes of a cluster share.

use serde::{Deserialize, Serialize};

/// The election's times, in milliseconds. Nodes with different times refuse each other.
///
/// The order of the fields is that of their bytes in the greeting between nodes.
///
/// Invariant, checked by the configuration: none is 0, `election_timeout_min_ms` is below
/// `election_timeout_max_ms`, and two heartbeats fit into a lease, which is 5/6 of
/// `election_timeout_min_ms`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Between two heartbeats of a leader.
    pub heartbeat_interval_ms: u64,
    /// V: the shortest silence of a leader before an election. An acknowledged heartbeat binds a
    /// follower as long, and a node that has just started holds still as long.
    pub election_timeout_min_ms: u64,
    /// The longest silence of a leader before an election.
    pub election_timeout_max_ms: u64,
    /// After how long a leader looks whether another should lead.
    pub leader_term_ms: u64,
    /// The bound on every connect, answer and write on the election port, and on the age of a vote.
    pub net_timeout_ms: u64,
    /// The first pause after a lost round.
    pub election_retry_ms: u64,
}
