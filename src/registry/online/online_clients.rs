//! Online clients: the presence table behind a lock, and a signal for its changes.
//!
//! The lock is never held for long; lists are read in parts.

use std::iter;
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::presence::{Moment, NetChanges, OnlineRow, PresenceClock, PresenceTable};
use crate::registry::lock::lock;
use rollcall_core::{BootMs, Page, Term, WallMs};

/// Maximum number of rows visited under one lock, about 0.1 ms, so that heartbeats do not wait for
/// a long list.
pub(crate) const ROWS_PER_LOCK: usize = 1000;

/// Changes since an earlier version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnlineChanges {
    /// The net changes.
    pub changes: NetChanges,
    /// The version that the changes lead to.
    pub version: u64,
    /// The number of online clients at that version.
    pub online_count: usize,
}

/// The clients of this node: the presence table behind its lock, and a signal for each visible
/// change.
pub(crate) struct OnlineClients {
    presence: Mutex<PresenceState>,
    /// Signalled at each visible change.
    visible_change: Notify,
    ttl_ms: u64,
}

struct PresenceState {
    clock: PresenceClock,
    table: PresenceTable,
    /// The version of the table at the last signal.
    notified_version: u64,
}

impl OnlineClients {
    /// Starts at `now`, when the wall clock shows `wall`, without clients. `replicated`: there are
    /// other nodes, which also receive heartbeats.
    pub(crate) fn new(ttl_ms: u64, replicated: bool, now: BootMs, wall: WallMs) -> Self {
        let (clock, table) = (PresenceClock::new(!replicated, now, wall), PresenceTable::new(ttl_ms));
        Self {
            presence: Mutex::new(PresenceState { clock, table, notified_version: 0 }),
            visible_change: Notify::new(),
            ttl_ms,
        }
    }

    /// Time for which a client stays online after a heartbeat, in milliseconds.
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// Records that a leader was active at `now`.
    pub(crate) fn note_active_leader(&self, now: BootMs) {
        lock(&self.presence).clock.note_active_leader(now);
    }

    /// Compares the displayed wall time with the machine's wall clock, which shows `wall` at `now`.
    pub(crate) fn update_wall_time(&self, now: BootMs, wall: WallMs) {
        let PresenceState { clock, table, .. } = &mut *lock(&self.presence);
        if clock.update_wall_time(now, wall) {
            table.note_clock_set();
        }
    }

    /// Records that `now` is not earlier than `wall`, a time read from a file.
    pub(crate) fn note_earlier_time(&self, now: BootMs, wall: WallMs) {
        lock(&self.presence).clock.note_earlier_time(now, wall);
    }

    /// The displayed wall time at `now`.
    pub(crate) fn wall_time(&self, now: BootMs) -> WallMs {
        lock(&self.presence).clock.observe(now).wall
    }

    /// Begins `term` in the table. `replicate`: from now on, changes are queued for other nodes.
    pub(crate) fn begin_term(&self, term: Term, replicate: bool) {
        lock(&self.presence).table.begin_term(term.0, replicate);
    }

    /// Stops queueing changes for other nodes.
    pub(crate) fn stop_replication(&self) {
        lock(&self.presence).table.set_replication(false);
    }

    /// Takes expired clients offline, then runs `operation` on the table at `now`. Signals a
    /// visible change, whether it comes from the operation or from expiry. If many clients expire
    /// at once, the lock is released between batches.
    pub(crate) fn with_table<T>(&self, now: BootMs, operation: impl FnOnce(&mut PresenceTable, Moment) -> T) -> T {
        while !self.with_table_without_expiry(now, |table, now| table.expire_some(ROWS_PER_LOCK, now)) {
            std::thread::yield_now();
        }
        self.with_table_without_expiry(now, operation)
    }

    /// Like [`Self::with_table`], without expiring other clients first. For operations on one
    /// client.
    pub(crate) fn with_table_without_expiry<T>(
        &self,
        now: BootMs,
        operation: impl FnOnce(&mut PresenceTable, Moment) -> T,
    ) -> T {
        let mut presence = lock(&self.presence);
        let PresenceState { clock, table, notified_version } = &mut *presence;
        let now = clock.observe(now);
        let result = operation(table, now);
        let version = table.version_without_expiry();
        let changed = std::mem::replace(notified_version, version) != version;
        drop(presence);
        if changed {
            self.visible_change.notify_one();
        }
        result
    }

    /// The clients on `page` that are online at `now`, sorted by name. A long page is not a
    /// consistent snapshot: a client that changes during the read appears in its old or its new
    /// state.
    pub(crate) fn online(&self, page: &Page, now: BootMs) -> Vec<OnlineRow> {
        self.online_parts(page.clone(), now).flatten().collect()
    }

    /// Like [`Self::online`], in parts, so that the lock is not held for long.
    pub(crate) fn online_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<OnlineRow>> {
        let mut rest = Some(page);
        iter::from_fn(move || {
            let page = rest.take()?;
            let (clients, last) = self.with_table(now, |table, now| table.online_part(&page, ROWS_PER_LOCK, now));
            rest = last.and_then(|last| page.rest_after(&last, clients.len()));
            Some(clients)
        })
    }

    /// The number of clients online at `now`.
    pub(crate) fn count(&self, now: BootMs) -> usize {
        self.with_table(now, PresenceTable::online_count)
    }

    /// The version of the list of online clients. It grows by 1 with each visible change and never
    /// goes back while this process runs.
    pub(crate) fn version(&self, now: BootMs) -> u64 {
        self.with_table(now, PresenceTable::version)
    }

    /// The changes from `version` to `now`. `None` if some of them were dropped, or if `version` is
    /// higher than the current version.
    pub(crate) fn changes_since(&self, version: u64, now: BootMs) -> Option<OnlineChanges> {
        let (current_version, online_count) =
            self.with_table(now, |table, now| (table.version(now), table.online_count(now)));
        let mut changes = NetChanges::default();
        let mut reached = version;
        while reached < current_version {
            let limit =
                usize::try_from(current_version - reached).map_or(ROWS_PER_LOCK, |left| left.min(ROWS_PER_LOCK));
            let part = lock(&self.presence).table.changes_since(reached, limit)?;
            reached += part.len() as u64;
            changes.extend(part);
        }
        (reached == current_version).then_some(OnlineChanges { changes, version: current_version, online_count })
    }

    /// Waits for a visible change since the last call. Only one task may wait; it must notify all
    /// others.
    pub(crate) async fn wait_for_change(&self) {
        self.visible_change.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::registry::Registry;
    use crate::registry::testing::{name, registry};

    fn heartbeat(registry: &Registry, username: &str, now: BootMs) {
        let username = name(username);
        registry.0.clients.with_table(now, |table, now: Moment| table.heartbeat(&username, None, None, now));
    }

    #[test]
    fn a_list_and_its_changes_are_complete_when_read_in_several_parts() {
        let (registry, _) = registry();
        let count = 2 * ROWS_PER_LOCK + 1;
        (0..count).for_each(|n| heartbeat(&registry, &format!("u{n:05}"), BootMs(0)));
        assert_eq!(registry.online(&Page::default(), BootMs(0)).len(), count);
        assert_eq!(registry.online_parts(Page::default(), BootMs(0)).count(), 3);
        let changed = registry.changes_since(1, BootMs(0)).unwrap();
        assert_eq!(
            (changed.changes.joined().count(), changed.version, changed.online_count),
            (count - 1, count as u64, count)
        );
        let none = registry.changes_since(count as u64, BootMs(0)).unwrap();
        assert_eq!(none.changes, NetChanges::default());
        assert_eq!(registry.changes_since(count as u64 + 1, BootMs(0)), None);
    }

    #[test]
    fn only_visible_changes_wake_the_waiter() {
        let (registry, _) = registry();
        let changed = || registry.wait_for_change().now_or_never().is_some();
        assert!(!changed());
        heartbeat(&registry, "alice", BootMs(0));
        heartbeat(&registry, "bob", BootMs(0));
        assert!(changed(), "a change before the wait counts");
        assert!(!changed(), "one signal for all changes");
        heartbeat(&registry, "alice", BootMs(500));
        registry.tick(BootMs(900));
        assert!(!changed());
        // The next access to the table notices the expiry.
        (1000..=30_500).step_by(500).for_each(|ms| registry.tick(BootMs(ms)));
        assert!(changed());
        assert_eq!(registry.online_count(BootMs(30_500)), 0);
    }
}
