//! Rule 1, persistence of the ballot: the term and vote in memory and on disk.

use super::event_context::EventContext;
use crate::process::{Ballot, NodeId};
use rollcall_core::{BootMs, Term};

/// The ballot in memory, on disk, and on its way to the disk.
///
/// Invariant: no message that depends on `current` is sent unless `saved` equals it. `current.term`
/// never decreases.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct DurableBallot {
    /// The ballot in memory.
    pub(super) current: Ballot,
    /// The ballot that is safely on disk.
    pub(super) saved: Option<Ballot>,
    /// The ballot that is being written.
    pub(super) saving: Option<Ballot>,
    /// Messages that wait until `current` is on disk.
    pub(super) pending: Option<PendingReplies>,
    /// The highest term seen in any message. It is not part of the ballot, so that a message with a
    /// higher term causes no disk write.
    pub(super) highest_seen_term: Term,
    /// The highest term that was on disk. Unlike `saved`, a failed write does not reset it.
    pub(super) highest_saved_term: Term,
}

/// Messages that are sent when `current` is on disk (rule 1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum PendingReplies {
    /// The vote requests of a campaign.
    VoteRequests,
    /// A granted vote.
    Grant { to: NodeId, asked_at: BootMs },
    /// The acknowledgement of a heartbeat.
    Ack { to: NodeId, sent_at: BootMs },
}

impl DurableBallot {
    /// `found` is the ballot that the process found on disk at its start.
    pub(super) fn new(found: Option<Ballot>) -> Self {
        let current = found.unwrap_or_default();
        Self {
            current,
            saved: found,
            saving: None,
            pending: None,
            highest_seen_term: Term(0),
            highest_saved_term: current.term,
        }
    }

    pub(super) fn term(&self) -> Term {
        self.current.term
    }

    pub(super) fn is_saved(&self) -> bool {
        self.saved == Some(self.current)
    }

    /// The highest term that another node may name. It depends only on what was on disk: no number
    /// of messages raises it before a ballot is written.
    pub(super) fn term_limit(&self) -> Term {
        self.highest_saved_term.limit()
    }

    /// The term of the next campaign: one after all known terms.
    pub(super) fn next_term(&self) -> Term {
        self.current.term.max(self.highest_seen_term).next()
    }

    pub(super) fn observe_term(&mut self, term: Term) {
        self.highest_seen_term = self.highest_seen_term.max(term);
    }

    /// Saves `current` if it is not on disk yet. `pending` replaces the earlier pending messages.
    /// If the ballot is on disk already, the caller sends `pending`.
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
        self.highest_saved_term = self.highest_saved_term.max(ballot.term);
        self.saving = self.saving.filter(|saving| *saving != ballot);
    }

    /// A write failed. Returns whether it was the write of `current`.
    pub(super) fn mark_write_failed(&mut self, ballot: Ballot) -> bool {
        self.saving = self.saving.filter(|saving| *saving != ballot);
        if ballot != self.current {
            return false;
        }
        // The file may contain either ballot now. Neither counts as saved until a write succeeds.
        self.saved = None;
        self.pending = None;
        true
    }
}
