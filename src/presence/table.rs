//! Decides who is online: whose last heartbeat is younger than the TTL at the moment of the question.
//!
//! Time comes as an argument and must not go back ([`PresenceClock`](super::PresenceClock) sees to that). The table does not
//! know who is registered; it takes what it is told.

use std::collections::BTreeSet;

use super::change_log::{ChangeLog, OfflineReason, PresenceChange, PresenceEvent};
use super::client_rows::{ClientRow, ClientRows};
use super::merge;
use super::presence_clock::{AwakeMs, Moment};
use super::retention::RetentionSweep;
use super::types::{HeartbeatId, LastSeen, OnlineRow, Renewal, ReplicatedClient};
use rollcall_core::{Addr, Page, Username};

/// For how long after its last heartbeat it is remembered when a client was seen: a day, after which "last seen" says
/// nothing that an operator acts on.
const RETENTION_MS: u64 = 24 * 60 * 60 * 1000;

/// The max that all the time without a leader prolongs one heartbeat's effect: clients that fell silent are gone at the
/// latest then, however many elections there are.
const MAX_LEADERLESS_MS: u64 = 15 * 1000;

/// Who is online.
///
/// Invariant: `expiry_queue` holds exactly one entry for each row that is marked online, at its `expiry_queue`, which is at or before its expiry,
/// and none for any other. So a heartbeat of somebody online activity_version one row only, and each row costs one operation on
/// the set a TTL.
/// Invariant: `changed` holds each row once that is marked as changed.
#[derive(Debug)]
pub struct PresenceTable {
    ttl_ms: u64,
    rows: ClientRows,
    expiry_queue: BTreeSet<(AwakeMs, Username)>,
    change_log: ChangeLog,
    activity_version: u64,
    sweep: RetentionSweep,
    /// The stamp of the heartbeat before.
    last_heartbeat_id: HeartbeatId,
    /// ClientRows that the other nodes are to be told of; kept only while there is somebody to tell.
    unreplicated: Option<Vec<Username>>,
}

impl PresenceTable {
    /// An empty table whose clients stay online for `ttl_ms` after a heartbeat.
    #[must_use]
    pub fn new(ttl_ms: u64) -> Self {
        Self {
            ttl_ms,
            rows: ClientRows::default(),
            expiry_queue: BTreeSet::new(),
            change_log: ChangeLog::default(),
            activity_version: 0,
            sweep: RetentionSweep::default(),
            last_heartbeat_id: HeartbeatId::default(),
            unreplicated: None,
        }
    }

    /// Notes that `name` is online at `now`, and answers where it can be reached: at the address `told` with this
    /// heartbeat, else the last one told, else the `registered` one.
    pub fn heartbeat(
        &mut self,
        name: &Username,
        reported: Option<Addr>,
        registered: Option<Addr>,
        now: Moment,
    ) -> Option<Addr> {
        if let Some(Renewal { addr }) = self.extend(name, reported, registered, now, |_| true) {
            return addr;
        }
        if let Some(row) = self.rows.online_mut(name) {
            // It went offline and comes back. Others whose time has come are no concern of this heartbeat.
            let check_at = row.check_at;
            self.expiry_queue.remove(&(check_at, name.clone()));
            self.expire(name);
        }
        (self.activity_version, self.last_heartbeat_id) = (self.activity_version + 1, self.last_heartbeat_id.next());
        let before = self.rows.get(name);
        let addr = reported.or(before.and_then(|row| row.addr)).or(registered);
        let newly_unreplicated = !before.is_some_and(|row| row.is_unreplicated);
        let replicate = self.unreplicated.is_some();
        let row = ClientRow {
            addr,
            last_heartbeat: now,
            heartbeat_id: self.last_heartbeat_id,
            is_online: true,
            check_at: now.awake,
            is_unreplicated: replicate,
            is_open: false,
        };
        self.rows.replace(name, row);
        self.add_online(name, addr, now);
        if newly_unreplicated {
            self.add_unreplicated(name);
        }
        addr
    }

    /// Notes of somebody online that whoever sends a heartbeat for it may, and that this will not change while it is online:
    /// from now on, [`Self::renew`] does what a heartbeat is to do.
    pub fn mark_open(&mut self, name: &Username) {
        if let Some(row) = self.rows.online_mut(name) {
            row.is_open = true;
        }
    }

    /// As [`Self::heartbeat`], but only for somebody online at `now` who was is_open for; otherwise `None`, and nothing is done.
    pub fn renew(&mut self, name: &Username, reported: Option<Addr>, now: Moment) -> Option<Renewal> {
        self.extend(name, reported, None, now, |row| row.is_open)
    }

    /// The clients on `page` that are online at `now`, sorted by name.
    pub fn online(&mut self, page: &Page, now: Moment) -> Vec<OnlineRow> {
        self.expire_due(now);
        page.scan(self.rows.online())
            .take(page.max_rows())
            .map(|(name, row)| OnlineRow { username: name.clone(), addr: row.addr })
            .collect()
    }

    /// As [`Self::online`], but looks at `max` rows only, so that it takes little time whatever the page. With it comes
    /// the name behind which to go on, unless the page ends there.
    pub fn online_part(&mut self, page: &Page, max: usize, now: Moment) -> (Vec<OnlineRow>, Option<Username>) {
        self.expire_due(now);
        let max = max.min(page.max_rows());
        let rows = page.scan(self.rows.online()).take(max);
        let clients: Vec<OnlineRow> =
            rows.map(|(name, row)| OnlineRow { username: name.clone(), addr: row.addr }).collect();
        let last = clients.last().filter(|_| clients.len() == max).map(|last| last.username.clone());
        (clients, last)
    }

    /// How many clients are online at `now`.
    pub fn online_count(&mut self, now: Moment) -> usize {
        self.expire_due(now);
        self.rows.online().len()
    }

    /// What is remembered of `name` at `now`; `None` if it was not heard for a day or longer.
    pub fn last_seen(&mut self, name: &Username, now: Moment) -> Option<LastSeen> {
        self.expire_due(now);
        self.rows.get(name).map(|row| LastSeen {
            is_online: row.is_online,
            addr: row.addr,
            ago_ms: now.boot.since(row.last_heartbeat.boot),
        })
    }

    /// A number that is another one whenever a list of the clients online would be another one.
    pub fn version(&mut self, now: Moment) -> u64 {
        self.expire_due(now);
        self.change_log.version()
    }

    /// As [`Self::version`], but without a look at whose time has come.
    #[must_use]
    pub fn version_without_expiry(&self) -> u64 {
        self.change_log.version()
    }

    /// A number that is another one whenever anybody was heard, whether or not a list shows it.
    #[must_use]
    pub fn activity_version(&self) -> u64 {
        self.activity_version
    }

    /// Up to `limit` of the visible changes after `version`, oldest first; `None` if they are not remembered any more, or
    /// there was no such version yet.
    #[must_use]
    pub fn changes_since(&self, version: u64, limit: usize) -> Option<Vec<PresenceChange>> {
        self.change_log.since(version, limit)
    }

    /// Goes on to forget whom nobody heard for a day, so that the table cannot grow for ever: looks at a part of the rows, and
    /// at none for a minute once it has seen them all.
    pub fn sweep(&mut self, now: Moment) {
        self.expire_due(now);
        self.sweep
            .step(&mut self.rows, now.presence, |row| now.presence.since(row.last_heartbeat.presence) < RETENTION_MS);
    }

    /// From now on heartbeats belong to `term`, which must be greater than that of every heartbeat before, and, if
    /// `replicate`, [`Self::take_unreplicated`] gives the rows that changed.
    pub fn begin_term(&mut self, term: u64, replicate: bool) {
        self.last_heartbeat_id = self.last_heartbeat_id.begin_term(term);
        // What was noted and not told yet is to be told still.
        if replicate != self.unreplicated.is_some() {
            self.set_replication(replicate);
        }
    }

    /// From now on, whether changed rows are noted. All notes of before are dropped.
    pub fn set_replication(&mut self, enabled: bool) {
        for name in self.unreplicated.take().unwrap_or_default() {
            if let Some(row) = self.rows.get_mut(&name) {
                row.is_unreplicated = false;
            }
        }
        self.unreplicated = enabled.then(Vec::new);
    }

    /// ClientRows that changed since they were given last, at max `max` of them.
    pub fn take_unreplicated(&mut self, max: usize, now: Moment) -> Vec<ReplicatedClient> {
        self.expire_due(now);
        let Some(unreplicated) = &mut self.unreplicated else { return Vec::new() };
        let names = unreplicated.split_off(unreplicated.len().saturating_sub(max));
        let take = |name: Username| {
            let row = self.rows.get_mut(&name)?;
            row.is_unreplicated = false;
            Some(merge::to_replicated(&name, row, now))
        };
        names.into_iter().filter_map(take).collect()
    }

    /// The rows behind `after` in the order of names, at max `max` of them.
    pub fn rows_after(&mut self, after: Option<&Username>, max: usize, now: Moment) -> Vec<ReplicatedClient> {
        self.expire_due(now);
        self.rows.after(after, max).map(|(name, row)| merge::to_replicated(name, row, now)).collect()
    }

    /// Takes in what another node told at `now`, unless something newer is known.
    pub fn merge(&mut self, incoming: &ReplicatedClient, now: Moment) {
        let current = self.rows.get(&incoming.username).copied();
        if let Some(row) = merge::merge_row(current, incoming, self.unreplicated.is_some(), now) {
            self.activity_version += 1;
            self.replace_row(&incoming.username, row, now);
        }
    }

    /// Puts in a row that came from another node, in the place of the one that there is.
    fn replace_row(&mut self, name: &Username, mut row: ClientRow, now: Moment) {
        self.expire_due(now);
        row.is_online = remaining_ms(self.ttl_ms, &row.last_heartbeat, now) > 0;
        let before = self.rows.replace(name, row);
        let was_online = before.is_some_and(|before| before.is_online);
        let moved = before.is_some_and(|before| before.addr != row.addr);
        if let Some(before) = before.filter(|before| before.is_online) {
            self.expiry_queue.remove(&(before.check_at, name.clone()));
        }
        if row.is_online {
            self.schedule_expiry(name, now);
        }
        match (was_online, row.is_online) {
            (false, true) => self.change_log.push(name.clone(), PresenceEvent::Joined(row.addr)),
            (true, false) => self.change_log.push(name.clone(), PresenceEvent::Left(OfflineReason::Timeout)),
            (true, true) if moved => self.change_log.push(name.clone(), PresenceEvent::Moved(row.addr)),
            (true, true) | (false, false) => {}
        }
        if row.is_unreplicated && !before.is_some_and(|before| before.is_unreplicated) {
            self.add_unreplicated(name);
        }
    }

    /// What a heartbeat of somebody online does, if `may` wants it.
    fn extend(
        &mut self,
        name: &Username,
        reported: Option<Addr>,
        registered: Option<Addr>,
        now: Moment,
        is_allowed: impl FnOnce(&ClientRow) -> bool,
    ) -> Option<Renewal> {
        let row = self.rows.online_mut(name)?;
        if remaining_ms(self.ttl_ms, &row.last_heartbeat, now) == 0 || !is_allowed(row) {
            return None;
        }
        let replicate = self.unreplicated.is_some();
        let addr = reported.or(row.addr).or(registered);
        let (moved, newly_unreplicated) = (row.addr != addr, replicate && !row.is_unreplicated);
        (self.activity_version, self.last_heartbeat_id) = (self.activity_version + 1, self.last_heartbeat_id.next());
        *row = ClientRow {
            addr,
            last_heartbeat: now,
            heartbeat_id: self.last_heartbeat_id,
            is_unreplicated: replicate,
            ..*row
        };
        if moved {
            self.change_log.push(name.clone(), PresenceEvent::Moved(addr));
        }
        if newly_unreplicated {
            self.add_unreplicated(name);
        }
        Some(Renewal { addr })
    }

    fn add_unreplicated(&mut self, name: &Username) {
        if let Some(names) = &mut self.unreplicated {
            names.push(name.clone());
        }
    }

    fn add_online(&mut self, name: &Username, addr: Option<Addr>, now: Moment) {
        self.change_log.push(name.clone(), PresenceEvent::Joined(addr));
        self.schedule_expiry(name, now);
    }

    /// Notes when a row that is online is to be looked at again.
    fn schedule_expiry(&mut self, name: &Username, now: Moment) {
        let Some(row) = self.rows.online_mut(name) else { return };
        row.check_at = now.awake.plus(remaining_ms(self.ttl_ms, &row.last_heartbeat, now));
        self.expiry_queue.insert((row.check_at, name.clone()));
    }

    /// Takes everybody offline whose time has come by `now`.
    fn expire_due(&mut self, now: Moment) {
        while !self.expire_some(usize::MAX, now) {}
    }

    /// Looks at no more than `max` of those whose time may have come by `now`, and takes offline whose time has; gives
    /// whether there are no more. For who must not keep the table for long; whatever else is asked of it does the rest.
    pub fn expire_some(&mut self, max: usize, now: Moment) -> bool {
        for _ in 0..max {
            if self.expiry_queue.first().is_none_or(|(at, _)| *at > now.awake) {
                return true;
            }
            let Some((_, name)) = self.expiry_queue.pop_first() else { return true };
            let Some(row) = self.rows.online_mut(&name) else { continue };
            if remaining_ms(self.ttl_ms, &row.last_heartbeat, now) > 0 {
                // Heartbeats came since the entry was made and left it where it was, or there was no leader for a while.
                self.schedule_expiry(&name, now);
            } else {
                self.expire(&name);
            }
        }
        false
    }

    /// Takes somebody offline who has no entry in `expiry_queue` any more.
    fn expire(&mut self, name: &Username) {
        let Some(row) = self.rows.online_mut(name).copied() else { return };
        self.rows.replace(name, ClientRow { is_online: false, ..row });
        self.change_log.push(name.clone(), PresenceEvent::Left(OfflineReason::Timeout));
    }
}

/// For how long a client stays online at `now` whose last heartbeat came at `last`, if a leader serves all the time.
fn remaining_ms(ttl_ms: u64, last: &Moment, now: Moment) -> u64 {
    let by_ttl = last.presence.plus(ttl_ms).since(now.presence);
    let at_most = last.awake.plus(ttl_ms + MAX_LEADERLESS_MS).since(now.awake);
    by_ttl.min(at_most)
}

#[cfg(test)]
mod tests;
