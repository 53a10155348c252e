//! Presence table: a client is online while its last heartbeat is younger than the TTL.
//!
//! Time is an argument and must not go back; [`PresenceClock`](super::PresenceClock) ensures that.
//! The table does not know which names are registered. The caller checks that.

use std::collections::BTreeSet;

use super::batch_limit::BatchLimit;
use super::change_log::{ChangeLog, OfflineReason, PresenceChange, PresenceEvent};
use super::client_rows::{ClientRow, ClientRows, HeartbeatTime, RowOrigin};
use super::merge;
use super::presence_clock::{AwakeMs, Moment};
use super::retention::RetentionSweep;
use super::types::{HeartbeatId, LastSeen, OnlineRow, Renewal, ReplicatedClient};
use rollcall_core::{Addr, Page, Username};

/// Retention of an offline client's row after its last heartbeat, in milliseconds. Operators do not
/// act on a "last seen" older than a day.
const RETENTION_MS: u64 = 24 * 60 * 60 * 1000;

/// Longest leaderless time that one heartbeat outlasts in addition to the TTL, in milliseconds. It
/// bounds how long a silent client stays online, for any number of elections.
const MAX_LEADERLESS_MS: u64 = 15 * 1000;

/// The state of every client seen in the last day.
///
/// Invariant: `expiry_queue` has exactly one entry for each online row, at the row's `check_at`,
/// and no other entries. `check_at` is never later than the row's expiry. So a heartbeat of an
/// online client changes only its own row, and an online row is queued about once per TTL.
/// Invariant: `unreplicated` names each row with `is_unreplicated` exactly once.
#[derive(Debug)]
pub struct PresenceTable {
    ttl_ms: u64,
    rows: ClientRows,
    expiry_queue: BTreeSet<(AwakeMs, Username)>,
    change_log: ChangeLog,
    activity_version: u64,
    sweep: RetentionSweep,
    /// The id of the last heartbeat.
    last_heartbeat_id: HeartbeatId,
    /// Rows to send to the other nodes; `None` if replication is off.
    unreplicated: Option<Vec<Username>>,
}

impl PresenceTable {
    /// An empty table. A client stays online for `ttl_ms` after a heartbeat.
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

    /// Records a heartbeat of `name` at `now` and returns the client's address. That is the address
    /// `reported` with this heartbeat, else the last reported one, else the `registered` one.
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
            // The client has expired and comes back. Other expired clients are not taken offline
            // here: a heartbeat changes its own row only.
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
            last_heartbeat: now.into(),
            seen_ms: now.boot_ago(0),
            origin: RowOrigin::Heartbeat,
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

    /// Marks an online client as one whose heartbeats need no credentials while it stays online.
    /// From then on [`Self::renew`] accepts its heartbeats.
    pub fn mark_open(&mut self, name: &Username) {
        if let Some(row) = self.rows.online_mut(name) {
            row.is_open = true;
        }
    }

    /// Like [`Self::heartbeat`], but only for a client that is online at `now` and marked open.
    /// Otherwise returns `None` and changes nothing.
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

    /// Like [`Self::online`], but visits at most `max` rows, so that it holds the lock only
    /// briefly. Also returns the last name, unless there are no more clients. The caller continues
    /// after it if the page permits more rows.
    pub fn online_part(&mut self, page: &Page, max: usize, now: Moment) -> (Vec<OnlineRow>, Option<Username>) {
        self.expire_due(now);
        let max = max.min(page.max_rows());
        let rows = page.scan(self.rows.online()).take(max);
        let clients: Vec<OnlineRow> =
            rows.map(|(name, row)| OnlineRow { username: name.clone(), addr: row.addr }).collect();
        let last = clients.last().filter(|_| clients.len() == max).map(|last| last.username.clone());
        (clients, last)
    }

    /// The number of clients online at `now`.
    pub fn online_count(&mut self, now: Moment) -> usize {
        self.expire_due(now);
        self.rows.online().len()
    }

    /// When `name` was last seen, as of `now`. `None` if the table has no row of it: a sweep
    /// removes rows whose last heartbeat is a day old.
    pub fn last_seen(&mut self, name: &Username, now: Moment) -> Option<LastSeen> {
        self.expire_due(now);
        self.rows.get(name).map(|row| LastSeen { is_online: row.is_online, addr: row.addr, at: row.seen_at(now) })
    }

    /// The version of the list of online clients. It changes whenever that list changes.
    pub fn version(&mut self, now: Moment) -> u64 {
        self.expire_due(now);
        self.change_log.version()
    }

    /// Like [`Self::version`], but does not expire clients first.
    #[must_use]
    pub fn version_without_expiry(&self) -> u64 {
        self.change_log.version()
    }

    /// A version that changes with every displayed time of a heartbeat, even if no list of online
    /// clients changes.
    #[must_use]
    pub fn activity_version(&self) -> u64 {
        self.activity_version
    }

    /// Records that the machine's clock was set, so that displayed times change.
    pub fn note_clock_set(&mut self) {
        self.activity_version += 1;
    }

    /// Up to `limit` visible changes after `version`, oldest first. `None` if some of them were
    /// dropped, or if `version` is greater than the current one.
    #[must_use]
    pub fn changes_since(&self, version: u64, limit: usize) -> Option<Vec<PresenceChange>> {
        self.change_log.since(version, limit)
    }

    /// Removes clients whose last heartbeat is at least a day old, so that the table stays
    /// bounded. Each call visits one batch of rows. After a complete sweep it does nothing for a
    /// minute.
    pub fn sweep(&mut self, now: Moment) {
        self.expire_due(now);
        self.sweep
            .step(&mut self.rows, now.presence, |row| now.presence.since(row.last_heartbeat.presence) < RETENTION_MS);
    }

    /// Starts `term`: later heartbeats get ids of this term. The term must be greater than that of
    /// every earlier heartbeat. `replicate`: whether changed rows are queued for
    /// [`Self::take_unreplicated`].
    pub fn begin_term(&mut self, term: u64, replicate: bool) {
        self.last_heartbeat_id = self.last_heartbeat_id.begin_term(term);
        // Rows that are already queued stay queued.
        if replicate != self.unreplicated.is_some() {
            self.set_replication(replicate);
        }
    }

    /// Turns the queue of changed rows on or off, and empties it.
    pub fn set_replication(&mut self, enabled: bool) {
        for name in self.unreplicated.take().unwrap_or_default() {
            if let Some(row) = self.rows.get_mut(&name) {
                row.is_unreplicated = false;
            }
        }
        self.unreplicated = enabled.then(Vec::new);
    }

    /// Removes a batch of rows from the queue of changed rows and returns them.
    pub fn take_unreplicated(&mut self, limit: impl Into<BatchLimit>, now: Moment) -> Vec<ReplicatedClient> {
        self.expire_due(now);
        let Some(unreplicated) = &mut self.unreplicated else { return Vec::new() };
        let mut limit = limit.into();
        let count = unreplicated.iter().rev().take_while(|name| limit.admit(name)).count();
        let names = unreplicated.split_off(unreplicated.len() - count);
        let take = |name: Username| {
            let row = self.rows.get_mut(&name)?;
            row.is_unreplicated = false;
            Some(merge::to_replicated(&name, row, now))
        };
        names.into_iter().filter_map(take).collect()
    }

    /// A batch of rows with names after `after`, sorted by name.
    pub fn rows_after(
        &mut self,
        after: Option<&Username>,
        limit: impl Into<BatchLimit>,
        now: Moment,
    ) -> Vec<ReplicatedClient> {
        self.expire_due(now);
        let mut limit = limit.into();
        let rows = self.rows.after(after).take_while(|(name, _)| limit.admit(name));
        rows.map(|(name, row)| merge::to_replicated(name, row, now)).collect()
    }

    /// Merges a row received from another node at `now`. An older row is ignored.
    pub fn merge(&mut self, incoming: &ReplicatedClient, now: Moment) {
        let current = self.rows.get(&incoming.username).copied();
        if let Some(row) = merge::merge_row(current, incoming, self.unreplicated.is_some(), now) {
            self.activity_version += 1;
            self.replace_row(&incoming.username, row, now);
        }
    }

    /// Inserts a merged row in place of the current one.
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

    /// Prolongs the presence of a client that is online, if `is_allowed` returns true for its row.
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
            last_heartbeat: now.into(),
            seen_ms: now.boot_ago(0),
            origin: RowOrigin::Heartbeat,
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

    /// Queues the next expiry check of an online row.
    fn schedule_expiry(&mut self, name: &Username, now: Moment) {
        let Some(row) = self.rows.online_mut(name) else { return };
        row.check_at = now.awake.plus(remaining_ms(self.ttl_ms, &row.last_heartbeat, now));
        self.expiry_queue.insert((row.check_at, name.clone()));
    }

    /// Takes all clients offline that have expired by `now`.
    fn expire_due(&mut self, now: Moment) {
        while !self.expire_some(usize::MAX, now) {}
    }

    /// Checks up to `max` due rows and takes the expired clients offline. Returns whether no due
    /// rows are left. For callers that must not hold the lock for long. Methods that return lists,
    /// counts or versions expire all due rows first.
    pub fn expire_some(&mut self, max: usize, now: Moment) -> bool {
        for _ in 0..max {
            if self.expiry_queue.first().is_none_or(|(at, _)| *at > now.awake) {
                return true;
            }
            let Some((_, name)) = self.expiry_queue.pop_first() else { return true };
            let Some(row) = self.rows.online_mut(&name) else { continue };
            if remaining_ms(self.ttl_ms, &row.last_heartbeat, now) > 0 {
                // A heartbeat arrived after the row was queued, or there was no leader for some
                // time.
                self.schedule_expiry(&name, now);
            } else {
                self.expire(&name);
            }
        }
        false
    }

    /// Takes a client offline. Its entry must already be removed from `expiry_queue`.
    fn expire(&mut self, name: &Username) {
        let Some(row) = self.rows.online_mut(name).copied() else { return };
        self.rows.replace(name, ClientRow { is_online: false, ..row });
        self.change_log.push(name.clone(), PresenceEvent::Left(OfflineReason::Timeout));
    }
}

/// Milliseconds for which a client with this last heartbeat stays online after `now`, if a leader
/// is active throughout.
fn remaining_ms(ttl_ms: u64, last: &HeartbeatTime, now: Moment) -> u64 {
    let by_ttl = last.presence.plus(ttl_ms).since(now.presence);
    let at_most = last.awake.plus(ttl_ms + MAX_LEADERLESS_MS).since(now.awake);
    by_ttl.min(at_most)
}

#[cfg(test)]
mod tests;
