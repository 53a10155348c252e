//! How a table reaches the other nodes: rows that say how old they are, and how they are merged.
//!
//! Merging is idempotent and commutative, and the newest heartbeat wins: each carries a stamp by which any two can be
//! told apart and put in order, wherever they arrive. So rows may come twice, late and in any order. Of two claims about the age
//! of the same heartbeat the older one is right, because a row that waits on its way grows no older.

use super::rows::Row;
use super::stall::Moment;
use super::types::{Beat, Stamp};
use rollcall_core::{BootMs, Username};

/// The row of `name` with the heartbeat that another node told at `now`; `None` if something newer
/// is known. `tracked`: other nodes are to be told of what changed.
pub(super) fn merge(known: Option<Row>, told: &Beat, tracked: bool, now: Moment) -> Option<Row> {
    let mut last = Moment {
        presence: now.presence.minus(told.age_ms.saturating_sub(told.forgiven_ms)),
        awake: now.awake.minus(told.age_ms),
        boot: BootMs(now.boot.0.saturating_sub(told.age_ms)),
    };
    match known {
        Some(row) if row.stamp > told.stamp => return None,
        // The same heartbeat. What is told of it may have waited on its way and so seem younger than it is; never older.
        Some(row) if row.stamp == told.stamp && row.stamp != Stamp::default() => {
            if last.awake >= row.last.awake && last.presence >= row.last.presence {
                return None;
            }
            last.presence = last.presence.min(row.last.presence);
            last.awake = last.awake.min(row.last.awake);
            last.boot = last.boot.min(row.last.boot);
        }
        // Remembered from before a start, by both; nobody knows whether it is the same.
        Some(row) if row.stamp == told.stamp && last.awake <= row.last.awake => return None,
        Some(_) | None => {}
    }
    Some(Row {
        addr: told.addr,
        last,
        stamp: told.stamp,
        online: false,
        due: now.awake,
        changed: tracked || known.is_some_and(|row| row.changed),
        // Others do not tell; the first heartbeat here finds it out.
        vouched: false,
    })
}

/// A row as it is told to another node at `now`.
pub(super) fn beat(name: &Username, row: &Row, now: Moment) -> Beat {
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
