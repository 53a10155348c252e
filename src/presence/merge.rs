//! Replication of presence rows between nodes: encoding with ages, and the merge rule.
//!
//! Merging is idempotent and commutative, so rows may arrive twice, late and in any order. The
//! newest heartbeat wins: each has a [`HeartbeatId`], and any two ids can be compared. Two nodes
//! may report different ages for the same heartbeat. Then the greater age is right, because a row
//! does not age while it is in transit.

use super::client_rows::ClientRow;
use super::presence_clock::Moment;
use super::types::{HeartbeatId, ReplicatedClient};
use rollcall_core::{BootMs, Username};

/// The row that results from `incoming`, received at `now`. `None` if `current` is at least as new.
/// `replicate`: the change must be sent to other nodes.
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
        // The same heartbeat. Because of the time in transit, an incoming row can look younger than
        // it is, but never older.
        Some(row) if row.heartbeat_id == incoming.heartbeat_id && row.heartbeat_id != HeartbeatId::default() => {
            if last.awake >= row.last_heartbeat.awake && last.presence >= row.last_heartbeat.presence {
                return None;
            }
            last.presence = last.presence.min(row.last_heartbeat.presence);
            last.awake = last.awake.min(row.last_heartbeat.awake);
            last.boot = last.boot.min(row.last_heartbeat.boot);
        }
        // Both rows come from snapshots, which have no heartbeat ids. The younger row wins.
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
        // This flag is not replicated. The next heartbeat on this node sets it again.
        is_open: false,
    })
}

/// The row to send to another node at `now`, with ages instead of times.
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
