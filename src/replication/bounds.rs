//! Bounds on the messages of other nodes: values that no correct node sends.
//!
//! A message with an absurd number is ignored. Of the rows of other messages only those that may be
//! merged are kept, see `registry/replicated_rows/bounds.rs`.

use std::collections::BTreeMap;

use super::message::{Continuation, LogPosition, PullCursor, ReplicaMessage};
use crate::registry::{AbsurdValue, Rows, absurd_term, remove_absurd_values};
use rollcall_core::{BootMs, Term};
use rollcall_election::NodeId;

/// Largest number of a batch. A leader that sends a million batches a second needs 8.9 years in one
/// term for that many. The bound is not relative to the batches that a follower has: a follower
/// that joins late begins at any number.
const MAX_BATCHES: u64 = 1 << 48;

/// Shortest time between two log lines about one node, in milliseconds. A faulty node may repeat
/// its message without end.
const LOG_INTERVAL_MS: u64 = 60 * 1000;

/// The bounds, with the state that they depend on.
#[derive(Debug, Default)]
pub(super) struct MessageBounds {
    /// The highest term that the election has saved. A failed write does not lower it.
    saved_term: Term,
    /// When an absurd value of each node was last logged.
    logged_at: BTreeMap<NodeId, BootMs>,
}

impl MessageBounds {
    /// Records a term that the election has saved.
    pub(super) fn note_saved_term(&mut self, term: Term) {
        self.saved_term = self.saved_term.max(term);
    }

    /// Checks a message. Returns it without the rows that must not be merged, or `None` if it is
    /// ignored. Also returns an absurd value in it, if one must be logged now.
    pub(super) fn admit(
        &mut self,
        from: NodeId,
        mut message: ReplicaMessage,
        now: BootMs,
    ) -> (Option<ReplicaMessage>, Option<AbsurdValue>) {
        if let Some(absurd) = self.absurd_number(&message) {
            return (None, self.throttle(from, absurd, now));
        }
        let absurd = match &mut message {
            ReplicaMessage::Batch { rows, .. } | ReplicaMessage::PullResponse { rows, .. } => {
                remove_absurd_values(rows, self.saved_term)
            }
            ReplicaMessage::LeaderStatus { .. } | ReplicaMessage::Ack { .. } | ReplicaMessage::PullRequest { .. } => {
                None
            }
        };
        (Some(message), absurd.and_then(|absurd| self.throttle(from, absurd, now)))
    }

    /// The value, if it must be logged at `now`. There is one line per node and minute.
    pub(super) fn throttle(&mut self, from: NodeId, absurd: AbsurdValue, now: BootMs) -> Option<AbsurdValue> {
        let logged_at = self.logged_at.get(&from);
        let is_due = logged_at.is_none_or(|logged_at| now.since(*logged_at) >= LOG_INTERVAL_MS);
        is_due.then(|| {
            self.logged_at.insert(from, now);
            absurd
        })
    }

    /// The first absurd number of a message besides those in its rows.
    fn absurd_number(&self, message: &ReplicaMessage) -> Option<AbsurdValue> {
        let term = |field, term| absurd_term(field, term, self.saved_term);
        match message {
            ReplicaMessage::Batch { term: leader, number, rows } => {
                term("term", *leader).or(absurd_batch("number", *number)).or(absurd_size(rows))
            }
            ReplicaMessage::LeaderStatus { term: leader, last_batch, users_complete: _ } => {
                term("term", *leader).or(absurd_batch("last_batch", *last_batch))
            }
            ReplicaMessage::Ack { term: leader, after, up_to } => {
                term("term", *leader).or(absurd_batch("after", *after)).or(absurd_batch("up_to", *up_to))
            }
            ReplicaMessage::PullRequest { request_id: _, from } => self.absurd_cursor(from),
            ReplicaMessage::PullResponse { request_id: _, rows, next } => absurd_size(rows).or(match next {
                Continuation::More(cursor) => self.absurd_cursor(cursor),
                Continuation::End { is_complete: _, leading_term } => {
                    leading_term.and_then(|leading_term| term("leading_term", leading_term))
                }
            }),
        }
    }

    fn absurd_cursor(&self, cursor: &PullCursor) -> Option<AbsurdValue> {
        match cursor {
            PullCursor::Since(LogPosition { term, number }) => {
                absurd_term("cursor.term", *term, self.saved_term).or(absurd_batch("cursor.number", *number))
            }
            PullCursor::Clients(_) | PullCursor::Users(_) => None,
        }
    }
}

fn absurd_batch(field: &'static str, number: u64) -> Option<AbsurdValue> {
    (number > MAX_BATCHES).then(|| AbsurdValue { field, value: number.into() })
}

/// More rows than fit into one message of this node. It could not send them further.
fn absurd_size(rows: &Rows) -> Option<AbsurdValue> {
    let size = rows.size();
    let is_absurd = size > Rows::MAX_BYTES + Rows::MAX_ROW_BYTES;
    is_absurd.then(|| AbsurdValue { field: "rows", value: i128::try_from(size).unwrap_or(i128::MAX) })
}
