//! Rows of the presence table, with online and offline clients in separate maps.
//!
//! So a query for online clients does not visit the offline clients, which may be many more: their
//! rows are kept for a day.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::presence_clock::{AwakeMs, Moment, PresenceMs};
use super::types::HeartbeatId;
use rollcall_core::{Addr, Username, WallMs};

/// When a heartbeat arrived, on the two clocks that decide whether its client is online.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct HeartbeatTime {
    pub(super) presence: PresenceMs,
    pub(super) awake: AwakeMs,
}

/// Where a row comes from. A row from a snapshot is replaced by any other row.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum RowOrigin {
    /// A snapshot, of this node or of another one.
    Snapshot,
    /// A heartbeat since the start of the node that reports the row.
    Heartbeat,
}

/// The state of one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientRow {
    /// The client's address; `None` if it never reported one.
    pub(super) addr: Option<Addr>,
    /// When the last heartbeat arrived.
    pub(super) last_heartbeat: HeartbeatTime,
    /// When it arrived, for display, in milliseconds. On the boot clock of this machine, negative
    /// before the boot: so a clock that is set later corrects the displayed time. In a row from a
    /// snapshot it is Unix time, which no machine changes. (An enum of both would take eight more
    /// bytes.)
    pub(super) seen_ms: i64,
    pub(super) origin: RowOrigin,
    /// Id of the last heartbeat.
    pub(super) heartbeat_id: HeartbeatId,
    pub(super) is_online: bool,
    /// When the expiry of this row is checked next. Used only while the client is online.
    pub(super) check_at: AwakeMs,
    /// Whether the row changed since it was last sent to the other nodes.
    pub(super) is_unreplicated: bool,
    /// Whether the client's heartbeats need no credentials; see
    /// [`PresenceTable::mark_open`](super::PresenceTable::mark_open).
    pub(super) is_open: bool,
}

impl ClientRow {
    /// The wall time of the last heartbeat.
    pub(super) fn seen_at(&self, now: Moment) -> WallMs {
        match self.origin {
            RowOrigin::Snapshot => WallMs::new(self.seen_ms),
            RowOrigin::Heartbeat => now.wall_at(self.seen_ms),
        }
    }
}

impl From<Moment> for HeartbeatTime {
    fn from(moment: Moment) -> Self {
        Self { presence: moment.presence, awake: moment.awake }
    }
}

/// All rows, by name.
///
/// Invariant: a name has at most one row. A row is in `online` if its `is_online` is true, and in
/// `offline` otherwise.
#[derive(Debug, Default)]
pub(super) struct ClientRows {
    online: BTreeMap<Username, ClientRow>,
    offline: BTreeMap<Username, ClientRow>,
}

impl ClientRows {
    /// The rows of the online clients.
    pub(super) fn online(&self) -> &BTreeMap<Username, ClientRow> {
        &self.online
    }

    /// The row of an online client. The caller must not change `is_online`.
    pub(super) fn online_mut(&mut self, name: &Username) -> Option<&mut ClientRow> {
        self.online.get_mut(name)
    }

    /// The row of a client.
    pub(super) fn get(&self, name: &Username) -> Option<&ClientRow> {
        self.online.get(name).or_else(|| self.offline.get(name))
    }

    /// The row of a client. The caller must not change `is_online`.
    pub(super) fn get_mut(&mut self, name: &Username) -> Option<&mut ClientRow> {
        self.online.get_mut(name).or_else(|| self.offline.get_mut(name))
    }

    /// Inserts a row and returns the one that it replaces.
    pub(super) fn replace(&mut self, name: &Username, row: ClientRow) -> Option<ClientRow> {
        let (target, other) =
            if row.is_online { (&mut self.online, &mut self.offline) } else { (&mut self.offline, &mut self.online) };
        match other.remove_entry(name) {
            Some((name, before)) => {
                target.insert(name, row);
                Some(before)
            }
            None => target.insert(name.clone(), row),
        }
    }

    /// The rows with names after `after`, sorted by name.
    pub(super) fn after(&self, after: Option<&Username>) -> impl Iterator<Item = (&Username, &ClientRow)> {
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let mut online = self.online.range::<Username, _>(range).peekable();
        let mut offline = self.offline.range::<Username, _>(range).peekable();
        let next = move || match (online.peek(), offline.peek()) {
            (Some((one, _)), Some((other, _))) if one > other => offline.next(),
            (None, _) => offline.next(),
            (Some(_), _) => online.next(),
        };
        std::iter::from_fn(next)
    }

    /// Visits up to `max` offline rows with names after `after`, and removes those for which `keep`
    /// returns false. Returns the last name visited if there may be more rows after it.
    pub(super) fn sweep(
        &mut self,
        after: Option<&Username>,
        max: usize,
        keep: impl Fn(&ClientRow) -> bool,
    ) -> Option<Username> {
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let mut visited = self.offline.range::<Username, _>(range).take(max);
        let (mut removed, mut count, mut last) = (Vec::new(), 0, None);
        for (name, row) in &mut visited {
            if !keep(row) {
                removed.push(name.clone());
            }
            (count, last) = (count + 1, Some(name));
        }
        let last = last.filter(|_| count == max).cloned();
        for name in removed {
            self.offline.remove(&name);
        }
        last
    }
}
