//! Who is online, and what changed since somebody looked. Presence is never locked for long: lists are read in parts.

use std::iter;

use super::{Registry, lock};
use crate::presence::{Changes, Online, Table};
use rollcall_core::{BootMs, Page};

/// Rows that are looked at under one lock, so that heartbeats do not wait for a long list: some 0.1 ms.
pub(super) const ROWS_A_LOCK: usize = 1000;

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

impl Registry {
    /// The clients on `page` that are online at `now`, sorted by name. A long page is no picture of one moment: who changes
    /// while it is read is on it as it was before or after.
    #[must_use]
    pub fn online(&self, page: &Page, now: BootMs) -> Vec<Online> {
        self.online_parts(page.clone(), now).flatten().collect()
    }

    /// As [`Self::online`], part by part.
    pub fn online_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<Online>> {
        let mut rest = Some(page);
        iter::from_fn(move || {
            let page = rest.take()?;
            let (found, last) = self.presence(now, |table, now| table.online_part(&page, ROWS_A_LOCK, now));
            rest = last.and_then(|last| page.behind(&last, found.len()));
            Some(found)
        })
    }

    /// How many clients are online at `now`.
    #[must_use]
    pub fn online_count(&self, now: BootMs) -> usize {
        self.presence(now, Table::online_count)
    }

    /// A number that is another one whenever a list of the clients online would be another one. It only grows while this
    /// process runs, by one with each visible change.
    #[must_use]
    pub fn online_version(&self, now: BootMs) -> u64 {
        self.presence(now, Table::version)
    }

    /// What changed from `version` to `now`; `None` if that is not remembered any more, or there was no such version yet.
    #[must_use]
    pub fn changes_since(&self, version: u64, now: BootMs) -> Option<News> {
        let (until, online) = self.presence(now, |table, now| (table.version(now), table.online_count(now)));
        let mut changes = Changes::default();
        let mut at = version;
        while at < until {
            let limit = usize::try_from(until - at).map_or(ROWS_A_LOCK, |left| left.min(ROWS_A_LOCK));
            let part = lock(&self.0.presence).table.changes_after(at, limit)?;
            at += part.len() as u64;
            changes.extend(part);
        }
        (at == until).then_some(News { changes, version: until, online })
    }

    /// Waits until something visible has changed since this was waited for the last time. Only one may wait: who has more
    /// to tell passes it on.
    pub async fn visibly_changed(&self) {
        self.0.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::testing::{name, registry};
    use super::*;
    use crate::presence::Moment;

    fn beat(registry: &Registry, username: &str, now: BootMs) {
        let username = name(username);
        registry.presence(now, |table, now: Moment| table.heartbeat(&username, None, None, now));
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
