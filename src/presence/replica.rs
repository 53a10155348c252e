//! How a table reaches the other nodes: rows that say how old they are, and how they are merged.
//!
//! Merging is idempotent and commutative, and the newest heartbeat wins: each carries a stamp by which any two can be
//! told apart and put in order, wherever they arrive. So rows may come twice, late and in any order. Of two claims about the age
//! of the same heartbeat the older one is right, because a row that waits on its way grows no older.

use serde::{Deserialize, Serialize};

use super::Moment;
use super::rows::Row;
use super::table::Table;
use rollcall_core::{Addr, BootMs, Username};

/// Which heartbeat a row tells of. Greater ones came later: there is one leader an epoch, and it counts them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Stamp {
    epoch: u64,
    serial: u64,
}

/// A client's last heartbeat, as one node tells it to another. Times are ages, for clocks differ.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Who.
    pub username: Username,
    /// Where it can be reached, if it ever told.
    pub addr: Option<Addr>,
    /// Which heartbeat.
    pub stamp: Stamp,
    /// How long ago it came, in milliseconds.
    pub age_ms: u64,
    /// How much of that does not count, because no leader served.
    pub forgiven_ms: u64,
}

impl Beat {
    /// What a process remembers that is started when `ms` more have passed, of which none counts: something older than
    /// whatever it is told.
    #[must_use]
    pub fn remembered(mut self, ms: u64) -> Self {
        self.stamp = Stamp::default();
        self.age_ms = self.age_ms.saturating_add(ms);
        self.forgiven_ms = self.forgiven_ms.saturating_add(ms);
        self
    }
}

impl Stamp {
    /// A stamp for tests of other parts.
    #[cfg(test)]
    pub(crate) fn of(epoch: u64, serial: u64) -> Self {
        Self { epoch, serial }
    }

    pub(super) fn next(self) -> Self {
        Self { serial: self.serial + 1, ..self }
    }
}

impl Table {
    /// From now on heartbeats belong to `epoch`, which must be greater than that of every heartbeat before, and, if
    /// `tracked`, [`Self::take_changed`] gives the rows that changed.
    pub fn begin(&mut self, epoch: u64, tracked: bool) {
        if epoch > self.stamp.epoch {
            self.stamp = Stamp { epoch, serial: 0 };
        }
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
            Some(beat(&name, row, now))
        };
        names.into_iter().filter_map(take).collect()
    }

    /// The rows behind `after` in the order of names, at most `most` of them.
    pub fn rows_after(&mut self, after: Option<&Username>, most: usize, now: Moment) -> Vec<Beat> {
        self.advance(now);
        self.rows.after(after, most).map(|(name, row)| beat(name, row, now)).collect()
    }

    /// Takes in what another node told at `now`, unless something newer is known.
    pub fn merge(&mut self, told: &Beat, now: Moment) {
        let known = self.rows.get(&told.username).copied();
        let mut last = Moment {
            presence: now.presence.minus(told.age_ms.saturating_sub(told.forgiven_ms)),
            awake: now.awake.minus(told.age_ms),
            boot: BootMs(now.boot.0.saturating_sub(told.age_ms)),
        };
        match known {
            Some(row) if row.stamp > told.stamp => return,
            // The same heartbeat. What is told of it may have waited on its way and so seem younger than it is; never older.
            Some(row) if row.stamp == told.stamp && row.stamp != Stamp::default() => {
                if last.awake >= row.last.awake && last.presence >= row.last.presence {
                    return;
                }
                last.presence = last.presence.min(row.last.presence);
                last.awake = last.awake.min(row.last.awake);
                last.boot = last.boot.min(row.last.boot);
            }
            // Remembered from before a start, by both; nobody knows whether it is the same.
            Some(row) if row.stamp == told.stamp && last.awake <= row.last.awake => return,
            Some(_) | None => {}
        }
        let row = Row {
            addr: told.addr,
            last,
            stamp: told.stamp,
            online: false,
            due: now.awake,
            changed: self.changed.is_some() || known.is_some_and(|row| row.changed),
            // Others do not tell; the first heartbeat here finds it out.
            vouched: false,
        };
        self.touches += 1;
        self.put(&told.username, row, now);
    }
}

fn beat(name: &Username, row: &Row, now: Moment) -> Beat {
    let age_ms = now.awake.since(row.last.awake);
    let counted_ms = now.presence.since(row.last.presence);
    Beat {
        username: name.clone(),
        addr: row.addr,
        stamp: row.stamp,
        age_ms,
        forgiven_ms: age_ms.saturating_sub(counted_ms),
    }
}

#[cfg(test)]
mod tests;
