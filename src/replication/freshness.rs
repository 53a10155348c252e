//! Times at which a node's tables last matched the leader's, for stale reads.

use crate::registry::Coverage;
use rollcall_core::BootMs;

/// When each table of this node last matched the leader's, on this node's boot clock. `None`:
/// never.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Freshness {
    /// The online clients.
    pub(super) clients_up_to_date_at: Option<BootMs>,
    /// The registered users.
    pub(super) users_complete_at: Option<BootMs>,
}

impl Freshness {
    /// Records that at `now` this node has everything that its leader has sent. `leader_users` is
    /// the leader's own coverage of the users.
    pub(super) fn record(&mut self, leader_users: Coverage, now: BootMs) {
        let coverage = Coverage::in_sync_with(leader_users);
        if coverage.may_serve_stale_online() {
            self.clients_up_to_date_at = Some(now);
        }
        if coverage.may_serve_stale_users() {
            self.users_complete_at = Some(now);
        }
    }
}
