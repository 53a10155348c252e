//! JSON encoding of the lists, row by row: `/discover`, `/discovery/online` and `/users`.

use serde::Serialize;

use crate::registry::{OnlineRow, Registry, UserRow};
use rollcall_core::Page;
use rollcall_core::api::{OnlineClient, Presence, User};
use rollcall_core::clock;

/// Path of the list of online clients.
pub(in crate::http) const DISCOVER_PATH: &str = "/discover";

/// Path of the list of usernames of online clients.
pub(in crate::http) const ONLINE_NAMES_PATH: &str = "/discovery/online";

/// Path of the list of users.
pub(in crate::http) const USERS_PATH: &str = "/users";

/// Encodes the list of online clients.
pub(in crate::http) fn online_clients(registry: &Registry, page: Page, is_leader: bool) -> Vec<u8> {
    let parts = registry.online_parts(page, clock::boot_now());
    let parts = parts.map(|part| part.into_iter().map(to_client));
    let mut json = Vec::new();
    let count = write_rows(&mut json, "online_clients", parts);
    json.extend_from_slice(format!(",\"count\":{count},\"is_leader\":{is_leader}}}").as_bytes());
    json
}

/// Encodes the list of usernames of online clients.
pub(in crate::http) fn online_names(registry: &Registry, page: Page) -> Vec<u8> {
    let parts = registry.online_parts(page, clock::boot_now());
    let parts = parts.map(|part| part.into_iter().map(|online| online.username));
    let mut json = Vec::new();
    write_rows(&mut json, "online", parts);
    json.push(b'}');
    json
}

/// Encodes the list of users.
pub(in crate::http) fn users(registry: &Registry, page: Page) -> Vec<u8> {
    let parts = registry.users_parts(page, clock::boot_now());
    let parts = parts.map(|part| part.into_iter().map(to_user));
    let mut json = Vec::new();
    let count = write_rows(&mut json, "users", parts);
    json.extend_from_slice(format!(",\"count\":{count}}}").as_bytes());
    json
}

fn to_user(row: UserRow) -> User {
    User {
        id: row.id,
        username: row.username,
        addr: row.addr,
        status: if row.online { Presence::Online } else { Presence::Offline },
        registered_at: row.registered_at,
        last_seen: row.last_seen,
        metadata: row.metadata,
        online: row.online,
    }
}

/// Converts a client to its JSON form.
pub(super) fn to_client(online: OnlineRow) -> OnlineClient {
    OnlineClient { username: online.username, addr: online.addr }
}

/// Writes the rows of all `parts` as the start of an object: `{"field":[...]`. Returns the number
/// of rows.
fn write_rows<R: Serialize>(
    json: &mut Vec<u8>,
    field: &str,
    parts: impl Iterator<Item = impl IntoIterator<Item = R>>,
) -> usize {
    json.extend_from_slice(format!("{{\"{field}\":[").as_bytes());
    let mut count = 0;
    for row in parts.flatten() {
        if count > 0 {
            json.push(b',');
        }
        count += 1;
        serde_json::to_writer(&mut *json, &row).expect("all keys are strings, and writing to memory cannot fail");
    }
    json.push(b']');
    count
}
