//! Golden bytes of messages.

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
        (Message::Pull { ask: 300, from: Cursor::Clients(Some(name("alice"))) }, "03ac02010105616c696365".to_owned()),
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
