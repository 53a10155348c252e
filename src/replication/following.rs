//! A follower's part in the replication.

use super::pulling::Pulling;
use crate::registry::Coverage;
use rollcall_core::Term;
use rollcall_election::NodeId;

/// A follower. Its leader is unknown until it is heard.
#[derive(Debug, Default)]
pub(super) struct Following {
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    /// It has the leader's batches after `base` up to `upto`.
    pub(super) base: u64,
    pub(super) upto: u64,
    /// How much of the clients it has: up to date once it has all that the leader knew before its batches, too.
    pub(super) clients: Coverage,
    /// How much of the users its leader has.
    pub(super) leader_users: Coverage,
    pub(super) pull: Option<Pulling>,
    /// Batches after this one were missed while it pulled what comes before.
    pub(super) missed: Option<u64>,
}

impl Following {
    /// Whether it has all that its leader had and told: then it may serve its copy.
    pub(super) fn is_in_step(&self) -> bool {
        self.clients.may_serve_stale_online()
    }

    /// How much of the users it has.
    pub(super) fn users(&self) -> Coverage {
        if self.is_in_step() { Coverage::in_sync_with(self.leader_users) } else { Coverage::Partial }
    }
}
