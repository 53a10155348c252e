//! A leader's part in the replication.

use super::message::Position;
use super::sent_batches::SentBatches;
use super::takeover::Takeover;
use crate::registry::Coverage;
use rollcall_core::{BootMs, Term};

/// The leader of one term.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) term: Term,
    pub(super) pulsed_at: BootMs,
    /// How much of the users it has.
    pub(super) users: Coverage,
    pub(super) sent: SentBatches,
    pub(super) takeover: Takeover,
}

impl Leading {
    /// A leader that asks nobody yet and has so much of the clients.
    pub(super) fn new(term: Term, clients: Coverage, now: BootMs) -> Self {
        Self {
            term,
            pulsed_at: now,
            users: Coverage::Partial,
            sent: SentBatches::default(),
            takeover: Takeover::new(clients, now),
        }
    }

    /// The position of its last batch.
    pub(super) fn position(&self) -> Position {
        Position { term: self.term, number: self.sent.number }
    }

    /// Counts one more batch; its position.
    pub(super) fn next_position(&mut self) -> Position {
        self.sent.number += 1;
        self.position()
    }
}
