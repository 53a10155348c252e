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
        /// Whether the one who answers is complete: see [`Store::may_claim_complete`](super::store::Store::may_claim_complete).
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::registry::testing::{hex, tags, unhex};

    fn name(text: &str) -> Username {
        Username::parse(text).unwrap()
    }

    fn more(from: Cursor) -> Message {
        Message::Part { ask: 300, rows: Rows::default(), next: Next::More(from) }
    }

    fn end(complete: bool, leads: Option<Term>) -> Message {
        Message::Part { ask: 300, rows: Rows::default(), next: Next::End { complete, leads } }
    }

    /// Messages of protocol 4 and their bytes.
    fn goldens() -> Vec<(Message, String)> {
        let (term, rows) = (Term(3), Rows::samples());
        let since = Cursor::Since(Position { term, number: 500 });
        let encoded_rows = hex(&postcard::to_stdvec(&rows).unwrap());
        let goldens = [
            (Message::Batch { term, number: 500, rows: rows.clone() }, format!("0003f403{encoded_rows}")),
            (Message::Pulse { term, number: 500, whole: true }, "0103f40301".to_owned()),
            (Message::Pulse { term, number: 500, whole: false }, "0103f40300".to_owned()),
            (Message::Seen { term, base: 400, upto: 500 }, "02039003f403".to_owned()),
            (Message::Pull { ask: 300, from: since.clone() }, "03ac020003f403".to_owned()),
            (Message::Pull { ask: 300, from: Cursor::Clients(None) }, "03ac020100".to_owned()),
            (
                Message::Pull { ask: 300, from: Cursor::Clients(Some(name("alice"))) },
                "03ac02010105616c696365".to_owned(),
            ),
            (Message::Pull { ask: 300, from: Cursor::Users(None) }, "03ac020200".to_owned()),
            (Message::Pull { ask: 300, from: Cursor::Users(Some(name("alice"))) }, "03ac02020105616c696365".to_owned()),
            (Message::Part { ask: 300, rows, next: Next::More(since) }, format!("04ac02{encoded_rows}000003f403")),
            (more(Cursor::Users(None)), "04ac020000000200".to_owned()),
            (end(true, Some(term)), "04ac02000001010103".to_owned()),
            (end(false, None), "04ac020000010000".to_owned()),
        ];
        goldens.into()
    }

    #[test]
    fn messages_have_their_golden_bytes() {
        for (message, golden) in goldens() {
            assert_eq!(hex(&message.encode()), golden, "{message:?}");
        }
    }

    #[test]
    fn golden_bytes_are_read_as_the_messages() {
        for (message, golden) in goldens() {
            assert_eq!(Message::decode(&unhex(&golden)), Some(message), "{golden}");
        }
    }

    /// The first bytes that values have in postcard.
    fn first_bytes<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
        let first = |value| postcard::to_stdvec(&value).unwrap()[0];
        values.into_iter().map(first).collect::<BTreeSet<u8>>().into_iter().collect()
    }

    #[test]
    fn every_variant_has_golden_bytes() {
        let messages: Vec<Message> = goldens().into_iter().map(|(message, _)| message).collect();
        let cursors = messages.iter().filter_map(|message| match message {
            Message::Pull { from, .. } => Some(from),
            _ => None,
        });
        let nexts = messages.iter().filter_map(|message| match message {
            Message::Part { next, .. } => Some(next),
            _ => None,
        });
        assert_eq!(first_bytes(cursors), tags::<Cursor>());
        assert_eq!(first_bytes(nexts), tags::<Next>());
        assert_eq!(first_bytes(&messages), tags::<Message>());
    }
}
