//! Rows that nodes send to each other and write to snapshots: clients and users.
//!
//! A row that arrives late is still correct, so a receiver merges every row.

pub(crate) mod bounds;
pub(crate) mod version_1;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::users::user_details::UserDetails;
use crate::presence::{BatchLimit, ReplicatedClient};
use crate::registry::auth::credential_state::CredentialState;
use rollcall_core::{Addr, Metadata, Profile, Term, UserId, Username};

/// A batch of client rows and user rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Last heartbeats of clients.
    pub clients: Vec<ReplicatedClient>,
    /// Registered users.
    pub users: Vec<ReplicatedUser>,
}

/// A registered user. Of the password, it contains at most the fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicatedUser {
    /// The name.
    pub username: Username,
    id: UserId,
    addr: Option<Addr>,
    registered_at: CompactString,
    last_seen: Option<Box<str>>,
    /// JSON text; empty if there is no metadata. JSON, because postcard cannot decode a value whose
    /// type is not known before.
    metadata: String,
    credential: CredentialState,
}

/// Number of a user row in the index. A row gets the next number when it is inserted and each time
/// it is queued for replication again.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct RowNo(u64);

/// Approximate upper limit of an encoded client row without the username, in bytes.
const CLIENT_ROW_BYTES: usize = 64;

/// Approximate upper limit of an encoded user row without its texts, in bytes.
const USER_ROW_BYTES: usize = 80;

/// Maximum number of clients in one batch.
const MAX_CLIENTS: usize = 400;

impl RowNo {
    /// The next number.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// A row number for tests of other modules.
    #[cfg(test)]
    pub(crate) fn after(before: Self) -> Self {
        before.next()
    }
}

impl Rows {
    /// Version of the encoded rows. The encoded rows do not contain it. The first line of a
    /// snapshot and the protocol between nodes contain their own versions, which must change
    /// together with this version. A `const` assertion in each of those files enforces that.
    pub const VERSION: u32 = 2;

    /// Approximate upper limit of one batch, in bytes. A batch that exceeds it by one row still
    /// fits into a frame.
    pub const MAX_BYTES: usize = 40 * 1024;

    /// Upper limit of one row, in bytes: a user with the longest texts.
    pub const MAX_ROW_BYTES: usize =
        USER_ROW_BYTES + Username::MAX_BYTES + 2 * Profile::MAX_TIME_BYTES + Metadata::MAX_BYTES;

    /// Limit of the clients in one batch. Names of usual length do not reach the limit of bytes.
    pub(crate) const CLIENTS: BatchLimit =
        BatchLimit { rows: MAX_CLIENTS, name_bytes: Self::MAX_BYTES - MAX_CLIENTS * CLIENT_ROW_BYTES };

    /// A user row for tests that use only the username.
    #[cfg(test)]
    pub(crate) fn of_user(username: Username) -> Self {
        Self::of_user_with(username, CredentialState::Open)
    }

    /// A user row for tests that use only the username and the state of the password.
    #[cfg(test)]
    pub(crate) fn of_user_with(username: Username, credential: CredentialState) -> Self {
        let (id, registered_at) = (UserId::nil(), CompactString::default());
        let user = ReplicatedUser {
            username,
            id,
            addr: None,
            registered_at,
            last_seen: None,
            metadata: String::new(),
            credential,
        };
        Self { users: vec![user], clients: Vec::new() }
    }

    /// One row of every kind, for the golden-bytes tests. Adjacent fields of the same type have
    /// different values.
    #[cfg(test)]
    pub(crate) fn samples() -> Self {
        tests::samples()
    }

    /// The rows without the values that version 1 does not have.
    #[cfg(test)]
    pub(crate) fn reduced_to_version_1(mut self) -> Self {
        for client in &mut self.clients {
            client.seen_at = crate::presence::SeenAt::Unknown;
        }
        for user in &mut self.users {
            user.last_seen = None;
        }
        self
    }

    /// The rows without password fingerprints, for snapshots: the password may change before the
    /// snapshot is read. Each row still says whether the user has a password.
    #[must_use]
    pub fn without_fingerprints(mut self) -> Self {
        for user in &mut self.users {
            user.credential = user.credential.invalidated(Term::default());
        }
        self
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len() + self.users.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Approximate size of the encoded rows in bytes; never less than the real size.
    #[must_use]
    pub fn size(&self) -> usize {
        let clients: usize = self.clients.iter().map(|client| CLIENT_ROW_BYTES + client.username.as_str().len()).sum();
        clients + self.users.iter().map(ReplicatedUser::size).sum::<usize>()
    }

    /// Appends the rows of `others`.
    pub fn extend(&mut self, others: &Self) {
        self.clients.extend_from_slice(&others.clients);
        self.users.extend_from_slice(&others.users);
    }
}

impl ReplicatedUser {
    pub(crate) fn new(username: Username, details: &UserDetails, credential: CredentialState) -> Self {
        let UserDetails { id, addr, registered_at, last_seen, metadata } = details;
        let metadata = if metadata.is_empty() {
            String::new()
        } else {
            serde_json::to_string(metadata).expect("a JSON object has text keys")
        };
        let (registered_at, last_seen) = (registered_at.clone(), last_seen.clone());
        Self { username, id: *id, addr: *addr, registered_at, last_seen, metadata, credential }
    }

    /// The cached state of the user's password.
    pub(crate) fn credential(&self) -> CredentialState {
        self.credential
    }

    /// Approximate size of the encoded row in bytes; never less than the real size.
    pub(crate) fn size(&self) -> usize {
        let last_seen = self.last_seen.as_deref().map_or(0, str::len);
        USER_ROW_BYTES + self.username.as_str().len() + self.registered_at.len() + last_seen + self.metadata.len()
    }

    /// The user's details; `None` if the metadata is not valid.
    pub(crate) fn details(&self) -> Option<UserDetails> {
        let metadata = match self.metadata.as_str() {
            "" => Metadata::default(),
            json => serde_json::from_str(json).ok()?,
        };
        let (registered_at, last_seen) = (self.registered_at.clone(), self.last_seen.clone());
        Some(UserDetails { id: self.id, addr: self.addr, registered_at, last_seen, metadata })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::presence::{HeartbeatId, SeenAt};
    use crate::registry::auth::credential_state::PasswordFingerprint;
    use crate::registry::testing::{hex, tags, unhex};
    use rollcall_core::WallMs;

    /// Encoded bytes of [`samples`] in version 2.
    const GOLDEN: &str = "\
        0305616c69636501000a000001a84603c801dc0bf0a204018efe85b1c568\
        03626f62010120010db8000000000000000000000003aa46ffffffffffffffffff0100ffffffffffffffffff\
        010002ffffffffffffffffff01\
        056361726f6c000001000100\
        0305616c6963651000112233445566778899aabbccddeeff01000a000001a84614323032362d31312d333054\
        30363a30373a32395a011e323032352d31322d30365431383a32303a32352e3132333435363738395a137b22\
        646576696365223a226c6170746f70227d00\
        03626f621000112233445566778899aabbccddeeff0014323032362d31312d33305430363a30373a32395a00\
        000103\
        056361726f6c1000112233445566778899aabbccddeeff010120010db8000000000000000000000003aa4614\
        323032362d31312d33305430363a30373a32395a00000203ac02a00102030405060708090a0b0c0d0e0f";

    fn addr(text: &str) -> Option<Addr> {
        Addr::new(text.parse::<SocketAddr>().unwrap())
    }

    fn client(
        name: &str,
        addr: Option<Addr>,
        heartbeat_id: HeartbeatId,
        [age_ms, leaderless_ms]: [u64; 2],
        seen_at: SeenAt,
    ) -> ReplicatedClient {
        let username = Username::parse(name).unwrap();
        ReplicatedClient { username, addr, heartbeat_id, age_ms, leaderless_ms, seen_at }
    }

    fn user(
        name: &str,
        addr: Option<Addr>,
        last_seen: Option<&str>,
        metadata: &str,
        credential: CredentialState,
    ) -> ReplicatedUser {
        ReplicatedUser {
            username: Username::parse(name).unwrap(),
            id: UserId::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            addr,
            registered_at: "2026-11-30T06:07:29Z".into(),
            last_seen: last_seen.map(Into::into),
            metadata: metadata.to_owned(),
            credential,
        }
    }

    /// One row of every kind.
    pub(super) fn samples() -> Rows {
        let fingerprint = PasswordFingerprint::from_bytes([0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let heard = SeenAt::Heard(WallMs::new(1_796_018_847_623));
        let restored = SeenAt::Restored(WallMs::new(i64::MIN));
        Rows {
            clients: vec![
                client("alice", addr("10.0.0.1:9000"), HeartbeatId::of(3, 200), [1500, 70_000], heard),
                client("bob", addr("[2001:db8::3]:9002"), HeartbeatId::of(u64::MAX, 0), [u64::MAX, 0], restored),
                client("carol", None, HeartbeatId::of(0, 1), [0, 1], SeenAt::Unknown),
            ],
            users: vec![
                user(
                    "alice",
                    addr("10.0.0.1:9000"),
                    Some("2025-12-06T18:20:25.123456789Z"),
                    r#"{"device":"laptop"}"#,
                    CredentialState::Open,
                ),
                user("bob", None, None, "", CredentialState::Unread { term: Term(3) }),
                user(
                    "carol",
                    addr("[2001:db8::3]:9002"),
                    None,
                    "",
                    CredentialState::Known { term: Term(3), version: 300, fingerprint },
                ),
            ],
        }
    }

    #[test]
    fn rows_have_their_golden_bytes() {
        assert_eq!(hex(&postcard::to_stdvec(&samples()).unwrap()), GOLDEN);
    }

    #[test]
    fn golden_bytes_decode_to_the_rows() {
        assert_eq!(postcard::from_bytes::<Rows>(&unhex(GOLDEN)).unwrap(), samples());
    }

    #[test]
    fn the_golden_bytes_cover_every_kind_of_wall_time() {
        let kinds = samples().clients.into_iter().map(|client| postcard::to_stdvec(&client.seen_at).unwrap()[0]);
        let mut kinds = kinds.collect::<Vec<u8>>();
        kinds.sort_unstable();
        assert_eq!(kinds, tags::<SeenAt>());
    }

    #[test]
    fn the_golden_bytes_cover_every_credential_state() {
        let states = samples().users.into_iter().map(|user| postcard::to_stdvec(&user.credential).unwrap()[0]);
        assert_eq!(states.collect::<Vec<u8>>(), tags::<CredentialState>());
    }
}
