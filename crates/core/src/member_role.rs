//! Role of a node in its cluster, as the node reports it.

use serde::{Deserialize, Serialize};

/// Role that a node reports.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// The node won its term. Its lease may have expired.
    Leader,
    /// The node requests pre-votes or votes.
    Candidate,
    /// The node follows a leader, or waits for one.
    Follower,
}
