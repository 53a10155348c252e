//! Replication state of a follower.

use super::catch_up::CatchUp;
use crate::registry::Coverage;
use rollcall_core::Term;
use rollcall_election::NodeId;

/// Replication state of a node that does not lead. It knows its leader only after the first
/// message.
#[derive(Debug, Default)]
pub(super) struct FollowerReplica {
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    /// This node has the leader's batches after number `after`, up to and including `up_to`.
    pub(super) after: u64,
    pub(super) up_to: u64,
    /// Coverage of the clients. `UpToDate` once this node also has all rows that the leader had
    /// before these batches.
    pub(super) clients_coverage: Coverage,
    /// The leader's own coverage of the users: the greatest that its messages have reported.
    pub(super) leader_users_coverage: Coverage,
    pub(super) catch_up: Option<CatchUp>,
    /// The first gap that a batch or a status message revealed during the current catch-up: the
    /// number of the last batch before it. `None` if there was none.
    pub(super) gap_after: Option<u64>,
}

impl FollowerReplica {
    /// Whether this node has everything that its leader had and sent. Then it may serve stale reads
    /// of the clients.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.clients_coverage.may_serve_stale_online()
    }

    /// This node's coverage of the users.
    pub(super) fn users_coverage(&self) -> Coverage {
        if self.is_up_to_date() { Coverage::in_sync_with(self.leader_users_coverage) } else { Coverage::Partial }
    }
}
