//! Replication state of a follower.

use super::catch_up::CatchUp;
use crate::registry::Coverage;
use rollcall_core::Term;
use rollcall_election::NodeId;

/// Replication state of a node that follows. The leader is unknown until its first message.
#[derive(Debug, Default)]
pub(super) struct FollowerReplica {
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    /// This node has the leader's batches after number `after`, up to and including `up_to`.
    pub(super) after: u64,
    pub(super) up_to: u64,
    /// Coverage of the clients. `UpToDate` once this node also has all rows from before the
    /// batches.
    pub(super) clients_coverage: Coverage,
    /// The leader's own coverage of the users, as its last messages reported it.
    pub(super) leader_users_coverage: Coverage,
    pub(super) catch_up: Option<CatchUp>,
    /// Number of the last batch before the first gap that opened during the present catch-up.
    pub(super) gap_after: Option<u64>,
}

impl FollowerReplica {
    /// Whether this node has everything that its leader has sent. Then it may serve stale reads.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.clients_coverage.may_serve_stale_online()
    }

    /// This node's coverage of the users.
    pub(super) fn users_coverage(&self) -> Coverage {
        if self.is_up_to_date() { Coverage::in_sync_with(self.leader_users_coverage) } else { Coverage::Partial }
    }
}
