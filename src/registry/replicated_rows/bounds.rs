//! Bounds on the rows of other nodes and of snapshots: values that no correct node
//! writes. Pure.
//!
//! The merge rules keep the row with the greatest heartbeat id or term. So one row with an absurd
//! value would win against every correct row that follows.

use super::{ReplicatedUser, Rows};
use crate::presence::{HeartbeatId, ReplicatedClient, SeenAt};
use rollcall_core::{Metadata, Profile, Term};

/// A value that no correct node writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AbsurdValue {
    /// The field.
    pub field: &'static str,
    /// The value. Of a text, its length in bytes.
    pub value: i128,
}

/// Removes everything from `rows` that a node must not merge. `saved` is the highest term that the
/// node has saved. Returns the first absurd value, for the log.
///
/// Values of a term above `saved` are not absurd. Their sender has learned a term that this node
/// has not, so they come again: this node follows no leader of that term yet, and when it does, it
/// catches up from a position of an earlier term. Until then:
///
/// * The last heartbeat of a client is removed.
/// * A user is kept, because no other node may have it, and this node may acknowledge or report the
///   row. Only the state of its password is not believed: the password must be read again.
///
/// Rows of clients from a snapshot may have any possible term, because any heartbeat replaces them.
pub fn remove_absurd_values(rows: &mut Rows, saved: Term) -> Option<AbsurdValue> {
    let mut first = None;
    rows.clients.retain(|client| {
        let absurd = absurd_value_of_client(client, saved);
        first = first.or(absurd);
        let is_restored = matches!(client.seen_at, SeenAt::Restored(_));
        absurd.is_none() && (is_restored || client.heartbeat_id.term() <= saved)
    });
    rows.users.retain_mut(|user| {
        let absurd = absurd_text_of_user(user);
        first = first.or(absurd);
        let term = user.credential.term();
        if term > saved {
            first = first.or(absurd_term("credential.term", term, saved));
            user.credential = user.credential.invalidated(saved);
        }
        absurd.is_none()
    });
    first
}

/// The absurd value, if `term` is one for a node that has saved the term `saved`.
#[must_use]
pub fn absurd_term(field: &'static str, term: Term, saved: Term) -> Option<AbsurdValue> {
    (term > saved.limit()).then(|| AbsurdValue { field, value: term.0.into() })
}

fn absurd_value_of_client(client: &ReplicatedClient, saved: Term) -> Option<AbsurdValue> {
    let id = client.heartbeat_id;
    let seq =
        (id.seq() > HeartbeatId::MAX_SEQ).then(|| AbsurdValue { field: "heartbeat_id.seq", value: id.seq().into() });
    let seen_at = match client.seen_at {
        SeenAt::Heard(at) | SeenAt::Restored(at) if !at.is_displayable() => {
            Some(AbsurdValue { field: "seen_at", value: at.unix_ms().into() })
        }
        SeenAt::Heard(_) | SeenAt::Restored(_) | SeenAt::Unknown => None,
    };
    // The ages need no bound: the table subtracts them from its clocks down to 0. A row with a huge
    // age is that of a client which is offline.
    absurd_term("heartbeat_id.term", id.term(), saved).or(seq).or(seen_at)
}

/// A text that is longer than in any profile. It would not fit into one message with other rows.
fn absurd_text_of_user(user: &ReplicatedUser) -> Option<AbsurdValue> {
    let last_seen = user.last_seen.as_deref().unwrap_or_default();
    let texts = [
        ("registered_at", user.registered_at.len(), Profile::MAX_TIME_BYTES),
        ("last_seen", last_seen.len(), Profile::MAX_TIME_BYTES),
        ("metadata", user.metadata.len(), Metadata::MAX_BYTES),
    ];
    let (field, length, _) = texts.into_iter().find(|(_, length, limit)| length > limit)?;
    Some(AbsurdValue { field, value: i128::try_from(length).unwrap_or(i128::MAX) })
}
