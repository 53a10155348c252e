//! What replicas say to each other, and its codec: postcard, a compact form that serde reads and writes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::registry::Rows;
use rollcall_core::{Term, Username};
use rollcall_election::PROTOCOL;

/// Protocol of the election links that the bytes of this file belong to. The messages do not carry a version of their own:
/// nodes whose protocols differ refuse each other's links. To change the bytes, raise `PROTOCOL` and this number.
const BYTES_OF_PROTOCOL: u32 = 4;

const _: () = assert!(BYTES_OF_PROTOCOL == PROTOCOL, "look whether the bytes of messages changed as well");
const _: () = assert!(Rows::VERSION == 1, "other rows are another protocol of the links");

/// What one replica says to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// The leader of `term`: its `number`th batch.
    Batch { term: Term, number: u64, rows: Rows },
    /// The leader of `term`: "I am here, and with batch `number` I have told everything."
    Pulse {
        term: Term,
        number: u64,
        /// Whether its list of users is whole.
        whole: bool,
    },
    /// To the leader of `term`: "I have your batches after `base` up to `upto`", and with a base of 0 also all that you
    /// knew before.
    Seen { term: Term, base: u64, upto: u64 },
    /// "Tell me what comes after `from`." Changes nothing at the one who is asked.
    Pull { ask: u64, from: Cursor },
    /// The answer to one [`Message::Pull`].
    Part { ask: u64, rows: Rows, next: Next },
}

/// A place in everything that a replica knows.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Cursor {
    /// After what was known at that position; if the one who is asked does not know what that is, the very beginning.
    Since(Position),
    /// After that client, or before the first one.
    Clients(Option<Username>),
    /// After that user, or before the first one.
    Users(Option<Username>),
}

/// The state of a replica that has everything the leader of `term` knew at its `number`th batch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) term: Term,
    pub(super) number: u64,
}

/// What follows a part.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Next {
    /// More, after this.
    More(Cursor),
    /// Nothing.
    End {
        /// Whether the one who answers is complete: see [`Store::is_complete`](super::replica::Store::is_complete).
        complete: bool,
        /// The term that it leads, if it does: only then what it told is all that the term's leader knows.
        leads: Option<Term>,
    },
}

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        postcard::to_stdvec(self).expect("plain data of known length").into()
    }

    /// Reads a message; `None` if it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

#[cfg(test)]
mod tests;
