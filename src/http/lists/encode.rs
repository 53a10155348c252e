//! The lists as JSON, encoded row by row: `/discover`, `/discovery/online` and `/users`.

use serde::Serialize;

use crate::registry::{OnlineRow, Registry, UserRow};
use rollcall_core::api::{OnlineClient, Presence, User};
use rollcall_core::clock;
use rollcall_core::{Page, WallMs};

/// The path of the list of clients online.
pub(in crate::http) const DISCOVER: &str = "/discover";

/// The path of the list of names of clients online.
pub(in crate::http) const ONLINE_NAMES: &str = "/discovery/online";

/// The path of the list of users.
pub(in crate::http) const USERS: &str = "/users";

/// The list of clients online.
pub(in crate::http) fn discovered(registry: &Registry, page: Page, is_leader: bool) -> Vec<u8> {
    let parts = registry.online_parts(page, clock::boot_now());
    let parts = parts.map(|part| part.into_iter().map(client));
    let mut text = Vec::new();
    let count = write_rows(&mut text, "online_clients", parts);
    text.extend_from_slice(format!(",\"count\":{count},\"is_leader\":{is_leader}}}").as_bytes());
    text
}

/// The list of names of clients online.
pub(in crate::http) fn online_names(registry: &Registry, page: Page) -> Vec<u8> {
    let parts = registry.online_parts(page, clock::boot_now());
    let parts = parts.map(|part| part.into_iter().map(|online| online.username));
    let mut text = Vec::new();
    write_rows(&mut text, "online", parts);
    text.push(b'}');
    text
}

/// The list of users.
pub(in crate::http) fn users(registry: &Registry, page: Page) -> Vec<u8> {
    let now = clock::wall_now();
    let parts = registry.users_parts(page, clock::boot_now());
    let parts = parts.map(|part| part.into_iter().map(|row| user(row, now)));
    let mut text = Vec::new();
    let count = write_rows(&mut text, "users", parts);
    text.extend_from_slice(format!(",\"count\":{count}}}").as_bytes());
    text
}

fn user(row: UserRow, now: WallMs) -> User {
    User {
        id: row.id,
        username: row.username,
        addr: row.addr,
        status: if row.online { Presence::Online } else { Presence::Offline },
        registered_at: row.registered_at,
        last_seen: row.seen_ago_ms.map(|ago_ms| now.minus(ago_ms).to_rfc3339()),
        metadata: row.metadata,
        online: row.online,
    }
}

/// As lists have it.
pub(super) fn client(online: OnlineRow) -> OnlineClient {
    OnlineClient { username: online.username, addr: online.addr }
}

/// Writes a list of rows that come part by part, as the start of an object: `{"field":[...]`; gives the number of rows.
fn write_rows<R: Serialize>(
    text: &mut Vec<u8>,
    field: &str,
    parts: impl Iterator<Item = impl IntoIterator<Item = R>>,
) -> usize {
    text.extend_from_slice(format!("{{\"{field}\":[").as_bytes());
    let mut count = 0;
    for row in parts.flatten() {
        if count > 0 {
            text.push(b',');
        }
        count += 1;
        serde_json::to_writer(&mut *text, &row).expect("rows have text keys only, and memory takes what is written");
    }
    text.push(b']');
    count
}
