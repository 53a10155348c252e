//! Decides who is online: whose last heartbeat is younger than the TTL at the moment of the question.
//!
//! Time comes as an argument and must not go back ([`StallClock`](super::StallClock) sees to that). The table does not
//! know who is registered; it takes what it is told.

use std::collections::BTreeSet;

use super::feed::{Change, Event, Feed, Reason};
use super::replica;
use super::rows::{Row, Rows};
use super::stall::{AwakeMs, Moment};
use super::sweep::Sweep;
use super::types::{Beat, Online, Renewed, Seen, Stamp};
use rollcall_core::{Addr, Page, Username};

/// For how long after its last heartbeat it is remembered when a client was seen: a day, after which "last seen" says
/// nothing that an operator acts on.
const REMEMBER_MS: u64 = 24 * 60 * 60 * 1000;

/// The most that all the time without a leader prolongs one heartbeat's effect: clients that fell silent are gone at the
/// latest then, however many elections there are.
const MOST_FORGIVEN_MS: u64 = 15 * 1000;

/// Who is online.
///
/// Invariant: `due` holds exactly one entry for each row that is marked online, at its `due`, which is at or before its expiry,
/// and none for any other. So a heartbeat of somebody online touches one row only, and each row costs one operation on
/// the set a TTL.
/// Invariant: `changed` holds each row once that is marked as changed.
#[derive(Debug)]
pub struct Table {
    ttl_ms: u64,
    rows: Rows,
    due: BTreeSet<(AwakeMs, Username)>,
    feed: Feed,
    touches: u64,
    sweep: Sweep,
    /// The stamp of the heartbeat before.
    stamp: Stamp,
    /// Rows that the other nodes are to be told of; kept only while there is somebody to tell.
    changed: Option<Vec<Username>>,
}

impl Table {
    /// An empty table whose clients stay online for `ttl_ms` after a heartbeat.
    #[must_use]
    pub fn new(ttl_ms: u64) -> Self {
        Self {
            ttl_ms,
            rows: Rows::default(),
            due: BTreeSet::new(),
            feed: Feed::default(),
            touches: 0,
            sweep: Sweep::default(),
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
        if let Some(Renewed { addr }) = self.prolong(name, told, registered, now, |_| true) {
            return addr;
        }
        if let Some(row) = self.rows.online_mut(name) {
            // It went offline and comes back. Others whose time has come are no concern of this heartbeat.
            let due = row.due;
            self.due.remove(&(due, name.clone()));
            self.expire(name);
        }
        (self.touches, self.stamp) = (self.touches + 1, self.stamp.next());
        let before = self.rows.get(name);
        let addr = told.or(before.and_then(|row| row.addr)).or(registered);
        let newly_changed = !before.is_some_and(|row| row.changed);
        let tracked = self.changed.is_some();
        let row =
            Row { addr, last: now, stamp: self.stamp, online: true, due: now.awake, changed: tracked, vouched: false };
        self.rows.put(name, row);
        self.appear(name, addr, now);
        if newly_changed {
            self.note_changed(name);
        }
        addr
    }

    /// Notes of somebody online that whoever sends a heartbeat for it may, and that this will not change while it is online:
    /// from now on, [`Self::renew`] does what a heartbeat is to do.
    pub fn vouch(&mut self, name: &Username) {
        if let Some(row) = self.rows.online_mut(name) {
            row.vouched = true;
        }
    }

    /// As [`Self::heartbeat`], but only for somebody online at `now` who was vouched for; otherwise `None`, and nothing is done.
    pub fn renew(&mut self, name: &Username, told: Option<Addr>, now: Moment) -> Option<Renewed> {
        self.prolong(name, told, None, now, |row| row.vouched)
    }

    /// The clients on `page` that are online at `now`, sorted by name.
    pub fn online(&mut self, page: &Page, now: Moment) -> Vec<Online> {
        self.advance(now);
        page.scan(self.rows.online())
            .take(page.max_rows())
            .map(|(name, row)| Online { username: name.clone(), addr: row.addr })
            .collect()
    }

    /// As [`Self::online`], but looks at `most` rows only, so that it takes little time whatever the page. With it comes
    /// the name behind which to go on, unless the page ends there.
    pub fn online_part(&mut self, page: &Page, most: usize, now: Moment) -> (Vec<Online>, Option<Username>) {
        self.advance(now);
        let most = most.min(page.max_rows());
        let rows = page.scan(self.rows.online()).take(most);
        let found: Vec<Online> = rows.map(|(name, row)| Online { username: name.clone(), addr: row.addr }).collect();
        let last = found.last().filter(|_| found.len() == most).map(|last| last.username.clone());
        (found, last)
    }

    /// How many clients are online at `now`.
    pub fn online_count(&mut self, now: Moment) -> usize {
        self.advance(now);
        self.rows.online().len()
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

    /// As [`Self::version`], but without a look at whose time has come.
    #[must_use]
    pub fn version_so_far(&self) -> u64 {
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

    /// Goes on to forget whom nobody heard for a day, so that the table cannot grow for ever: looks at a part of the rows, and
    /// at none for a minute once it has seen them all.
    pub fn sweep(&mut self, now: Moment) {
        self.advance(now);
        self.sweep.go_on(&mut self.rows, now.presence, |row| now.presence.since(row.last.presence) < REMEMBER_MS);
    }

    /// From now on heartbeats belong to `epoch`, which must be greater than that of every heartbeat before, and, if
    /// `tracked`, [`Self::take_changed`] gives the rows that changed.
    pub fn begin(&mut self, epoch: u64, tracked: bool) {
        self.stamp = self.stamp.begin(epoch);
        // What was noted and not told yet is to be told still.
        if tracked != self.changed.is_some() {
            self.track(tracked);
        }
    }

    /// From now on, whether changed rows are noted. All notes of before are dropped.
    pub fn track(&mut self, tracked: bool) {
        for name in self.changed.take().unwrap_or_default() {
            if let Some(row) = self.rows.get_mut(&name) {
                row.changed = false;
            }
        }
        self.changed = tracked.then(Vec::new);
    }

    /// Rows that changed since they were given last, at most `most` of them.
    pub fn take_changed(&mut self, most: usize, now: Moment) -> Vec<Beat> {
        self.advance(now);
        let Some(changed) = &mut self.changed else { return Vec::new() };
        let names = changed.split_off(changed.len().saturating_sub(most));
        let take = |name: Username| {
            let row = self.rows.get_mut(&name)?;
            row.changed = false;
            Some(replica::beat(&name, row, now))
        };
        names.into_iter().filter_map(take).collect()
    }

    /// The rows behind `after` in the order of names, at most `most` of them.
    pub fn rows_after(&mut self, after: Option<&Username>, most: usize, now: Moment) -> Vec<Beat> {
        self.advance(now);
        self.rows.after(after, most).map(|(name, row)| replica::beat(name, row, now)).collect()
    }

    /// Takes in what another node told at `now`, unless something newer is known.
    pub fn merge(&mut self, told: &Beat, now: Moment) {
        let known = self.rows.get(&told.username).copied();
        if let Some(row) = replica::merge(known, told, self.changed.is_some(), now) {
            self.touches += 1;
            self.put(&told.username, row, now);
        }
    }

    /// Puts in a row that came from another node, in the place of the one that there is.
    fn put(&mut self, name: &Username, mut row: Row, now: Moment) {
        self.advance(now);
        row.online = left_ms(self.ttl_ms, &row.last, now) > 0;
        let before = self.rows.put(name, row);
        let was_online = before.is_some_and(|before| before.online);
        let moved = before.is_some_and(|before| before.addr != row.addr);
        if let Some(before) = before.filter(|before| before.online) {
            self.due.remove(&(before.due, name.clone()));
        }
        if row.online {
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

    /// What a heartbeat of somebody online does, if `may` wants it.
    fn prolong(
        &mut self,
        name: &Username,
        told: Option<Addr>,
        registered: Option<Addr>,
        now: Moment,
        may: impl FnOnce(&Row) -> bool,
    ) -> Option<Renewed> {
        let row = self.rows.online_mut(name)?;
        if left_ms(self.ttl_ms, &row.last, now) == 0 || !may(row) {
            return None;
        }
        let tracked = self.changed.is_some();
        let addr = told.or(row.addr).or(registered);
        let (moved, newly_changed) = (row.addr != addr, tracked && !row.changed);
        (self.touches, self.stamp) = (self.touches + 1, self.stamp.next());
        *row = Row { addr, last: now, stamp: self.stamp, changed: tracked, ..*row };
        if moved {
            self.feed.push(name.clone(), Event::Moved(addr));
        }
        if newly_changed {
            self.note_changed(name);
        }
        Some(Renewed { addr })
    }

    fn note_changed(&mut self, name: &Username) {
        if let Some(changed) = &mut self.changed {
            changed.push(name.clone());
        }
    }

    fn appear(&mut self, name: &Username, addr: Option<Addr>, now: Moment) {
        self.feed.push(name.clone(), Event::Joined(addr));
        self.wait(name, now);
    }

    /// Notes when a row that is online is to be looked at again.
    fn wait(&mut self, name: &Username, now: Moment) {
        let Some(row) = self.rows.online_mut(name) else { return };
        row.due = now.awake.plus(left_ms(self.ttl_ms, &row.last, now));
        self.due.insert((row.due, name.clone()));
    }

    /// Takes everybody offline whose time has come by `now`.
    fn advance(&mut self, now: Moment) {
        while !self.advance_part(usize::MAX, now) {}
    }

    /// Looks at no more than `most` of those whose time may have come by `now`, and takes offline whose time has; gives
    /// whether there are no more. For who must not keep the table for long; whatever else is asked of it does the rest.
    pub fn advance_part(&mut self, most: usize, now: Moment) -> bool {
        for _ in 0..most {
            if self.due.first().is_none_or(|(at, _)| *at > now.awake) {
                return true;
            }
            let Some((_, name)) = self.due.pop_first() else { return true };
            let Some(row) = self.rows.online_mut(&name) else { continue };
            if left_ms(self.ttl_ms, &row.last, now) > 0 {
                // Heartbeats came since the entry was made and left it where it was, or there was no leader for a while.
                self.wait(&name, now);
            } else {
                self.expire(&name);
            }
        }
        false
    }

    /// Takes somebody offline who has no entry in `due` any more.
    fn expire(&mut self, name: &Username) {
        let Some(row) = self.rows.online_mut(name).copied() else { return };
        self.rows.put(name, Row { online: false, ..row });
        self.feed.push(name.clone(), Event::Left(Reason::Timeout));
    }
}

/// For how long a client stays online at `now` whose last heartbeat came at `last`, if a leader serves all the time.
fn left_ms(ttl_ms: u64, last: &Moment, now: Moment) -> u64 {
    let by_rule = last.presence.plus(ttl_ms).since(now.presence);
    let at_most = last.awake.plus(ttl_ms + MOST_FORGIVEN_MS).since(now.awake);
    by_rule.min(at_most)
}

#[cfg(test)]
mod tests;
