//! The rows of the table of presence, those online apart from the others: what asks for clients online must not walk over
//! everybody who was there today.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::presence_clock::{AwakeMs, Moment};
use super::types::HeartbeatId;
use rollcall_core::{Addr, Username};

/// What is known of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientRow {
    pub(super) addr: Option<Addr>,
    pub(super) last_heartbeat: Moment,
    pub(super) heartbeat_id: HeartbeatId,
    pub(super) is_online: bool,
    /// When the row is looked at again, if it is online.
    pub(super) check_at: AwakeMs,
    pub(super) is_unreplicated: bool,
    /// Whether anybody may extend it; see [`PresenceTable::mark_open`](super::PresenceTable::mark_open).
    pub(super) is_open: bool,
}

/// The rows.
///
/// Invariant: a name has one row at max, in `online` exactly if the row says so.
#[derive(Debug, Default)]
pub(super) struct ClientRows {
    online: BTreeMap<Username, ClientRow>,
    offline: BTreeMap<Username, ClientRow>,
}

impl ClientRows {
    /// Who is online.
    pub(super) fn online(&self) -> &BTreeMap<Username, ClientRow> {
        &self.online
    }

    /// The row of somebody online. Must not be taken offline by this.
    pub(super) fn online_mut(&mut self, name: &Username) -> Option<&mut ClientRow> {
        self.online.get_mut(name)
    }

    pub(super) fn get(&self, name: &Username) -> Option<&ClientRow> {
        self.online.get(name).or_else(|| self.offline.get(name))
    }

    /// Whether or not it is online must not be changed by this.
    pub(super) fn get_mut(&mut self, name: &Username) -> Option<&mut ClientRow> {
        self.online.get_mut(name).or_else(|| self.offline.get_mut(name))
    }

    /// Puts a row in the place of the one that there is, which it gives.
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

    /// The rows behind `after` in the order of names, at max `max` of them.
    pub(super) fn after(&self, after: Option<&Username>, max: usize) -> impl Iterator<Item = (&Username, &ClientRow)> {
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let mut online = self.online.range::<Username, _>(range).peekable();
        let mut offline = self.offline.range::<Username, _>(range).peekable();
        let next = move || match (online.peek(), offline.peek()) {
            (Some((one, _)), Some((other, _))) if one > other => offline.next(),
            (None, _) => offline.next(),
            (Some(_), _) => online.next(),
        };
        std::iter::from_fn(next).take(max)
    }

    /// Drops those of the next `max` rows offline behind `after` that `keep` does not want; gives the last one that was
    /// looked at, if there may be more behind it.
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
