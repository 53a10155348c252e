//! What a registry tells another node's: rows of clients and of users. Both are true whenever they arrive, so they are
//! merged without a question.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::presence::Beat;
use crate::registry::auth::credential_state::Guard;
use rollcall_core::{Addr, Metadata, Term, UserId, Username};

/// Rows of clients and of users.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The last heartbeats of clients.
    pub beats: Vec<Beat>,
    /// Registered users.
    pub users: Vec<UserFacts>,
}

/// A registered user, without the password, and without its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserFacts {
    /// The name.
    pub username: Username,
    id: UserId,
    addr: Option<Addr>,
    registered_at: CompactString,
    /// As JSON, since it describes itself; empty if there is none.
    metadata: String,
    guard: Guard,
}

/// Counts the rows that were put into an index, or announced again.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct RowNo(u64);

/// About as many bytes as a row of a client has at most, next to its name.
const BEAT_BYTES: usize = 56;

/// About as many bytes as a row of a user has at most, next to its texts.
const USER_BYTES: usize = 80;

impl RowNo {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// For tests of other parts.
    #[cfg(test)]
    pub(crate) fn after(before: Self) -> Self {
        before.next()
    }
}

impl Rows {
    /// Version of the encoded rows. The rows do not carry it: the snapshot's first line and the protocol of the links
    /// between nodes tell versions apart. Both numbers change with this one, and a `const` assertion in each of
    /// those files fails until that is done.
    pub const VERSION: u32 = 1;

    /// About the most bytes that are given at once; with one row more it still fits into a frame.
    pub const MOST_BYTES: usize = 40 * 1024;

    /// The most clients that are given at once.
    pub(crate) const MOST_BEATS: usize = 400;

    /// A user of whom only the name matters.
    #[cfg(test)]
    pub(crate) fn of_user(username: Username) -> Self {
        let (id, registered_at) = (UserId::nil(), CompactString::default());
        let user = UserFacts { username, id, addr: None, registered_at, metadata: String::new(), guard: Guard::Open };
        Self { users: vec![user], beats: Vec::new() }
    }

    /// Rows of every kind for the tests of encoded bytes. Neighbouring fields of one type have different values.
    #[cfg(test)]
    pub(crate) fn samples() -> Self {
        tests::samples()
    }

    /// The same, with no more said of passwords than that there are some: for where it will be read only later.
    #[must_use]
    pub fn without_marks(mut self) -> Self {
        for user in &mut self.users {
            user.guard = user.guard.unread(Term::default());
        }
        self
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.beats.len() + self.users.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About as many bytes as they have encoded, or more.
    #[must_use]
    pub fn size(&self) -> usize {
        let beats: usize = self.beats.iter().map(|beat| BEAT_BYTES + beat.username.as_str().len()).sum();
        beats + self.users.iter().map(UserFacts::size).sum::<usize>()
    }

    /// Adds the rows of `others`.
    pub fn extend(&mut self, others: &Self) {
        self.beats.extend_from_slice(&others.beats);
        self.users.extend_from_slice(&others.users);
    }
}

impl UserFacts {
    pub(crate) fn new(username: Username, facts: &Facts, guard: Guard) -> Self {
        let Facts { id, addr, registered_at, metadata } = facts;
        let metadata = if metadata.is_empty() {
            String::new()
        } else {
            serde_json::to_string(metadata).expect("a JSON object has text keys")
        };
        Self { username, id: *id, addr: *addr, registered_at: registered_at.clone(), metadata, guard }
    }

    /// What is known of the password.
    pub(crate) fn guard(&self) -> Guard {
        self.guard
    }

    /// About as many bytes as it has encoded, or more.
    pub(crate) fn size(&self) -> usize {
        USER_BYTES + self.username.as_str().len() + self.registered_at.len() + self.metadata.len()
    }

    /// What the row says; `None` if its metadata breaks the rule for them.
    pub(crate) fn facts(&self) -> Option<Facts> {
        let metadata = match self.metadata.as_str() {
            "" => Metadata::default(),
            json => serde_json::from_str(json).ok()?,
        };
        Some(Facts { id: self.id, addr: self.addr, registered_at: self.registered_at.clone(), metadata })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::presence::Stamp;
    use crate::registry::auth::credential_state::Mark;
    use crate::registry::testing::{hex, tags, unhex};

    /// The bytes of [`samples`] in version 1.
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

    fn addr(text: &str) -> Option<Addr> {
        Addr::new(text.parse::<SocketAddr>().unwrap())
    }

    fn beat(name: &str, addr: Option<Addr>, stamp: Stamp, age_ms: u64, forgiven_ms: u64) -> Beat {
        Beat { username: Username::parse(name).unwrap(), addr, stamp, age_ms, forgiven_ms }
    }

    fn user(name: &str, addr: Option<Addr>, metadata: &str, guard: Guard) -> UserFacts {
        UserFacts {
            username: Username::parse(name).unwrap(),
            id: UserId::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            addr,
            registered_at: "2026-11-30T06:07:29Z".into(),
            metadata: metadata.to_owned(),
            guard,
        }
    }

    /// One row of every kind.
    pub(super) fn samples() -> Rows {
        let mark = Mark::from_bytes([0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        Rows {
            beats: vec![
                beat("alice", addr("10.0.0.1:9000"), Stamp::of(3, 200), 1500, 70_000),
                beat("bob", addr("[2001:db8::3]:9002"), Stamp::of(u64::MAX, 0), u64::MAX, 0),
                beat("carol", None, Stamp::of(0, 1), 0, 1),
            ],
            users: vec![
                user("alice", addr("10.0.0.1:9000"), r#"{"device":"laptop"}"#, Guard::Open),
                user("bob", None, "", Guard::Unread { epoch: Term(3) }),
                user("carol", addr("[2001:db8::3]:9002"), "", Guard::Known { epoch: Term(3), version: 300, mark }),
            ],
        }
    }

    #[test]
    fn rows_have_their_golden_bytes() {
        assert_eq!(hex(&postcard::to_stdvec(&samples()).unwrap()), GOLDEN);
    }

    #[test]
    fn golden_bytes_are_read_as_the_rows() {
        assert_eq!(postcard::from_bytes::<Rows>(&unhex(GOLDEN)).unwrap(), samples());
    }

    #[test]
    fn every_kind_of_guard_is_among_the_golden_bytes() {
        let guards = samples().users.into_iter().map(|user| postcard::to_stdvec(&user.guard).unwrap()[0]);
        assert_eq!(guards.collect::<Vec<u8>>(), tags::<Guard>());
    }
}
