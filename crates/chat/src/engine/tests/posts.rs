//! Unit tests of posts: forwarding, duplicates and numbers.

use super::super::local_peer::{CHAT_NUMBER_LIMIT, CONTROL_NUMBER_BIT};
use super::*;

#[test]
fn chat_is_forwarded_once_and_never_back_to_its_origin() {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, ..config() });
    for link in [1, 2, 3, 4] {
        harness.link(link, 60 + u128::from(link), None);
    }
    // The author is peer 63, and peer 61 delivers the message. Neither of them gets it.
    let actions = harness.receive(1, 63, 7, chat("hi"));
    assert_eq!(chat_links(&actions), [2, 4]);
    assert!(matches!(notices(&actions)[..], [Notice::Post { .. }]));
    assert_eq!(harness.receive(2, 63, 7, chat("hi")), []);
    assert_eq!(harness.engine.counters().duplicates, 1);
    assert_eq!(harness.receive(9, 63, 8, chat("late")), [], "on a closed link");
}

#[test]
fn a_duplicate_detected_from_its_header_leaves_the_same_state_as_a_fully_read_one() {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, ..config() });
    for link in [1, 2] {
        harness.link(link, 60 + u128::from(link), None);
    }
    harness.receive(1, 61, 7, chat("hi"));
    harness.receive(1, 70, 7, chat("hi"));
    harness.engine.mesh.tree.authors.evicted.insert(PeerId(80), 7, None);
    harness.now = 5;
    let duplicates = [(2, 70, 7), (1, 70, 7), (2, 61, 7), (2, 80, 7)];
    // A new number, a new author, a message of the linked peer itself, a new author that is linked,
    // and a closed link.
    let others = [(2, 70, 8), (2, 71, 7), (1, 61, 7), (2, 62, 7), (9, 70, 7)];
    for (link, sender, number) in duplicates.into_iter().chain(others) {
        let (mut read, mut detected) = (harness.engine.clone(), harness.engine.clone());
        let is_known = detected.handle_if_duplicate(LinkId(link), PeerId(sender), number, at(5).boot);
        assert_eq!(is_known, duplicates.contains(&(link, sender, number)), "{sender}/{number} on {link}");
        if is_known {
            let message = MeshMessage { sender: PeerId(sender), number, said_at: 5, name: None, body: chat("hi") };
            let event = Event::MessageReceived { link: LinkId(link), message };
            assert_eq!(read.handle(event, at(5), EventRng(5)), []);
        }
        assert_eq!(format!("{detected:?}"), format!("{read:?}"), "{sender}/{number} on {link}");
    }
}

#[test]
fn chat_of_evicted_authors_does_not_circulate_forever() {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, ..config() });
    harness.link(1, 61, None);
    harness.link(2, 62, None);
    // The mesh is a ring, so a message that is forwarded to one linked peer returns from the other,
    // round after round.
    let mut rounds = Vec::new();
    for _ in 0..4 {
        let mut shown = 0;
        for sender in 1_000..2_000 {
            shown += notices(&harness.receive(1, sender, 7, chat("hi"))).len();
        }
        rounds.push(shown);
    }
    assert_eq!(rounds, [1_000, 0, 0, 0]);
    assert_eq!(
        notices(&harness.receive(1, 1_000, 8, chat("hi"))).len(),
        1,
        "a new message of an evicted author is accepted"
    );
}

#[test]
fn chat_numbers_are_consecutive_and_higher_in_the_next_run() {
    let number = |actions: &Actions| {
        actions.iter().find_map(|action| match action {
            Action::Persist(entry) => Some(entry.number),
            _ => None,
        })
    };
    let mut harness = Harness::new(config());
    let first = number(&harness.feed(Event::PostRequested("a".into()))).unwrap();
    harness.link(1, 60, None);
    assert_eq!(
        number(&harness.feed(Event::PostRequested("b".into()))),
        Some(first + 1),
        "a heartbeat takes no chat number"
    );
    // The next run starts with a clock that was set back by an hour.
    let earlier = Now { boot: BootMs(0), unix_s: at(0).unix_s - 3600 };
    let stored = harness.engine.history().entries().into_iter().cloned().collect();
    let mut restarted = Engine::new(config(), stored, earlier);
    let actions = restarted.handle(Event::PostRequested("c".into()), earlier, EventRng(0));
    assert_eq!(number(&actions), Some(first + 2));
    assert!(first + 2 < CONTROL_NUMBER_BIT && CONTROL_NUMBER_BIT * 2 == 1 << 53);
}

#[test]
fn a_forged_number_under_this_peers_id_does_not_exhaust_its_numbers() {
    let mut harness = Harness::new(EngineConfig { history_size: 1_000, ..config() });
    harness.link(1, 60, None);
    for number in [u64::MAX, u64::MAX - 1, CONTROL_NUMBER_BIT, CHAT_NUMBER_LIMIT] {
        harness.receive(1, ME.0, number, chat("forged"));
    }
    let stored = harness.engine.history().entries().into_iter().cloned().collect();
    for engine in [harness.engine.clone(), Engine::new(config(), stored, at(0))] {
        let mut harness = Harness { engine, now: 0 };
        for text in ["one", "two"] {
            let actions = harness.feed(Event::PostRequested(text.into()));
            let number = actions.iter().find_map(|action| match action {
                Action::Persist(entry) => Some(entry.number),
                _ => None,
            });
            assert!(number.is_some_and(|number| number < CHAT_NUMBER_LIMIT), "{number:?}");
        }
    }
}
