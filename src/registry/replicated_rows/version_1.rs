//! Rows of version 1, as snapshots of version 2 contain them. They are read and never written.

use compact_str::CompactString;
use serde::Deserialize;

use super::{ReplicatedUser, Rows};
use crate::presence::{HeartbeatId, ReplicatedClient, SeenAt};
use crate::registry::auth::credential_state::CredentialState;
use rollcall_core::{Addr, UserId, Username};

#[derive(Deserialize)]
struct RowsV1 {
    clients: Vec<ClientV1>,
    users: Vec<UserV1>,
}

#[derive(Deserialize)]
struct ClientV1 {
    username: Username,
    addr: Option<Addr>,
    heartbeat_id: HeartbeatId,
    age_ms: u64,
    leaderless_ms: u64,
}

#[derive(Deserialize)]
struct UserV1 {
    username: Username,
    id: UserId,
    addr: Option<Addr>,
    registered_at: CompactString,
    metadata: String,
    credential: CredentialState,
}

/// Decodes rows of version 1. They have no wall times.
///
/// # Errors
/// The error of the decoder, if the bytes are no such rows.
pub(crate) fn decode(bytes: &[u8]) -> Result<Rows, postcard::Error> {
    let RowsV1 { clients, users } = postcard::from_bytes(bytes)?;
    Ok(Rows {
        clients: clients.into_iter().map(ReplicatedClient::from).collect(),
        users: users.into_iter().map(ReplicatedUser::from).collect(),
    })
}

impl From<ClientV1> for ReplicatedClient {
    fn from(client: ClientV1) -> Self {
        let ClientV1 { username, addr, heartbeat_id, age_ms, leaderless_ms } = client;
        Self { username, addr, heartbeat_id, age_ms, leaderless_ms, seen_at: SeenAt::Unknown }
    }
}

impl From<UserV1> for ReplicatedUser {
    fn from(user: UserV1) -> Self {
        let UserV1 { username, id, addr, registered_at, metadata, credential } = user;
        Self { username, id, addr, registered_at, last_seen: None, metadata, credential }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::unhex;

    /// [`Rows::samples`] in version 1.
    const GOLDEN: &str = "\
        0305616c69636501000a000001a84603c801dc0bf0a204\
        03626f62010120010db8000000000000000000000003aa46ffffffffffffffffff0100ffffffffffffffffff\
        0100\
        056361726f6c0000010001\
        0305616c6963651000112233445566778899aabbccddeeff01000a000001a84614323032362d31312d333054\
        30363a30373a32395a137b22646576696365223a226c6170746f70227d00\
        03626f621000112233445566778899aabbccddeeff0014323032362d31312d33305430363a30373a32395a00\
        0103\
        056361726f6c1000112233445566778899aabbccddeeff010120010db8000000000000000000000003aa4614\
        323032362d31312d33305430363a30373a32395a000203ac02a00102030405060708090a0b0c0d0e0f";

    #[test]
    fn golden_bytes_of_version_1_decode_to_rows() {
        assert_eq!(decode(&unhex(GOLDEN)), Ok(Rows::samples().reduced_to_version_1()));
    }
}
