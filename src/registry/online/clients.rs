//! Who is online, and what changed since somebody looked. Presence is never locked for long: lists are read in parts.

use std::iter;
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::presence::{Changes, Moment, Online, StallClock, Table};
use crate::registry::lock::lock;
use rollcall_core::{BootMs, Page, Term};

/// Rows that are looked at under one lock, so that heartbeats do not wait for a long list: some 0.1 ms.
pub(crate) const ROWS_A_LOCK: usize = 1000;

/// What changed since an earlier version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct News {
    /// The changes.
    pub changes: Changes,
    /// The version up to which they go.
    pub version: u64,
    /// How many clients are online as of that version.
    pub online: usize,
}

/// The clients of this node: the presence table behind its lock, and a signal for each visible
/// change of it.
pub(crate) struct Clients {
    presence: Mutex<Presence>,
    /// Told of each visible change of presence.
    changed: Notify,
    ttl_ms: u64,
}

struct Presence {
    clock: StallClock,
    table: Table,
    /// The version of the table of which was told.
    told: u64,
}

impl Clients {
    /// Nobody is online at `now`. `replicated`: there are other nodes that hear clients, too.
    pub(crate) fn new(ttl_ms: u64, replicated: bool, now: BootMs) -> Self {
        let (clock, table) = (StallClock::new(!replicated, now), Table::new(ttl_ms));
        Self { presence: Mutex::new(Presence { clock, table, told: 0 }), changed: Notify::new(), ttl_ms }
    }

    /// For how long a client stays online after a heartbeat.
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// Notes that a leader served at `now`.
    pub(crate) fn served(&self, now: BootMs) {
        lock(&self.presence).clock.served(now);
    }

    /// From now on heartbeats belong to `term`, and, if `tracked`, are to be told to other nodes.
    pub(crate) fn begin(&self, term: Term, tracked: bool) {
        lock(&self.presence).table.begin(term.0, tracked);
    }

    /// From now on heartbeats are not told to other nodes.
    pub(crate) fn end_tracking(&self) {
        lock(&self.presence).table.track(false);
    }

    /// Asks the presence table something at `now`, and passes on that it changed visibly, whether by what was asked or by
    /// the time that has passed. However many clients go offline at that moment, others get their turn in between.
    pub(crate) fn ask<T>(&self, now: BootMs, ask: impl FnOnce(&mut Table, Moment) -> T) -> T {
        while !self.ask_alone(now, |table, now| table.advance_part(ROWS_A_LOCK, now)) {
            std::thread::yield_now();
        }
        self.ask_alone(now, ask)
    }

    /// The same without a look at whose time has come, for what concerns one client.
    pub(crate) fn ask_alone<T>(&self, now: BootMs, ask: impl FnOnce(&mut Table, Moment) -> T) -> T {
        let mut presence = lock(&self.presence);
        let Presence { clock, table, told } = &mut *presence;
        let now = clock.observe(now);
        let answer = ask(table, now);
        let version = table.version_so_far();
        let changed = std::mem::replace(told, version) != version;
        drop(presence);
        if changed {
            self.changed.notify_one();
        }
        answer
    }

    /// The clients on `page` that are online at `now`, sorted by name. A long page is no picture of one moment: who changes
    /// while it is read is on it as it was before or after.
    pub(crate) fn online(&self, page: &Page, now: BootMs) -> Vec<Online> {
        self.online_parts(page.clone(), now).flatten().collect()
    }

    /// As [`Self::online`], part by part.
    pub(crate) fn online_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<Online>> {
        let mut rest = Some(page);
        iter::from_fn(move || {
            let page = rest.take()?;
            let (found, last) = self.ask(now, |table, now| table.online_part(&page, ROWS_A_LOCK, now));
            rest = last.and_then(|last| page.rest_after(&last, found.len()));
            Some(found)
        })
    }

    /// How many clients are online at `now`.
    pub(crate) fn count(&self, now: BootMs) -> usize {
        self.ask(now, Table::online_count)
    }

    /// A number that is another one whenever a list of the clients online would be another one. It only grows while this
    /// process runs, by one with each visible change.
    pub(crate) fn version(&self, now: BootMs) -> u64 {
        self.ask(now, Table::version)
    }

    /// What changed from `version` to `now`; `None` if that is not remembered any more, or there was no such version yet.
    pub(crate) fn changes_since(&self, version: u64, now: BootMs) -> Option<News> {
        let (until, online) = self.ask(now, |table, now| (table.version(now), table.online_count(now)));
        let mut changes = Changes::default();
        let mut at = version;
        while at < until {
            let limit = usize::try_from(until - at).map_or(ROWS_A_LOCK, |left| left.min(ROWS_A_LOCK));
            let part = lock(&self.presence).table.changes_after(at, limit)?;
            at += part.len() as u64;
            changes.extend(part);
        }
        (at == until).then_some(News { changes, version: until, online })
    }

    /// Waits until something visible has changed since this was waited for the last time. Only one may wait: who has more
    /// to tell passes it on.
    pub(crate) async fn visibly_changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::registry::Registry;
    use crate::registry::testing::{name, registry};

    fn beat(registry: &Registry, username: &str, now: BootMs) {
        let username = name(username);
        registry.0.clients.ask(now, |table, now: Moment| table.heartbeat(&username, None, None, now));
    }

    #[test]
    fn a_list_and_its_changes_that_take_several_locks_are_whole() {
        let (registry, _) = registry();
        let count = 2 * ROWS_A_LOCK + 1;
        (0..count).for_each(|n| beat(&registry, &format!("u{n:05}"), BootMs(0)));
        assert_eq!(registry.online(&Page::default(), BootMs(0)).len(), count);
        assert_eq!(registry.online_parts(Page::default(), BootMs(0)).count(), 3);
        let news = registry.changes_since(1, BootMs(0)).unwrap();
        assert_eq!((news.changes.joined().count(), news.version, news.online), (count - 1, count as u64, count));
        let none = registry.changes_since(count as u64, BootMs(0)).unwrap();
        assert_eq!(none.changes, Changes::default());
        assert_eq!(registry.changes_since(count as u64 + 1, BootMs(0)), None);
    }

    #[test]
    fn whoever_waits_for_a_change_is_woken_by_what_is_visible_and_by_nothing_else() {
        let (registry, _) = registry();
        let changed = || registry.visibly_changed().now_or_never().is_some();
        assert!(!changed());
        beat(&registry, "alice", BootMs(0));
        beat(&registry, "bob", BootMs(0));
        assert!(changed(), "it need not have waited before");
        assert!(!changed(), "once for all that happened");
        beat(&registry, "alice", BootMs(500));
        registry.observe(BootMs(900));
        assert!(!changed());
        // The time-out is noticed by whoever looks first.
        (1000..=30_500).step_by(500).for_each(|ms| registry.observe(BootMs(ms)));
        assert!(changed());
        assert_eq!(registry.online_count(BootMs(30_500)), 0);
    }
}
