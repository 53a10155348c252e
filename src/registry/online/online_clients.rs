//! Who is online, and what changed since somebody looked. PresenceState is never locked for long: lists are read in parts.

use std::iter;
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::presence::{Moment, NetChanges, OnlineRow, PresenceClock, PresenceTable};
use crate::registry::lock::lock;
use rollcall_core::{BootMs, Page, Term};

/// Rows that are looked at under one lock, so that heartbeats do not wait for a long list: some 0.1 ms.
pub(crate) const ROWS_PER_LOCK: usize = 1000;

/// What changed since an earlier version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnlineChanges {
    /// The changes.
    pub changes: NetChanges,
    /// The version up to which they go.
    pub version: u64,
    /// How many clients are online as of that version.
    pub online_count: usize,
}

/// The clients of this node: the presence table behind its lock, and a signal for each visible
/// change of it.
pub(crate) struct OnlineClients {
    presence: Mutex<PresenceState>,
    /// Told of each visible change of presence.
    visible_change: Notify,
    ttl_ms: u64,
}

struct PresenceState {
    clock: PresenceClock,
    table: PresenceTable,
    /// The version of the table of which was notified_version.
    notified_version: u64,
}

impl OnlineClients {
    /// Nobody is online at `now`. `replicated`: there are other nodes that hear clients, too.
    pub(crate) fn new(ttl_ms: u64, replicated: bool, now: BootMs) -> Self {
        let (clock, table) = (PresenceClock::new(!replicated, now), PresenceTable::new(ttl_ms));
        Self {
            presence: Mutex::new(PresenceState { clock, table, notified_version: 0 }),
            visible_change: Notify::new(),
            ttl_ms,
        }
    }

    /// For how long a client stays online after a heartbeat.
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// Notes that a leader served at `now`.
    pub(crate) fn note_active_leader(&self, now: BootMs) {
        lock(&self.presence).clock.note_active_leader(now);
    }

    /// From now on heartbeats belong to `term`, and, if `replicate`, are to be notified_version to other nodes.
    pub(crate) fn begin_term(&self, term: Term, replicate: bool) {
        lock(&self.presence).table.begin_term(term.0, replicate);
    }

    /// From now on heartbeats are not notified_version to other nodes.
    pub(crate) fn stop_replication(&self) {
        lock(&self.presence).table.set_replication(false);
    }

    /// Asks the presence table something at `now`, and passes on that it changed visibly, whether by what was asked or by
    /// the time that has passed. However many clients go offline at that moment, others get their turn in between.
    pub(crate) fn with_table<T>(&self, now: BootMs, operation: impl FnOnce(&mut PresenceTable, Moment) -> T) -> T {
        while !self.with_table_without_expiry(now, |table, now| table.expire_some(ROWS_PER_LOCK, now)) {
            std::thread::yield_now();
        }
        self.with_table_without_expiry(now, operation)
    }

    /// The same without a look at whose time has come, for what concerns one client.
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

    /// The clients on `page` that are online at `now`, sorted by name. A long page is no picture of one moment: who changes
    /// while it is read is on it as it was before or after.
    pub(crate) fn online(&self, page: &Page, now: BootMs) -> Vec<OnlineRow> {
        self.online_parts(page.clone(), now).flatten().collect()
    }

    /// As [`Self::online`], part by part.
    pub(crate) fn online_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<OnlineRow>> {
        let mut rest = Some(page);
        iter::from_fn(move || {
            let page = rest.take()?;
            let (clients, last) = self.with_table(now, |table, now| table.online_part(&page, ROWS_PER_LOCK, now));
            rest = last.and_then(|last| page.rest_after(&last, clients.len()));
            Some(clients)
        })
    }

    /// How many clients are online at `now`.
    pub(crate) fn count(&self, now: BootMs) -> usize {
        self.with_table(now, PresenceTable::online_count)
    }

    /// A number that is another one whenever a list of the clients online would be another one. It only grows while this
    /// process runs, by one with each visible change.
    pub(crate) fn version(&self, now: BootMs) -> u64 {
        self.with_table(now, PresenceTable::version)
    }

    /// What changed from `version` to `now`; `None` if that is not remembered any more, or there was no such version yet.
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

    /// Waits until something visible has changed since this was waited for the last time. Only one may wait: who has more
    /// to tell passes it on.
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
    fn a_list_and_its_changes_that_take_several_locks_are_whole() {
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
    fn whoever_waits_for_a_change_is_woken_by_what_is_visible_and_by_nothing_else() {
        let (registry, _) = registry();
        let changed = || registry.wait_for_change().now_or_never().is_some();
        assert!(!changed());
        heartbeat(&registry, "alice", BootMs(0));
        heartbeat(&registry, "bob", BootMs(0));
        assert!(changed(), "it need not have waited before");
        assert!(!changed(), "once for all that happened");
        heartbeat(&registry, "alice", BootMs(500));
        registry.tick(BootMs(900));
        assert!(!changed());
        // The time-out is noticed by whoever looks first.
        (1000..=30_500).step_by(500).for_each(|ms| registry.tick(BootMs(ms)));
        assert!(changed());
        assert_eq!(registry.online_count(BootMs(30_500)), 0);
    }
}
