//! Election timings, which are the same on all nodes of a cluster.

use serde::{Deserialize, Serialize};

/// Timings of the election, in milliseconds. Nodes with different timings reject each other.
///
/// The order of the fields is their order in the JSON of the Hello message between nodes.
///
/// Invariant, checked by the configuration: no value is 0, `election_timeout_min_ms` is below
/// `election_timeout_max_ms`, and two heartbeats fit into a lease. A lease lasts 5/6 of
/// `election_timeout_min_ms`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Time between two heartbeats of a leader.
    pub heartbeat_interval_ms: u64,
    /// V: shortest time without a heartbeat before an election.
    ///
    /// A follower that acknowledges a heartbeat neither votes nor becomes a candidate for this
    /// long. The same holds for a node that has just started.
    pub election_timeout_min_ms: u64,
    /// Longest time without a heartbeat before an election.
    pub election_timeout_max_ms: u64,
    /// Interval at which a leader checks whether it should hand over to another node.
    pub leader_term_ms: u64,
    /// Timeout of each connect, reply and write on the election port. A vote counts only within
    /// this time after its request.
    pub net_timeout_ms: u64,
    /// First delay after a lost election round.
    pub election_retry_ms: u64,
}
