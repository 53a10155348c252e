//! Replication state of a leader.

use super::message::LogPosition;
use super::sent_batches::SentBatches;
use super::takeover::Takeover;
use crate::registry::Coverage;
use rollcall_core::{BootMs, Term};

/// Replication state of the leader of one term.
#[derive(Debug)]
pub(super) struct LeaderReplica {
    pub(super) term: Term,
    pub(super) status_sent_at: BootMs,
    /// The leader's coverage of the users.
    pub(super) users_coverage: Coverage,
    pub(super) sent: SentBatches,
    pub(super) takeover: Takeover,
}

impl LeaderReplica {
    /// A leader with this coverage of the clients that has sent no pull requests yet.
    pub(super) fn new(term: Term, clients_coverage: Coverage, now: BootMs) -> Self {
        Self {
            term,
            status_sent_at: now,
            users_coverage: Coverage::Partial,
            sent: SentBatches::default(),
            takeover: Takeover::new(clients_coverage, now),
        }
    }

    /// The position of the last batch.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition { term: self.term, number: self.sent.last_batch }
    }

    /// Takes the number of the next batch, and returns its position.
    pub(super) fn next_position(&mut self) -> LogPosition {
        self.sent.last_batch += 1;
        self.position()
    }
}
