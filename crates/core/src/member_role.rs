//! What a node is in its cluster, in one word.

use serde::{Deserialize, Serialize};

/// A node's standing as others are told.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Won its term, whether or not its lease runs.
    Leader,
    /// Asks for votes.
    Candidate,
    /// Follows or waits.
    Follower,
}
