//! Catch-up from one node: one pull request at a time, each repeated until its response arrives.

use super::message::{Continuation, PullCursor, ReplicaMessage};
use rollcall_core::BootMs;

/// Time without a response after which a pull request is sent again, in milliseconds.
const RETRY_AFTER_MS: u64 = 500;

/// Ids of pull requests. They start at a random number: a late response to an earlier process of
/// this node must match no request of this process.
#[derive(Debug)]
pub(super) struct RequestIds(u64);

/// A catch-up in progress: its current request, which has no response yet.
#[derive(Debug)]
pub(super) struct CatchUp {
    request_id: u64,
    from: PullCursor,
    sent_at: BootMs,
}

impl RequestIds {
    /// Ids that count up from a random number.
    pub(super) fn starting_after(random: u64) -> Self {
        Self(random)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

impl CatchUp {
    /// Starts a catch-up, and returns its first request.
    pub(super) fn start(from: PullCursor, ids: &mut RequestIds, now: BootMs) -> (Self, ReplicaMessage) {
        let this = Self { request_id: ids.next(), from, sent_at: now };
        let request = this.request();
        (this, request)
    }

    /// The current request again, if there was no response for [`RETRY_AFTER_MS`].
    pub(super) fn retry_if_due(&mut self, now: BootMs) -> Option<ReplicaMessage> {
        let is_due = now.since(self.sent_at) >= RETRY_AFTER_MS;
        is_due.then(|| {
            self.sent_at = now;
            self.request()
        })
    }

    /// Whether a response with this id answers the current request.
    pub(super) fn is_answered_by(&self, request_id: u64) -> bool {
        self.request_id == request_id
    }

    /// The request for the next rows, if the last response says that there are more.
    pub(super) fn next_request(
        &mut self,
        next: &Continuation,
        ids: &mut RequestIds,
        now: BootMs,
    ) -> Option<ReplicaMessage> {
        let Continuation::More(from) = next else { return None };
        (self.request_id, self.from, self.sent_at) = (ids.next(), from.clone(), now);
        Some(self.request())
    }

    fn request(&self) -> ReplicaMessage {
        ReplicaMessage::PullRequest { request_id: self.request_id, from: self.from.clone() }
    }
}
