//! Data types that the table, its rows and the change log share.

use serde::{Deserialize, Serialize};

use rollcall_core::{Addr, Username};

/// A client that is online.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnlineRow {
    /// The name.
    pub username: Username,
    /// Where to reach it, if it ever told.
    pub addr: Option<Addr>,
}

/// A client that was online stays so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Renewal {
    /// Where to reach it, if it ever told.
    pub addr: Option<Addr>,
}

/// What is remembered of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LastSeen {
    /// Whether it is online.
    pub is_online: bool,
    /// Where it was reached last, if it ever told.
    pub addr: Option<Addr>,
    /// How long ago its last heartbeat came, our own pauses included.
    pub ago_ms: u64,
}

/// Which heartbeat a row tells of. Greater ones came later: there is one leader an term, and it counts them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct HeartbeatId {
    pub(super) term: u64,
    pub(super) seq: u64,
}

/// A client's last heartbeat, as one node tells it to another. Times are ages, for clocks differ.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ReplicatedClient {
    /// Who.
    pub username: Username,
    /// Where it can be reached, if it ever told.
    pub addr: Option<Addr>,
    /// Which heartbeat.
    pub heartbeat_id: HeartbeatId,
    /// How long ago it came, in milliseconds.
    pub age_ms: u64,
    /// How much of that does not count, because no leader served.
    pub leaderless_ms: u64,
}

impl ReplicatedClient {
    /// What a process remembers that is started when `ms` more have passed, of which none counts: something older than
    /// whatever it is told.
    #[must_use]
    pub fn restored_after(mut self, ms: u64) -> Self {
        self.heartbeat_id = HeartbeatId::default();
        self.age_ms = self.age_ms.saturating_add(ms);
        self.leaderless_ms = self.leaderless_ms.saturating_add(ms);
        self
    }
}

impl HeartbeatId {
    /// A stamp for tests of other parts.
    #[cfg(test)]
    pub(crate) fn of(term: u64, seq: u64) -> Self {
        Self { term, seq }
    }

    /// The stamp of the heartbeat after this one.
    pub(super) fn next(self) -> Self {
        Self { seq: self.seq + 1, ..self }
    }

    /// The stamp before the first heartbeat of `term`, unless that has begun or is over.
    pub(super) fn begin_term(self, term: u64) -> Self {
        if term > self.term { Self { term, seq: 0 } } else { self }
    }
}
