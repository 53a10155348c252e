//! Rule 1: the term and the vote, and what of them is on disk.

use super::event_context::EventContext;
use crate::process::{Ballot, NodeId};
use rollcall_core::{BootMs, Term};

/// The ballot in memory, on disk and on its way there.
///
/// Invariant: nothing that depends on `current` was sent unless `saved` equals it; `current.term`
/// never goes back.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct DurableBallot {
    pub(super) current: Ballot,
    /// What is on disk for certain.
    pub(super) saved: Option<Ballot>,
    /// What is on its way to the disk.
    pub(super) saving: Option<Ballot>,
    /// Messages that wait until `current` is on disk.
    pub(super) pending: Option<PendingReplies>,
    /// The highest term heard of. Kept apart from the ballot, so that hearsay costs no write.
    pub(super) highest_seen_term: Term,
}

/// What leaves as soon as the present ballot is on disk (rule 1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum PendingReplies {
    VoteRequests,
    Grant { to: NodeId, asked_at: BootMs },
    Ack { to: NodeId, sent_at: BootMs },
}

impl DurableBallot {
    /// The ballot that a process found on disk when it started.
    pub(super) fn new(found: Option<Ballot>) -> Self {
        let current = found.unwrap_or_default();
        Self { current, saved: found, saving: None, pending: None, highest_seen_term: Term(0) }
    }

    pub(super) fn term(&self) -> Term {
        self.current.term
    }

    pub(super) fn is_saved(&self) -> bool {
        self.saved == Some(self.current)
    }

    /// The term to stand in next: later than all that were heard of.
    pub(super) fn next_term(&self) -> Term {
        self.current.term.max(self.highest_seen_term).next()
    }

    pub(super) fn observe_term(&mut self, term: Term) {
        self.highest_seen_term = self.highest_seen_term.max(term);
    }

    /// Makes the present ballot durable, if it is not yet; `pending` replaces what waited for it.
    /// If it is on disk already, the caller sends `pending`.
    pub(super) fn save(&mut self, pending: Option<PendingReplies>, ctx: &mut EventContext) {
        self.pending = pending;
        if !self.is_saved() && self.saving != Some(self.current) {
            self.saving = Some(self.current);
            ctx.save(self.current);
        }
    }

    /// A write succeeded.
    pub(super) fn mark_saved(&mut self, ballot: Ballot) {
        self.saved = Some(ballot);
        self.saving = self.saving.filter(|saving| *saving != ballot);
    }

    /// A write failed. Returns whether it was that of the present ballot.
    pub(super) fn mark_write_failed(&mut self, ballot: Ballot) -> bool {
        self.saving = self.saving.filter(|saving| *saving != ballot);
        if ballot != self.current {
            return false;
        }
        // The file may hold either ballot now, so neither counts as saved until a write succeeds.
        self.saved = None;
        self.pending = None;
        true
    }
}
