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
    /// When the last status message was sent.
    pub(super) status_sent_at: BootMs,
    /// The leader's coverage of the users.
    pub(super) users_coverage: Coverage,
    pub(super) sent: SentBatches,
    pub(super) takeover: Takeover,
}

impl LeaderReplica {
    /// The state at the start of `term`: no batch and no pull request has been sent.
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

    /// Assigns the next batch number, and returns the position of that batch.
    pub(super) fn next_position(&mut self) -> LogPosition {
        self.sent.last_batch += 1;
        self.position()
    }
}
