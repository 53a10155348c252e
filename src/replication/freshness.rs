//! When a node last had what its leader has, so that a stale copy can tell its age.

use crate::registry::Coverage;
use rollcall_core::BootMs;

/// When a node's tables could last be served as a copy, on its boot clock; `None` if they never could.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Freshness {
    /// Who is online.
    pub(super) clients: Option<BootMs>,
    /// Who is registered.
    pub(super) users: Option<BootMs>,
}

impl Freshness {
    /// Notes that this node has all that its leader has, but for what is under way; of the users, the leader has so much.
    pub(super) fn note(&mut self, leader_users: Coverage, now: BootMs) {
        let has = Coverage::in_sync_with(leader_users);
        if has.may_serve_stale_online() {
            self.clients = Some(now);
        }
        if has.may_serve_stale_users() {
            self.users = Some(now);
        }
    }
}
