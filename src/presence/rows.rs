//! The rows of the table of presence, those online apart from the others: what asks for clients online must not walk over
//! everybody who was there today.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::stall::{AwakeMs, Moment};
use super::types::Stamp;
use rollcall_core::{Addr, Username};

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
    /// Whether anybody may prolong it; see [`Table::vouch`](super::Table::vouch).
    pub(super) vouched: bool,
}

/// The rows.
///
/// Invariant: a name has one row at most, in `online` exactly if the row says so.
#[derive(Debug, Default)]
pub(super) struct Rows {
    online: BTreeMap<Username, Row>,
    offline: BTreeMap<Username, Row>,
}

impl Rows {
    /// Who is online.
    pub(super) fn online(&self) -> &BTreeMap<Username, Row> {
        &self.online
    }

    /// The row of somebody online. Must not be taken offline by this.
    pub(super) fn online_mut(&mut self, name: &Username) -> Option<&mut Row> {
        self.online.get_mut(name)
    }

    pub(super) fn get(&self, name: &Username) -> Option<&Row> {
        self.online.get(name).or_else(|| self.offline.get(name))
    }

    /// Whether or not it is online must not be changed by this.
    pub(super) fn get_mut(&mut self, name: &Username) -> Option<&mut Row> {
        self.online.get_mut(name).or_else(|| self.offline.get_mut(name))
    }

    /// Puts a row in the place of the one that there is, which it gives.
    pub(super) fn put(&mut self, name: &Username, row: Row) -> Option<Row> {
        let (here, there) =
            if row.online { (&mut self.online, &mut self.offline) } else { (&mut self.offline, &mut self.online) };
        match there.remove_entry(name) {
            Some((name, before)) => {
                here.insert(name, row);
                Some(before)
            }
            None => here.insert(name.clone(), row),
        }
    }

    /// The rows behind `after` in the order of names, at most `most` of them.
    pub(super) fn after(&self, after: Option<&Username>, most: usize) -> impl Iterator<Item = (&Username, &Row)> {
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let mut online = self.online.range::<Username, _>(range).peekable();
        let mut offline = self.offline.range::<Username, _>(range).peekable();
        let next = move || match (online.peek(), offline.peek()) {
            (Some((one, _)), Some((other, _))) if one > other => offline.next(),
            (None, _) => offline.next(),
            (Some(_), _) => online.next(),
        };
        std::iter::from_fn(next).take(most)
    }

    /// Drops those of the next `most` rows offline behind `after` that `keep` does not want; gives the last one that was
    /// looked at, if there may be more behind it.
    pub(super) fn sweep(
        &mut self,
        after: Option<&Username>,
        most: usize,
        keep: impl Fn(&Row) -> bool,
    ) -> Option<Username> {
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let mut looked_at = self.offline.range::<Username, _>(range).take(most);
        let (mut gone, mut count, mut last) = (Vec::new(), 0, None);
        for (name, row) in &mut looked_at {
            if !keep(row) {
                gone.push(name.clone());
            }
            (count, last) = (count + 1, Some(name));
        }
        let last = last.filter(|_| count == most).cloned();
        for name in gone {
            self.offline.remove(&name);
        }
        last
    }
}
