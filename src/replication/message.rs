//! Messages between replicas, and their codec: postcard, a compact binary format of serde.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::registry::Rows;
use rollcall_core::{Term, Username};
use rollcall_election::{MAX_PAYLOAD_BYTES, PROTOCOL};

/// Protocol version of the election links to which the bytes of this file belong. The messages
/// carry no version of their own: nodes with different protocols reject each other's links. A
/// change of the bytes needs a higher `PROTOCOL`, and the same number here.
const BYTES_OF_PROTOCOL: u32 = 6;

const _: () = assert!(BYTES_OF_PROTOCOL == PROTOCOL, "check whether the bytes of messages changed as well");
const _: () = assert!(Rows::MAX_BYTES + Rows::MAX_ROW_BYTES <= MAX_PAYLOAD_BYTES, "a batch must fit into a payload");
const _: () = assert!(Rows::VERSION == 2, "a change of the rows needs another protocol of the links");

/// A message from one replica to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum ReplicaMessage {
    /// From the leader of `term`: its batch `number`.
    Batch { term: Term, number: u64, rows: Rows },
    /// From the leader of `term`, periodically: it is alive, and `last_batch` is its last batch.
    LeaderStatus {
        term: Term,
        last_batch: u64,
        /// Whether the leader's list of users is complete.
        users_complete: bool,
    },
    /// To the leader of `term`: the sender has the batches after `after`, up to and including
    /// `up_to`. If `after` is 0, the sender also has all rows from before the first batch.
    Ack { term: Term, after: u64, up_to: u64 },
    /// A request for the rows after a cursor. It does not change the receiver's state.
    PullRequest { request_id: u64, from: PullCursor },
    /// The response to one [`ReplicaMessage::PullRequest`].
    PullResponse { request_id: u64, rows: Rows, next: Continuation },
}

/// A place in the rows of a replica, from which a pull continues.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum PullCursor {
    /// After all rows known at that position. A replica that does not have every later batch
    /// continues at the first client.
    Since(LogPosition),
    /// After that client, or before the first one.
    Clients(Option<Username>),
    /// After that user, or before the first one.
    Users(Option<Username>),
}

/// Position in the leader's sequence of batches. A replica at this position has all rows that the
/// leader of `term` knew at its batch `number`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(super) struct LogPosition {
    pub(super) term: Term,
    pub(super) number: u64,
}

/// The continuation after a pull response.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Continuation {
    /// More rows, after this cursor.
    More(PullCursor),
    /// No more rows.
    End {
        /// Whether the responding node is complete: see `LocalTables::may_claim_complete`.
        is_complete: bool,
        /// The term that the responding node leads, if it leads. If so, the pulled rows are all
        /// rows that the leader of that term knows.
        leading_term: Option<Term>,
    },
}

impl ReplicaMessage {
    /// The bytes of this message.
    pub(super) fn encode(&self) -> Bytes {
        postcard::to_stdvec(self).expect("plain data of known length").into()
    }

    /// Reads a message. `None` if the bytes are no message.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::presence::{HeartbeatId, ReplicatedClient, SeenAt};
    use crate::registry::testing::{hex, replicated, tags, unhex};
    use rollcall_core::{Addr, BootMs};

    fn name(text: &str) -> Username {
        Username::parse(text).unwrap()
    }

    fn more(from: PullCursor) -> ReplicaMessage {
        ReplicaMessage::PullResponse { request_id: 300, rows: Rows::default(), next: Continuation::More(from) }
    }

    fn end(is_complete: bool, leading_term: Option<Term>) -> ReplicaMessage {
        ReplicaMessage::PullResponse {
            request_id: 300,
            rows: Rows::default(),
            next: Continuation::End { is_complete, leading_term },
        }
    }

    /// Messages of protocol 6 and their bytes.
    fn goldens() -> Vec<(ReplicaMessage, String)> {
        let (term, rows) = (Term(3), Rows::samples());
        let since = PullCursor::Since(LogPosition { term, number: 500 });
        let encoded_rows = hex(&postcard::to_stdvec(&rows).unwrap());
        let goldens = [
            (ReplicaMessage::Batch { term, number: 500, rows: rows.clone() }, format!("0003f403{encoded_rows}")),
            (ReplicaMessage::LeaderStatus { term, last_batch: 500, users_complete: true }, "0103f40301".to_owned()),
            (ReplicaMessage::LeaderStatus { term, last_batch: 500, users_complete: false }, "0103f40300".to_owned()),
            (ReplicaMessage::Ack { term, after: 400, up_to: 500 }, "02039003f403".to_owned()),
            (ReplicaMessage::PullRequest { request_id: 300, from: since.clone() }, "03ac020003f403".to_owned()),
            (ReplicaMessage::PullRequest { request_id: 300, from: PullCursor::Clients(None) }, "03ac020100".to_owned()),
            (
                ReplicaMessage::PullRequest { request_id: 300, from: PullCursor::Clients(Some(name("alice"))) },
                "03ac02010105616c696365".to_owned(),
            ),
            (ReplicaMessage::PullRequest { request_id: 300, from: PullCursor::Users(None) }, "03ac020200".to_owned()),
            (
                ReplicaMessage::PullRequest { request_id: 300, from: PullCursor::Users(Some(name("alice"))) },
                "03ac02020105616c696365".to_owned(),
            ),
            (
                ReplicaMessage::PullResponse { request_id: 300, rows, next: Continuation::More(since) },
                format!("04ac02{encoded_rows}000003f403"),
            ),
            (more(PullCursor::Users(None)), "04ac020000000200".to_owned()),
            (end(true, Some(term)), "04ac02000001010103".to_owned()),
            (end(false, None), "04ac020000010000".to_owned()),
        ];
        goldens.into()
    }

    #[test]
    fn a_batch_of_clients_with_the_longest_names_fits_into_a_payload() {
        let registry = replicated(BootMs(0));
        let longest = |number: usize| name(&format!("{number:0>width$}", width = Username::MAX_BYTES));
        let clients = (0..1000).map(|number| ReplicatedClient {
            username: longest(number),
            addr: Addr::new(([0xffff; 8], u16::MAX).into()),
            heartbeat_id: HeartbeatId::of(u64::MAX, u64::MAX),
            age_ms: u64::MAX >> 20,
            leaderless_ms: u64::MAX >> 20,
            seen_at: SeenAt::Unknown,
        });
        registry.merge(&Rows { clients: clients.collect(), users: Vec::new() }, BootMs(0));
        let (mut after, mut count) = (None, 0);
        loop {
            let rows = registry.clients_after(after.as_ref(), BootMs(0));
            let Some(last) = rows.clients.last() else { break };
            (after, count) = (Some(last.username.clone()), count + rows.len());
            let batch = ReplicaMessage::Batch { term: Term(u64::MAX), number: u64::MAX, rows };
            assert!(batch.encode().len() <= MAX_PAYLOAD_BYTES, "{} bytes", batch.encode().len());
        }
        assert_eq!(count, 1000);
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
            assert_eq!(ReplicaMessage::decode(&unhex(&golden)), Some(message), "{golden}");
        }
    }

    /// The first byte of each encoded value, which is the tag of its variant. Sorted, without
    /// duplicates.
    fn first_bytes<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
        let first = |value| postcard::to_stdvec(&value).unwrap()[0];
        values.into_iter().map(first).collect::<BTreeSet<u8>>().into_iter().collect()
    }

    #[test]
    fn every_variant_has_golden_bytes() {
        let messages: Vec<ReplicaMessage> = goldens().into_iter().map(|(message, _)| message).collect();
        let cursors = messages.iter().filter_map(|message| match message {
            ReplicaMessage::PullRequest { from, .. } => Some(from),
            _ => None,
        });
        let continuations = messages.iter().filter_map(|message| match message {
            ReplicaMessage::PullResponse { next, .. } => Some(next),
            _ => None,
        });
        assert_eq!(first_bytes(cursors), tags::<PullCursor>());
        assert_eq!(first_bytes(continuations), tags::<Continuation>());
        assert_eq!(first_bytes(&messages), tags::<ReplicaMessage>());
    }
}
