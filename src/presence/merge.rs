//! Replication of presence rows between nodes: encoding with ages, and the merge rule.
//!
//! Merging is idempotent and commutative, so rows may arrive twice, late and in any order. The
//! newest heartbeat wins: each has a heartbeat id, and any two ids can be compared. Two nodes
//! may report different ages for the same heartbeat. Then the greater age is right, because a row
//! does not age while it is in transit.
//!
//! A row from a snapshot is replaced by any other row. Of two rows from snapshots the newest
//! heartbeat wins too, but not their ages and wall times: a node whose clock is not set does not
//! know for how long it was down, and may have written a wrong time. A later heartbeat is never
//! older than an earlier one, so the smaller age and the later wall time are right.

use std::cmp::Ordering;

use super::client_rows::{ClientRow, HeartbeatTime, RowOrigin};
use super::presence_clock::Moment;
use super::types::{ReplicatedClient, SeenAt};
use rollcall_core::Username;

/// Largest difference of two nodes' clocks, in milliseconds, for which the wall time by the clock
/// of the sender is kept. If they differ more, one of the clocks is wrong, and the age is right.
const MAX_CLOCK_DIFFERENCE_MS: u64 = 60 * 1000;

/// The row that results from `incoming`, received at `now`. `None` if `current` is at least as new.
/// `replicate`: the change must be sent to other nodes.
pub(super) fn merge_row(
    current: Option<ClientRow>,
    incoming: &ReplicatedClient,
    replicate: bool,
    now: Moment,
) -> Option<ClientRow> {
    let mut row = received_row(incoming, now);
    if let Some(current) = current {
        let rank = |row: &ClientRow| (row.origin, row.heartbeat_id);
        let by_rank = rank(&row).cmp(&rank(&current));
        if [row.origin, current.origin] == [RowOrigin::Snapshot; 2] {
            row = merge_restored(current, row)?;
        } else if by_rank == Ordering::Less {
            return None;
        } else if by_rank == Ordering::Equal {
            row = merge_same_heartbeat(current, row)?;
        }
        row.is_unreplicated = current.is_unreplicated;
    }
    row.is_unreplicated |= replicate;
    Some(row)
}

fn received_row(incoming: &ReplicatedClient, now: Moment) -> ClientRow {
    let by_age = now.boot_ago(incoming.age_ms);
    let (origin, seen_ms) = match incoming.seen_at {
        SeenAt::Restored(seen_at) => (RowOrigin::Snapshot, seen_at.unix_ms()),
        SeenAt::Heard(seen_at) if now.is_wall_set => {
            let by_sender = now.boot_at(seen_at);
            let is_near = by_sender.abs_diff(by_age) <= MAX_CLOCK_DIFFERENCE_MS;
            (RowOrigin::Heartbeat, if is_near { by_sender } else { by_age })
        }
        SeenAt::Heard(_) | SeenAt::Unknown => (RowOrigin::Heartbeat, by_age),
    };
    ClientRow {
        addr: incoming.addr,
        last_heartbeat: HeartbeatTime {
            presence: now.presence.minus(incoming.age_ms.saturating_sub(incoming.leaderless_ms)),
            awake: now.awake.minus(incoming.age_ms),
        },
        seen_ms,
        origin,
        heartbeat_id: incoming.heartbeat_id,
        is_online: false,
        check_at: now.awake,
        is_unreplicated: false,
        // This flag is not replicated. The next heartbeat on this node sets it again.
        is_open: false,
    }
}

/// Merges two rows from snapshots. `None` if the result is `current`.
fn merge_restored(current: ClientRow, incoming: ClientRow) -> Option<ClientRow> {
    // Rows that a snapshot of the first version had restored have no heartbeat id. The younger
    // wins.
    let newness = |row: &ClientRow| (row.heartbeat_id, row.last_heartbeat.awake);
    let newest = if newness(&incoming) > newness(&current) { incoming } else { current };
    let merged = ClientRow {
        last_heartbeat: HeartbeatTime {
            presence: current.last_heartbeat.presence.max(incoming.last_heartbeat.presence),
            awake: current.last_heartbeat.awake.max(incoming.last_heartbeat.awake),
        },
        seen_ms: current.seen_ms.max(incoming.seen_ms),
        ..newest
    };
    let content = |row: &ClientRow| (row.addr, row.last_heartbeat, row.seen_ms, row.heartbeat_id);
    (content(&merged) != content(&current)).then_some(merged)
}

/// Merges two rows of one heartbeat. `None` if the result is `current`.
fn merge_same_heartbeat(current: ClientRow, mut incoming: ClientRow) -> Option<ClientRow> {
    let (old, new) = (current.last_heartbeat, incoming.last_heartbeat);
    // Because of the time in transit, an incoming row can look younger than it is, but never older.
    if new.awake >= old.awake && new.presence >= old.presence {
        return None;
    }
    incoming.last_heartbeat =
        HeartbeatTime { presence: new.presence.min(old.presence), awake: new.awake.min(old.awake) };
    incoming.seen_ms = incoming.seen_ms.min(current.seen_ms);
    Some(incoming)
}

/// The row to send to another node at `now`, with ages instead of times.
pub(super) fn to_replicated(name: &Username, row: &ClientRow, now: Moment) -> ReplicatedClient {
    let age_ms = now.awake.since(row.last_heartbeat.awake);
    let counted_ms = now.presence.since(row.last_heartbeat.presence);
    let seen_at = row.seen_at(now);
    ReplicatedClient {
        username: name.clone(),
        addr: row.addr,
        heartbeat_id: row.heartbeat_id,
        age_ms,
        leaderless_ms: age_ms.saturating_sub(counted_ms),
        seen_at: match (row.origin, now.is_wall_set) {
            (RowOrigin::Snapshot, _) => SeenAt::Restored(seen_at),
            (RowOrigin::Heartbeat, true) => SeenAt::Heard(seen_at),
            (RowOrigin::Heartbeat, false) => SeenAt::Unknown,
        },
    }
}

#[cfg(test)]
mod tests;
