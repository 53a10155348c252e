//! Thousands of users: their names, their profiles in a bucket, and their heartbeats.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use rollcall::storage::Key;
use rollcall_core::{Addr, UserId, Username};
use serde_json::json;

use crate::http_client::request;

/// The username of a user.
pub(crate) fn name(number: u64) -> String {
    format!("client-{number:06}")
}

/// The address of a user.
pub(crate) fn addr(number: u64) -> SocketAddr {
    let low = u32::try_from(number % (1 << 24)).unwrap_or(0);
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 | low), 9000))
}

/// Writes the profiles of registered users to a local bucket. No node may use it yet.
pub(crate) fn fill(bucket: &Path, count: u64) -> anyhow::Result<()> {
    for number in 0..count {
        let username = Username::parse(&name(number))?;
        let path = bucket.join(Key::Profile(username.clone()).path());
        let id = UserId::from_u128(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) + 1);
        // The oldest form, which every build reads: so builds can be compared.
        let profile = json!({
            "user_id": id,
            "username": username,
            "addr": Addr::new(addr(number)),
            "registered_at": "2026-01-15T10:30:00Z",
            "metadata": {},
        });
        fs::create_dir_all(path.parent().context("a profile lies in a folder")?)?;
        fs::write(path, profile.to_string())?;
    }
    Ok(())
}

/// Heartbeats of the first `count` users, as requests.
pub(crate) fn heartbeats(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(heartbeat).collect()
}

/// A heartbeat of one user.
pub(crate) fn heartbeat(number: u64) -> Vec<u8> {
    let body = format!(r#"{{"username":"{}","addr":"{}"}}"#, name(number), addr(number));
    request("POST", "/heartbeat", "Content-Type: application/json\r\n", &body)
}
