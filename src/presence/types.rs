//! Data types that the table, its rows and the change log share.

use serde::{Deserialize, Serialize};

use rollcall_core::{Addr, Username};

/// A client that is online.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Online {
    /// The name.
    pub username: Username,
    /// Where to reach it, if it ever told.
    pub addr: Option<Addr>,
}

/// A client that was online stays so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Renewed {
    /// Where to reach it, if it ever told.
    pub addr: Option<Addr>,
}

/// What is remembered of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Whether it is online.
    pub online: bool,
    /// Where it was reached last, if it ever told.
    pub addr: Option<Addr>,
    /// How long ago its last heartbeat came, our own pauses included.
    pub ago_ms: u64,
}

/// Which heartbeat a row tells of. Greater ones came later: there is one leader an epoch, and it counts them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Stamp {
    pub(super) epoch: u64,
    pub(super) serial: u64,
}

/// A client's last heartbeat, as one node tells it to another. Times are ages, for clocks differ.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Who.
    pub username: Username,
    /// Where it can be reached, if it ever told.
    pub addr: Option<Addr>,
    /// Which heartbeat.
    pub stamp: Stamp,
    /// How long ago it came, in milliseconds.
    pub age_ms: u64,
    /// How much of that does not count, because no leader served.
    pub forgiven_ms: u64,
}

impl Beat {
    /// What a process remembers that is started when `ms` more have passed, of which none counts: something older than
    /// whatever it is told.
    #[must_use]
    pub fn remembered(mut self, ms: u64) -> Self {
        self.stamp = Stamp::default();
        self.age_ms = self.age_ms.saturating_add(ms);
        self.forgiven_ms = self.forgiven_ms.saturating_add(ms);
        self
    }
}

impl Stamp {
    /// A stamp for tests of other parts.
    #[cfg(test)]
    pub(crate) fn of(epoch: u64, serial: u64) -> Self {
        Self { epoch, serial }
    }

    /// The stamp of the heartbeat after this one.
    pub(super) fn next(self) -> Self {
        Self { serial: self.serial + 1, ..self }
    }

    /// The stamp before the first heartbeat of `epoch`, unless that has begun or is over.
    pub(super) fn begin(self, epoch: u64) -> Self {
        if epoch > self.epoch { Self { epoch, serial: 0 } } else { self }
    }
}
