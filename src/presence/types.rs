//! Data types shared by the presence table, its rows and the change log.

use serde::{Deserialize, Serialize};

use rollcall_core::{Addr, Term, Username, WallMs};

/// An online client, as a row of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnlineRow {
    /// The name.
    pub username: Username,
    /// The client's address; `None` if it never reported one.
    pub addr: Option<Addr>,
}

/// The result of a heartbeat of a client that was already online.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Renewal {
    /// The client's address; `None` if it never reported one.
    pub addr: Option<Addr>,
}

/// When and where a client was last seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LastSeen {
    /// Whether it is online.
    pub is_online: bool,
    /// Its last address; `None` if it never reported one.
    pub addr: Option<Addr>,
    /// The wall time of its last heartbeat.
    pub at: WallMs,
}

/// Identifies a heartbeat and orders all heartbeats of the cluster. There is one leader per term,
/// and it numbers the heartbeats that it accepts.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct HeartbeatId {
    pub(super) term: u64,
    /// Position among the heartbeats of the term.
    pub(super) seq: u64,
}

/// A client's last heartbeat, as one node sends it to another or writes it to a snapshot. Times
/// that decide are ages, because the clocks of the nodes differ.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ReplicatedClient {
    /// The name.
    pub username: Username,
    /// The client's address; `None` if it never reported one.
    pub addr: Option<Addr>,
    /// The last heartbeat.
    pub heartbeat_id: HeartbeatId,
    /// The age of that heartbeat, in milliseconds.
    pub age_ms: u64,
    /// The part of the age in which there was no leader, in milliseconds. Clients do not age in
    /// that time.
    pub leaderless_ms: u64,
    /// The wall time of that heartbeat, for display only.
    pub seen_at: SeenAt,
}

/// Wall time of a heartbeat in a row that nodes send to each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum SeenAt {
    /// The clock of the sender is not set. Only the age is known.
    Unknown,
    /// By the clock of the sender.
    Heard(WallMs),
    /// The row comes from a snapshot: any row that does not replaces it.
    Restored(WallMs),
}

impl ReplicatedClient {
    /// The row as restored from a snapshot of the time `written_at`, `ms` milliseconds later. The
    /// client does not age in that time.
    #[must_use]
    pub fn restored_after(mut self, ms: u64, written_at: WallMs) -> Self {
        self.seen_at = SeenAt::Restored(match self.seen_at {
            SeenAt::Unknown => written_at.minus(self.age_ms),
            SeenAt::Heard(seen_at) | SeenAt::Restored(seen_at) => seen_at,
        });
        self.age_ms = self.age_ms.saturating_add(ms);
        self.leaderless_ms = self.leaderless_ms.saturating_add(ms);
        self
    }
}

impl HeartbeatId {
    /// Largest position that another node may name. A leader that accepts a million heartbeats a
    /// second needs 8.9 years for that many.
    pub const MAX_SEQ: u64 = 1 << 48;

    /// The term of the leader that accepted the heartbeat.
    #[must_use]
    pub fn term(self) -> Term {
        Term(self.term)
    }

    /// The position of the heartbeat among those of its term.
    #[must_use]
    pub fn seq(self) -> u64 {
        self.seq
    }

    /// An id for tests of other modules.
    #[cfg(test)]
    pub(crate) fn of(term: u64, seq: u64) -> Self {
        Self { term, seq }
    }

    /// The id of the next heartbeat.
    pub(super) fn next(self) -> Self {
        Self { seq: self.seq + 1, ..self }
    }

    /// The id before the first heartbeat of `term`. Returns `self` if `term` has already begun or
    /// is over.
    pub(super) fn begin_term(self, term: u64) -> Self {
        if term > self.term { Self { term, seq: 0 } } else { self }
    }
}
