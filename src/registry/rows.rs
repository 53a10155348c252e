//! What a registry tells another node's: rows of clients and of users. Both are true whenever they arrive, so they are
//! merged without a question.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::Epoch;
use super::guard::Guard;
use super::index::Facts;
use crate::presence::Beat;
use rollcall_core::{Addr, Metadata, UserId, Username};

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
    pub(super) fn next(self) -> Self {
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
    pub(super) const MOST_BEATS: usize = 400;

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
            user.guard = user.guard.unread(Epoch::default());
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
    pub(super) fn new(username: Username, facts: &Facts, guard: Guard) -> Self {
        let Facts { id, addr, registered_at, metadata } = facts;
        let metadata = if metadata.is_empty() {
            String::new()
        } else {
            serde_json::to_string(metadata).expect("a JSON object has text keys")
        };
        Self { username, id: *id, addr: *addr, registered_at: registered_at.clone(), metadata, guard }
    }

    /// What is known of the password.
    pub(super) fn guard(&self) -> Guard {
        self.guard
    }

    /// About as many bytes as it has encoded, or more.
    pub(super) fn size(&self) -> usize {
        USER_BYTES + self.username.as_str().len() + self.registered_at.len() + self.metadata.len()
    }

    /// What the row says; `None` if its metadata breaks the rule for them.
    pub(super) fn facts(&self) -> Option<Facts> {
        let metadata = match self.metadata.as_str() {
            "" => Metadata::default(),
            json => serde_json::from_str(json).ok()?,
        };
        Some(Facts { id: self.id, addr: self.addr, registered_at: self.registered_at.clone(), metadata })
    }
}

#[cfg(test)]
mod tests;
