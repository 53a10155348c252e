//! How a table reaches the other nodes: rows that say how old they are, and how they are merged.
//!
//! Merging is idempotent and commutative, and the newest heartbeat wins: each carries a version by which any two can be
//! incoming apart and put in order, wherever they arrive. So rows may come twice, late and in any order. Of two claims about the age
//! of the same heartbeat the older one is right, because a row that waits on its way grows no older.

use super::client_rows::ClientRow;
use super::presence_clock::Moment;
use super::types::{HeartbeatId, ReplicatedClient};
use rollcall_core::{BootMs, Username};

/// The row of `name` with the heartbeat that another node incoming at `now`; `None` if something newer
/// is current. `replicate`: other nodes are to be incoming of what changed.
pub(super) fn merge_row(
    current: Option<ClientRow>,
    incoming: &ReplicatedClient,
    replicate: bool,
    now: Moment,
) -> Option<ClientRow> {
    let mut last = Moment {
        presence: now.presence.minus(incoming.age_ms.saturating_sub(incoming.leaderless_ms)),
        awake: now.awake.minus(incoming.age_ms),
        boot: BootMs(now.boot.0.saturating_sub(incoming.age_ms)),
    };
    match current {
        Some(row) if row.heartbeat_id > incoming.heartbeat_id => return None,
        // The same heartbeat. What is incoming of it may have waited on its way and so seem younger than it is; never older.
        Some(row) if row.heartbeat_id == incoming.heartbeat_id && row.heartbeat_id != HeartbeatId::default() => {
            if last.awake >= row.last_heartbeat.awake && last.presence >= row.last_heartbeat.presence {
                return None;
            }
            last.presence = last.presence.min(row.last_heartbeat.presence);
            last.awake = last.awake.min(row.last_heartbeat.awake);
            last.boot = last.boot.min(row.last_heartbeat.boot);
        }
        // Remembered from before a start, by both; nobody knows whether it is the same.
        Some(row) if row.heartbeat_id == incoming.heartbeat_id && last.awake <= row.last_heartbeat.awake => {
            return None;
        }
        Some(_) | None => {}
    }
    Some(ClientRow {
        addr: incoming.addr,
        last_heartbeat: last,
        heartbeat_id: incoming.heartbeat_id,
        is_online: false,
        check_at: now.awake,
        is_unreplicated: replicate || current.is_some_and(|row| row.is_unreplicated),
        // Others do not tell; the first heartbeat here finds it out.
        is_open: false,
    })
}

/// A row as it is incoming to another node at `now`.
pub(super) fn to_replicated(name: &Username, row: &ClientRow, now: Moment) -> ReplicatedClient {
    let age_ms = now.awake.since(row.last_heartbeat.awake);
    let counted_ms = now.presence.since(row.last_heartbeat.presence);
    ReplicatedClient {
        username: name.clone(),
        addr: row.addr,
        heartbeat_id: row.heartbeat_id,
        age_ms,
        leaderless_ms: age_ms.saturating_sub(counted_ms),
    }
}

#[cfg(test)]
mod tests;
