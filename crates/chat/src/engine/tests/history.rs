//! Unit tests of history requests and their answers.

use super::super::limits::{MAX_AUTHORS, MAX_HISTORY_BYTES};
use super::*;
use crate::mesh::MAX_MESSAGE_BYTES;

#[test]
fn a_history_request_fits_into_a_message_with_any_number_of_authors() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    let history_request = |actions: &Actions| {
        actions.iter().find_map(|action| match action {
            Action::Send { message, format, .. } => match &message.body {
                MessageBody::HistoryRequest(have) => {
                    Some((have.clone(), message.write(*format).map(|bytes| bytes.len())))
                }
                _ => None,
            },
            _ => None,
        })
    };
    // The numbers with the most digits, with a gap after each.
    let receive_chat = |harness: &mut Harness, senders: std::ops::Range<u128>| {
        for sender in senders {
            for number in 0..20 {
                harness.receive(1, sender, u64::MAX - 2 * number, chat("hi"));
            }
        }
    };
    receive_chat(&mut harness, 1_000..1_100);
    let (have, length) = history_request(&harness.receive_heartbeat(1, 60)).expect("a history request");
    assert_eq!((have.len(), have.values().map(Vec::len).max()), (100, Some(8)));
    assert!(length.is_some());
    receive_chat(&mut harness, 2_000..2_600);
    harness.link(2, 60, None);
    let (have, length) = history_request(&harness.receive_heartbeat(2, 60)).expect("a history request");
    assert!(have.len() > MAX_AUTHORS - 3 && have.values().all(|ranges| ranges.len() == 1), "{}", have.len());
    assert!(length.is_some_and(|length| length < MAX_MESSAGE_BYTES), "{length:?}");
}

#[test]
fn an_answer_with_chat_of_evicted_authors_does_not_end_the_history_requests() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    harness.receive_heartbeat(1, 60);
    for number in 1..=100 {
        harness.receive(1, 1_000, number, chat("hi"));
    }
    for sender in 2_000..2_600 {
        harness.receive(1, sender, 1, chat("hi"));
    }
    harness.receive(1, 60, 8, MessageBody::HistoryEnd { more: false });
    harness.link(2, 60, None);
    harness.receive_heartbeat(2, 60);
    for number in 37..=100 {
        assert_eq!(harness.receive(2, 1_000, number, chat("hi")), [], "a duplicate");
    }
    let asked = harness.receive(2, 60, 9, MessageBody::HistoryEnd { more: true });
    let named = asked.iter().find_map(|action| match action {
        Action::Send { message: MeshMessage { body: MessageBody::HistoryRequest(have), .. }, .. } => {
            have.get(&PeerId(1_000))
        }
        _ => None,
    });
    assert_eq!(named, Some(&vec![(0, 100)]), "the next batch does not repeat this author");
    harness.receive(2, 1_000, 100, chat("hi"));
    assert_ne!(harness.receive(2, 60, 10, MessageBody::HistoryEnd { more: true }), []);
    harness.receive(2, 1_000, 100, chat("hi"));
    assert_ne!(harness.receive(2, 60, 11, MessageBody::HistoryEnd { more: true }), []);
    harness.receive(2, 1_000, 100, chat("hi"));
    assert_eq!(
        harness.receive(2, 60, 12, MessageBody::HistoryEnd { more: true }),
        [],
        "a peer that sends nothing new is not asked forever"
    );
}

#[test]
fn a_history_batch_fits_into_the_send_queue() {
    let mut harness = Harness::new(EngineConfig { history_batch_bytes: 5_000, ..config() });
    // Each text takes twice as many bytes in JSON.
    for _ in 0..10 {
        harness.feed(Event::PostRequested("\"".repeat(1_000)));
    }
    harness.link(1, 60, None);
    let mut have = BTreeMap::new();
    let mut parts = Vec::new();
    loop {
        let actions = harness.receive(1, 60, (1 << 60) + parts.len() as u64, MessageBody::HistoryRequest(have.clone()));
        let mut numbers = Vec::new();
        let mut end = None;
        for action in &actions {
            match action {
                Action::Send { message: MeshMessage { body: MessageBody::Chat(_), number, .. }, .. } => {
                    numbers.push(*number);
                }
                Action::Send { message: MeshMessage { body: MessageBody::HistoryEnd { more }, .. }, .. } => {
                    end = Some(*more);
                }
                _ => {}
            }
        }
        let first = have.get(&ME).map_or(numbers[0], |ranges: &SeqRanges| ranges[0].0);
        have.insert(ME, vec![(first, *numbers.last().unwrap())]);
        parts.push(numbers.len());
        if end == Some(false) {
            break;
        }
    }
    assert_eq!(parts, [2, 2, 2, 2, 2]);
    // A message longer than the limit of a batch is sent too, alone in its batch.
    let mut harness = Harness::new(EngineConfig { history_batch_bytes: 10, ..config() });
    harness.feed(Event::PostRequested("a".into()));
    harness.link(1, 60, None);
    assert_eq!(chat_links(&harness.receive(1, 60, 1 << 60, MessageBody::HistoryRequest(BTreeMap::new()))), [1]);
}

#[test]
fn history_is_requested_from_a_peer_with_the_extension_until_it_has_no_more() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    let is_history_request = |action: &Action| matches!(action, Action::Send { message, format: MessageFormat { extended: true, .. }, .. } if matches!(message.body, MessageBody::HistoryRequest(_)));
    assert!(harness.receive_heartbeat(1, 60).iter().any(is_history_request));
    assert!(!harness.receive_heartbeat(1, 60).iter().any(is_history_request), "only once");
    harness.receive(1, 77, 3, chat("old"));
    assert!(harness.receive(1, 60, 9, MessageBody::HistoryEnd { more: true }).iter().any(is_history_request));
    // An answer without news does not end the requests at once, because other links may have
    // delivered its messages meanwhile.
    let ends = [(); 4]
        .map(|()| harness.receive(1, 60, 9, MessageBody::HistoryEnd { more: true }).iter().any(is_history_request));
    assert_eq!(ends, [true, true, false, false], "three answers in a row had nothing new");
}

#[test]
fn a_forger_with_many_names_displaces_neither_the_history_nor_the_numbers_of_honest_authors() {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, ..config() });
    harness.link(1, 60, None);
    harness.receive_heartbeat(1, 60);
    let remote = "10.0.0.66".parse().unwrap();
    harness.feed(Event::LinkOpened { link: LinkId(2), peer: PeerId(66), dialled: None, remote });
    harness.receive_heartbeat(2, 66);
    // Twenty authors behind the honest link say something, with a gap in their numbers.
    for author in 100..120 {
        for number in [1, 3] {
            harness.receive(1, author, number, chat("honest"));
        }
    }
    let text = "x".repeat(8192);
    for author in 1_000..41_000_u128 {
        // Within the heartbeat timeout of the links.
        harness.now = u64::try_from(author / 10).unwrap();
        harness.receive(2, author, 5, chat(&text));
    }
    let bytes: usize = harness.engine.history().entries().iter().map(|entry| entry.memory_bytes()).sum();
    assert!(bytes <= MAX_HISTORY_BYTES, "{bytes}");
    let honest = harness.engine.history().entries().iter().filter(|entry| entry.text == "honest").count();
    assert_eq!(honest, 40);
    for author in 100..120 {
        assert_eq!(harness.receive(1, author, 3, chat("honest")), [], "a duplicate");
        assert_ne!(harness.receive(1, author, 2, chat("late")), [], "the gap is still open");
    }
}
