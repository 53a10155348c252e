//! Decides who is online: whose last heartbeat is younger than the TTL at the moment of the question.
//!
//! Time comes as an argument and must not go back ([`StallClock`](super::StallClock) sees to that). The table does not
//! know who is registered; it takes what it is told.

use std::collections::{BTreeMap, BTreeSet};

use super::feed::{Change, Event, Feed, Reason};
use super::replica::Stamp;
use super::{AwakeMs, Moment, PresenceMs};
use crate::domain::{Addr, Page, Username};

/// For how long after its last heartbeat it is remembered when a client was seen: a day, after which "last seen" says
/// nothing that an operator acts on.
const REMEMBER_MS: u64 = 24 * 60 * 60 * 1000;

/// The most that all the time without a leader prolongs one heartbeat's effect: clients that fell silent are gone at the
/// latest then, however many elections there are.
const MOST_FORGIVEN_MS: u64 = 15 * 1000;

/// The least time between two sweeps: each walks the whole table.
const SWEEP_EVERY_MS: u64 = 60 * 1000;

/// Who is online.
///
/// Invariant: `due` holds exactly one entry for each row that is marked online, at its `due`, which is at or before its expiry,
/// and none for any other. So a heartbeat of somebody online touches one row only, and each row costs one operation on
/// the set a TTL.
/// Invariant: `changed` holds each row once that is marked as changed.
#[derive(Debug)]
pub struct Table {
    ttl_ms: u64,
    pub(super) rows: BTreeMap<Username, Row>,
    due: BTreeSet<(AwakeMs, Username)>,
    online: usize,
    feed: Feed,
    pub(super) touches: u64,
    swept_at: PresenceMs,
    /// The stamp of the heartbeat before.
    pub(super) stamp: Stamp,
    /// Rows that the other nodes are to be told of; kept only while there is somebody to tell.
    pub(super) changed: Option<Vec<Username>>,
}

/// What is known of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) addr: Option<Addr>,
    pub(super) last: Moment,
    pub(super) stamp: Stamp,
    pub(super) online: bool,
    /// When the row is looked at again, if it is online.
    pub(super) due: AwakeMs,
    pub(super) changed: bool,
}

/// A client that is online.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Online {
    /// The name.
    pub username: Username,
    /// Where to reach it, if it ever told.
    pub addr: Option<Addr>,
}

/// What is remembered of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Whether it is online.
    pub online: bool,
    /// Where it was reached last, if it ever told.
    pub addr: Option<Addr>,
    /// How long ago its last heartbeat came, our own pauses included.
    pub ago_ms: u64,
}

impl Table {
    /// An empty table whose clients stay online for `ttl_ms` after a heartbeat.
    #[must_use]
    pub fn new(ttl_ms: u64) -> Self {
        Self {
            ttl_ms,
            rows: BTreeMap::new(),
            due: BTreeSet::new(),
            online: 0,
            feed: Feed::default(),
            touches: 0,
            swept_at: PresenceMs::default(),
            stamp: Stamp::default(),
            changed: None,
        }
    }

    /// Notes that `name` is online at `now`, and answers where it can be reached: at the address `told` with this
    /// heartbeat, else the last one told, else the `registered` one.
    pub fn heartbeat(
        &mut self,
        name: &Username,
        told: Option<Addr>,
        registered: Option<Addr>,
        now: Moment,
    ) -> Option<Addr> {
        self.advance(now);
        self.touches += 1;
        self.stamp = self.stamp.next();
        let stamp = self.stamp;
        let tracked = self.changed.is_some();
        if let Some(row) = self.rows.get_mut(name) {
            let addr = told.or(row.addr).or(registered);
            let (came_back, moved) = (!row.online, row.addr != addr);
            let newly_changed = tracked && !row.changed;
            *row = Row { addr, last: now, stamp, online: true, due: row.due, changed: tracked };
            if came_back {
                self.appear(name, addr, now);
            } else if moved {
                self.feed.push(name.clone(), Event::Moved(addr));
            }
            if newly_changed {
                self.note_changed(name);
            }
            return addr;
        }
        let addr = told.or(registered);
        let due = now.awake;
        self.rows.insert(name.clone(), Row { addr, last: now, stamp, online: true, due, changed: tracked });
        self.appear(name, addr, now);
        self.note_changed(name);
        addr
    }

    /// The clients on `page` that are online at `now`, sorted by name.
    pub fn online(&mut self, page: &Page, now: Moment) -> Vec<Online> {
        self.advance(now);
        page.from(&self.rows)
            .filter(|(_, row)| row.online)
            .take(page.limit())
            .map(|(name, row)| Online { username: name.clone(), addr: row.addr })
            .collect()
    }

    /// As [`Self::online`], but looks at `most` rows only, so that it takes little time whatever the page. With it comes
    /// the name behind which to go on, unless the page ends there.
    pub fn online_part(&mut self, page: &Page, most: usize, now: Moment) -> (Vec<Online>, Option<Username>) {
        self.advance(now);
        let (mut found, mut seen) = (Vec::new(), 0);
        for (name, row) in page.from(&self.rows) {
            if row.online {
                found.push(Online { username: name.clone(), addr: row.addr });
            }
            seen += 1;
            if seen == most || found.len() == page.limit() {
                return (found, Some(name.clone()));
            }
        }
        (found, None)
    }

    /// How many clients are online at `now`.
    pub fn online_count(&mut self, now: Moment) -> usize {
        self.advance(now);
        self.online
    }

    /// What is remembered of `name` at `now`; `None` if it was not heard for a day or longer.
    pub fn seen(&mut self, name: &Username, now: Moment) -> Option<Seen> {
        self.advance(now);
        self.rows.get(name).map(|row| Seen {
            online: row.online,
            addr: row.addr,
            ago_ms: now.boot.since(row.last.boot),
        })
    }

    /// A number that is another one whenever a list of the clients online would be another one.
    pub fn version(&mut self, now: Moment) -> u64 {
        self.advance(now);
        self.feed.version()
    }

    /// A number that is another one whenever anybody was heard, whether or not a list shows it.
    #[must_use]
    pub fn touches(&self) -> u64 {
        self.touches
    }

    /// Up to `limit` of the visible changes after `version`, oldest first; `None` if they are not remembered any more, or
    /// there was no such version yet.
    #[must_use]
    pub fn changes_after(&self, version: u64, limit: usize) -> Option<Vec<Change>> {
        self.feed.after(version, limit)
    }

    /// Forgets whom nobody heard for a day, at most once a minute, so that the table cannot grow for ever.
    pub fn sweep(&mut self, now: Moment) {
        self.advance(now);
        if now.presence.since(self.swept_at) < SWEEP_EVERY_MS {
            return;
        }
        self.swept_at = now.presence;
        // A row online has its entry in `due`, so only others may go.
        self.rows.retain(|_, row| row.online || now.presence.since(row.last.presence) < REMEMBER_MS);
    }

    /// Puts in a row that came from another node, in the place of the one that there is.
    pub(super) fn put(&mut self, name: &Username, mut row: Row, now: Moment) {
        self.advance(now);
        row.online = self.left_ms(&row.last, now) > 0;
        let before = self.rows.insert(name.clone(), row);
        let was_online = before.is_some_and(|before| before.online);
        let moved = before.is_some_and(|before| before.addr != row.addr);
        if let Some(before) = before.filter(|before| before.online) {
            self.due.remove(&(before.due, name.clone()));
            self.online -= 1;
        }
        if row.online {
            self.online += 1;
            self.wait(name, now);
        }
        match (was_online, row.online) {
            (false, true) => self.feed.push(name.clone(), Event::Joined(row.addr)),
            (true, false) => self.feed.push(name.clone(), Event::Left(Reason::Timeout)),
            (true, true) if moved => self.feed.push(name.clone(), Event::Moved(row.addr)),
            (true, true) | (false, false) => {}
        }
        if row.changed && !before.is_some_and(|before| before.changed) {
            self.note_changed(name);
        }
    }

    /// For how long a client stays online at `now` whose last heartbeat came at `last`, if a leader serves all the time.
    fn left_ms(&self, last: &Moment, now: Moment) -> u64 {
        let by_rule = last.presence.plus(self.ttl_ms).since(now.presence);
        let at_most = last.awake.plus(self.ttl_ms + MOST_FORGIVEN_MS).since(now.awake);
        by_rule.min(at_most)
    }

    fn note_changed(&mut self, name: &Username) {
        if let Some(changed) = &mut self.changed {
            changed.push(name.clone());
        }
    }

    fn appear(&mut self, name: &Username, addr: Option<Addr>, now: Moment) {
        self.online += 1;
        self.feed.push(name.clone(), Event::Joined(addr));
        self.wait(name, now);
    }

    /// Notes when a row that is online is to be looked at again.
    fn wait(&mut self, name: &Username, now: Moment) {
        let Some(last) = self.rows.get(name).map(|row| row.last) else { return };
        let due = now.awake.plus(self.left_ms(&last, now));
        if let Some(row) = self.rows.get_mut(name) {
            row.due = due;
        }
        self.due.insert((due, name.clone()));
    }

    /// Takes everybody offline whose time has come by `now`.
    pub(super) fn advance(&mut self, now: Moment) {
        while self.due.first().is_some_and(|(at, _)| *at <= now.awake) {
            let Some((_, name)) = self.due.pop_first() else { return };
            let Some(last) = self.rows.get(&name).map(|row| row.last) else { continue };
            if self.left_ms(&last, now) > 0 {
                // Heartbeats came since the entry was made and left it where it was, or there was no leader for a while.
                self.wait(&name, now);
            } else if let Some(row) = self.rows.get_mut(&name) {
                row.online = false;
                self.online -= 1;
                self.feed.push(name, Event::Left(Reason::Timeout));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::BootMs;
    use crate::presence::StallClock;

    const TTL_MS: u64 = 30_000;

    fn at(ms: u64) -> Moment {
        // A clock that never saw a stall, since it was observed every second.
        let mut clock = StallClock::new(true, BootMs(0));
        (0..ms).step_by(1000).for_each(|ms| {
            clock.observe(BootMs(ms));
        });
        clock.observe(BootMs(ms))
    }

    fn name(text: &str) -> Username {
        Username::parse(text).unwrap()
    }

    fn addr(text: &str) -> Option<Addr> {
        Addr::new(text.parse().unwrap())
    }

    fn names(table: &mut Table, now: Moment) -> Vec<String> {
        table.online(&Page::default(), now).into_iter().map(|online| online.username.to_string()).collect()
    }

    #[test]
    fn a_client_goes_offline_exactly_at_the_ttl() {
        let mut table = Table::new(TTL_MS);
        table.heartbeat(&name("alice"), None, None, at(1000));
        assert_eq!(names(&mut table, at(1000 + TTL_MS - 1)), ["alice"]);
        assert_eq!(table.online_count(at(1000 + TTL_MS - 1)), 1);
        assert_eq!(names(&mut table, at(1000 + TTL_MS)), Vec::<String>::new());
        assert_eq!(table.online_count(at(1000 + TTL_MS)), 0);
    }

    #[test]
    fn a_heartbeat_at_the_last_moment_keeps_a_client_online_for_another_ttl() {
        let mut table = Table::new(TTL_MS);
        table.heartbeat(&name("alice"), None, None, at(0));
        table.heartbeat(&name("alice"), None, None, at(TTL_MS - 1));
        assert_eq!(table.online_count(at(2 * TTL_MS - 2)), 1);
        assert_eq!(table.online_count(at(2 * TTL_MS - 1)), 0);
    }

    #[test]
    fn a_client_that_comes_back_expires_again() {
        let mut table = Table::new(TTL_MS);
        table.heartbeat(&name("alice"), None, None, at(0));
        assert_eq!(table.online_count(at(TTL_MS)), 0);
        table.heartbeat(&name("alice"), None, None, at(TTL_MS + 5));
        assert_eq!(table.online_count(at(TTL_MS + 6)), 1);
        assert_eq!(table.online_count(at(2 * TTL_MS + 5)), 0);
    }

    #[test]
    fn the_address_told_last_wins_over_the_registered_one() {
        let mut table = Table::new(TTL_MS);
        let (registered, live) = (addr("10.0.0.1:1"), addr("10.0.0.2:2"));
        assert_eq!(table.heartbeat(&name("alice"), None, registered, at(0)), registered);
        assert_eq!(table.heartbeat(&name("alice"), live, registered, at(1)), live);
        assert_eq!(table.heartbeat(&name("alice"), None, registered, at(2)), live);
        assert_eq!(table.online(&Page::default(), at(3))[0].addr, live);
    }

    #[test]
    fn the_version_changes_with_what_a_list_would_show_and_with_nothing_else() {
        let mut table = Table::new(TTL_MS);
        let start = table.version(at(0));
        table.heartbeat(&name("alice"), addr("10.0.0.1:1"), None, at(0));
        let came = table.version(at(0));
        assert_ne!(came, start);
        table.heartbeat(&name("alice"), addr("10.0.0.1:1"), None, at(500));
        assert_eq!(table.version(at(500)), came);
        table.heartbeat(&name("alice"), addr("10.0.0.1:2"), None, at(600));
        let moved = table.version(at(600));
        assert_ne!(moved, came);
        assert_eq!(table.version(at(600 + TTL_MS - 1)), moved);
        assert_ne!(table.version(at(600 + TTL_MS)), moved);
    }

    #[test]
    fn each_change_of_the_version_is_told_with_what_it_was() {
        let mut table = Table::new(TTL_MS);
        let (here, there) = (addr("10.0.0.1:1"), addr("10.0.0.1:2"));
        for (told, ms) in [(None, 0), (here, 1), (here, 2), (there, 3), (None, 4), (None, 5 + TTL_MS)] {
            table.heartbeat(&name("alice"), told, None, at(ms));
        }
        let events = [
            Event::Joined(None),
            Event::Moved(here),
            Event::Moved(there),
            Event::Left(Reason::Timeout),
            Event::Joined(there),
        ];
        let told = table.changes_after(0, usize::MAX).unwrap();
        assert_eq!(told.iter().map(|change| change.event).collect::<Vec<_>>(), events);
        assert_eq!((table.version(at(5 + TTL_MS)), table.touches()), (5, 6));
    }

    #[test]
    fn a_sweep_forgets_whom_nobody_heard_for_a_day_and_nobody_else() {
        let mut table = Table::new(TTL_MS);
        table.heartbeat(&name("gone"), None, None, at(0));
        table.heartbeat(&name("fresh"), None, None, at(1));
        table.sweep(at(REMEMBER_MS));
        assert_eq!(table.seen(&name("gone"), at(REMEMBER_MS)), None);
        let seen = table.seen(&name("fresh"), at(REMEMBER_MS)).unwrap();
        assert_eq!((seen.online, seen.ago_ms), (false, REMEMBER_MS - 1));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Beat(u8),
        Sweep,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![(0_u64..1000).prop_map(Step::Wait), (0_u8..6).prop_map(Step::Beat), Just(Step::Sweep),];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_list_of_last_heartbeats(steps in steps(), limit in 1_usize..4) {
            let ttl_ms = 2000;
            let mut table = Table::new(ttl_ms);
            let mut clock = StallClock::new(true, BootMs(0));
            let mut model: BTreeMap<String, u64> = BTreeMap::new();
            let mut now = 0;
            for step in steps {
                let moment = clock.observe(BootMs(now));
                match step {
                    Step::Wait(ms) => now += ms,
                    Step::Beat(client) => {
                        table.heartbeat(&name(&format!("c{client}")), None, None, moment);
                        model.insert(format!("c{client}"), now);
                    }
                    Step::Sweep => table.sweep(moment),
                }
                let moment = clock.observe(BootMs(now));
                let online: Vec<String> =
                    model.iter().filter(|(_, seen)| now - **seen < ttl_ms).map(|(name, _)| name.clone()).collect();
                prop_assert_eq!(table.online_count(moment), online.len());
                prop_assert_eq!(table.due.len(), online.len());
                let page = Page { limit: NonZeroUsize::new(limit), ..Page::default() };
                let part: Vec<String> =
                    table.online(&page, moment).into_iter().map(|row| row.username.to_string()).collect();
                prop_assert_eq!(&part[..], &online[..limit.min(online.len())]);
                prop_assert_eq!(names(&mut table, moment), online);
            }
        }

        #[test]
        fn part_by_part_the_same_clients_are_met_however_few_rows_are_looked_at(
            beats in proptest::collection::vec((0_u8..20, 0_u64..3000), 0..40), most in 1_usize..6, limit in 1_usize..9,
        ) {
            let mut table = Table::new(2000);
            let mut clock = StallClock::new(true, BootMs(0));
            let mut now = clock.observe(BootMs(0));
            for (client, wait) in beats {
                now = clock.observe(now.boot.plus(wait));
                table.heartbeat(&name(&format!("c{client}")), None, None, now);
            }
            let whole = Page { limit: NonZeroUsize::new(limit), ..Page::default() };
            let (mut met, mut rest) = (Vec::new(), Some(whole.clone()));
            while let Some(page) = rest {
                let (found, last) = table.online_part(&page, most, now);
                prop_assert!(found.len() <= most);
                rest = last.and_then(|last| page.behind(&last, found.len()));
                met.extend(found);
            }
            prop_assert_eq!(met, table.online(&whole, now));
        }
    }
}
