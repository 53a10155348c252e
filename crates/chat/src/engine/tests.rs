//! Unit tests of each rule of the engine. The simulation in `tests/it/peer` tests all rules
//! together.

mod foreign_links;
mod lan;
mod plumtree;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::limits::MAX_AUTHORS;
use super::local_peer::{CHAT_NUMBER_LIMIT, CONTROL_NUMBER_BIT};
use super::*;
use crate::mesh::{MAX_MESSAGE_BYTES, MeshMessage, MessageFormat, SeqRanges};

const ME: PeerId = PeerId(50);
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

fn at(ms: u64) -> Now {
    Now { boot: BootMs(ms), unix_s: 1_728_938_500 }
}

fn endpoint(port: u16) -> PeerEndpoint {
    PeerEndpoint::parse(&format!("10.0.0.9:{port}")).unwrap()
}

pub(super) fn config() -> EngineConfig {
    EngineConfig {
        id: ME,
        name: Nickname::parse("me").unwrap(),
        listen: None,
        peers: vec![endpoint(1)],
        max_connections: 2,
        heartbeat_interval_ms: 30_000,
        heartbeat_timeout_ms: 5_000,
        dedup_cache_size: 100,
        history_size: 100,
        history_batch_bytes: 512 * 1024,
        lan: None,
    }
}

/// An engine and its clock.
struct Harness {
    engine: Engine,
    now: u64,
}

impl Harness {
    fn new(config: EngineConfig) -> Self {
        Self { engine: Engine::new(config, Vec::new(), at(0)), now: 0 }
    }

    fn feed(&mut self, event: Event) -> Actions {
        self.engine.handle(event, at(self.now), EventRng(self.now))
    }

    fn link(&mut self, link: u64, peer: u128, dialled: Option<u16>) -> Actions {
        let (link, peer, dialled) = (LinkId(link), PeerId(peer), dialled.map(endpoint));
        self.feed(Event::LinkOpened { link, peer, dialled, remote: REMOTE })
    }

    fn receive(&mut self, link: u64, sender: u128, number: u64, body: MessageBody) -> Actions {
        let message = MeshMessage { sender: PeerId(sender), number, said_at: 5, name: None, body };
        self.feed(Event::MessageReceived { link: LinkId(link), message })
    }

    fn receive_heartbeat(&mut self, link: u64, peer: u128) -> Actions {
        self.receive(link, peer, 1 << 60, MessageBody::heartbeat(None))
    }
}

/// A dial without a linked peer of another program.
fn dial(port: u16) -> Action {
    Action::Dial { endpoint: endpoint(port), unless: Vec::new() }
}

fn closed_links(actions: &Actions) -> Vec<u64> {
    let closed = actions.iter().filter_map(|action| match action {
        Action::Close { link, .. } => Some(link.0),
        _ => None,
    });
    closed.collect()
}

fn notices(actions: &Actions) -> Vec<&Notice> {
    let notices = actions.iter().filter_map(|action| match action {
        Action::Notify(notice) => Some(notice),
        _ => None,
    });
    notices.collect()
}

fn sent_history_requests(actions: &Actions) -> usize {
    let is_request = |action: &&Action| matches!(action, Action::Send { message, .. } if matches!(message.body, MessageBody::HistoryRequest(_)));
    actions.iter().filter(is_request).count()
}

/// The links on which chat is sent.
fn chat_links(actions: &Actions) -> Vec<u64> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { links, message: MeshMessage { body: MessageBody::Chat(_), .. }, .. } => Some(links),
        _ => None,
    });
    sent.flatten().map(|link| link.0).collect()
}

impl Action {
    fn persisted(&self) -> Option<ChatEntry> {
        match self {
            Self::Persist(entry) => Some(entry.as_ref().clone()),
            _ => None,
        }
    }
}

fn chat(text: &str) -> MessageBody {
    MessageBody::Chat(text.to_owned())
}

#[test]
fn of_two_links_dialled_from_opposite_ends_both_peers_keep_the_one_dialled_by_the_lower_id() {
    // The links open in either order. The other peer has a higher or a lower id. This peer dialled
    // link 1, the other peer dialled link 2. The peer is known to be of this program from its
    // heartbeat on the first link, before or after the second one opens, or on the second one.
    for (other, kept) in [(60, 1), (40, 2)] {
        for (first, beat_on, is_before) in
            [(1, 1, true), (1, 1, false), (1, 2, false), (2, 2, true), (2, 2, false), (2, 1, false)]
        {
            let mut harness = Harness::new(config());
            harness.link(first, other, (first == 1).then_some(1));
            if is_before {
                harness.receive_heartbeat(beat_on, other);
            }
            let opened = harness.link(3 - first, other, (first == 2).then_some(1));
            let beat = harness.receive_heartbeat(beat_on, other);
            let case = format!("other {other}, link {first} first, heartbeat on {beat_on}, before: {is_before}");
            let ended = if is_before { &opened } else { &beat };
            assert_eq!(closed_links(ended), [3 - kept], "{case}");
            assert_eq!(harness.engine.mesh.links.iter().map(|(link, _)| link.0).collect::<Vec<_>>(), [kept], "{case}");
            let asks = sent_history_requests(&harness.receive_heartbeat(kept, other));
            assert_eq!(asks, usize::from(beat_on != kept), "{case}");
        }
    }
}

#[test]
fn of_two_links_dialled_from_the_same_end_the_newer_one_is_kept() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    harness.receive_heartbeat(1, 60);
    let actions = harness.link(2, 60, None);
    assert_eq!(closed_links(&actions), [1]);
    assert_eq!(notices(&actions), Vec::<&Notice>::new(), "no notice to the user");
    assert_eq!(harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() }), []);
}

#[test]
fn a_link_of_a_peer_to_itself_is_closed_and_its_address_is_never_dialled_again() {
    let mut harness = Harness::new(config());
    assert!(harness.feed(Event::TimerFired).contains(&dial(1)));
    assert_eq!(closed_links(&harness.link(1, ME.0, Some(1))), [1]);
    assert_eq!(harness.engine.wake_at(), BootMs::NEVER);
}

#[test]
fn the_connection_limit_holds_for_dialled_and_for_accepted_links() {
    let mut harness = Harness::new(EngineConfig { peers: vec![endpoint(1), endpoint(2), endpoint(3)], ..config() });
    let dials = harness.feed(Event::TimerFired);
    assert_eq!(dials, [dial(1), dial(2)], "the limit is two");
    harness.link(1, 60, Some(1));
    harness.link(2, 61, None);
    harness.receive_heartbeat(2, 61);
    assert_eq!(closed_links(&harness.link(3, 62, None)), [3]);
    assert_eq!(closed_links(&harness.link(4, 63, Some(2))), [4]);
    assert_eq!(closed_links(&harness.link(5, 61, None)), [2], "another link to a linked peer needs no free slot");
    let actions = harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() });
    let dial = Action::Dial { endpoint: endpoint(3), unless: vec![PeerId(61)] };
    assert_eq!(actions, [dial], "a peer without a slot is dialled when one is free");
}

#[test]
fn an_unconfirmed_link_is_evicted_when_a_heartbeat_is_overdue() {
    let mut harness = Harness::new(EngineConfig { peers: Vec::new(), ..config() });
    harness.link(1, 60, None);
    harness.now = 1;
    harness.link(2, 61, None);
    harness.receive(1, 60, 1, chat("hi"));
    harness.now = 35_000;
    assert_eq!(
        closed_links(&harness.link(4, 62, None)),
        [4],
        "a heartbeat is overdue after 35 s, the interval and the timeout"
    );
    harness.now = 35_001;
    assert_eq!(closed_links(&harness.link(5, 62, None)), [2]);
    assert_eq!(
        closed_links(&harness.link(6, 63, None)),
        [6],
        "one link is confirmed, and the other was opened just now"
    );
}

#[test]
fn the_user_is_notified_once_when_a_configured_peer_closes_two_unconfirmed_links() {
    let mut harness = Harness::new(config());
    let mut notified = Vec::new();
    for link in 1..5 {
        harness.now += 600_000;
        assert!(harness.feed(Event::TimerFired).contains(&dial(1)));
        harness.link(link, 60, Some(1));
        let ended = harness.feed(Event::LinkClosed { link: LinkId(link), reason: "it ended".into() });
        notified.push(notices(&ended).iter().filter(|notice| matches!(notice, Notice::Unreachable { .. })).count());
    }
    assert_eq!(notified, [0, 1, 0, 0]);
}

#[test]
fn a_configured_address_is_dialled_even_if_a_linked_peer_claims_it() {
    let mut harness = Harness::new(config());
    harness.feed(Event::TimerFired);
    harness.feed(Event::DialFailed { endpoint: endpoint(1), reason: String::new() });
    harness.link(1, 60, None);
    harness.receive(1, 60, 1 << 60, MessageBody::heartbeat(Some(endpoint(1))));
    harness.receive(1, 60, 1 << 61, MessageBody::heartbeat(Some(endpoint(2))));
    harness.now = 2_000;
    let dials = harness.feed(Event::TimerFired).into_iter().filter(|action| matches!(action, Action::Dial { .. }));
    assert_eq!(dials.collect::<Vec<_>>(), [dial(1)], "for any other address the claim is believed");
}

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
fn heartbeats_are_sent_and_a_silent_link_is_closed_after_the_interval_plus_the_timeout() {
    let mut harness = Harness::new(config());
    let is_heartbeat = |action: &Action| matches!(action, Action::Send { message, .. } if matches!(message.body, MessageBody::Heartbeat { .. }));
    assert!(harness.link(1, 60, None).iter().any(is_heartbeat), "at once");
    harness.receive_heartbeat(1, 60);
    harness.now = 29_999;
    assert!(!harness.feed(Event::TimerFired).iter().any(is_heartbeat));
    harness.now = 30_000;
    assert!(harness.engine.wake_at().0 <= 30_000 && harness.feed(Event::TimerFired).iter().any(is_heartbeat));
    harness.now = 34_999;
    assert_eq!(closed_links(&harness.feed(Event::TimerFired)), Vec::<u64>::new());
    harness.now = 35_000;
    assert_eq!(closed_links(&harness.feed(Event::TimerFired)), [1]);
}

#[test]
fn posts_leave_the_other_deadlines_unchanged_and_due_work_is_done_with_them() {
    for config in [config(), lan::lan_config()] {
        let mut harness = Harness::new(config);
        harness.link(1, 60, None);
        harness.receive_heartbeat(1, 60);
        harness.feed(Event::TimerFired);
        while harness.engine.wake_at() < BootMs(30_000) {
            harness.now = harness.engine.wake_at().0;
            harness.feed(Event::TimerFired);
        }
        let is_heartbeat = |action: &Action| matches!(action, Action::Send { message, .. } if matches!(message.body, MessageBody::Heartbeat { .. }));
        for (now, beats) in [(29_999, false), (30_000, true)] {
            harness.now = now;
            let posted = harness.feed(Event::PostRequested("hi".to_owned()));
            assert_eq!(posted.iter().any(is_heartbeat), beats, "at {now} ms");
            let wake_at = harness.engine.wake_at();
            assert_eq!(harness.feed(Event::TimerFired), [], "at {now} ms nothing else was due");
            assert_eq!(harness.engine.wake_at(), wake_at, "at {now} ms no deadline is earlier");
        }
    }
}

#[test]
fn a_peer_that_never_sent_a_heartbeat_is_not_timed_out() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    harness.receive(1, 60, 1, chat("hi"));
    harness.now = 1_000_000;
    assert_eq!(closed_links(&harness.feed(Event::TimerFired)), Vec::<u64>::new());
}

#[test]
fn the_redial_delay_starts_again_at_a_second_after_a_confirmed_link_is_lost() {
    let mut harness = Harness::new(config());
    for _ in 0..8 {
        harness.now = harness.now.max(harness.engine.wake_at().0);
        assert!(harness.feed(Event::TimerFired).contains(&dial(1)));
        harness.feed(Event::DialFailed { endpoint: endpoint(1), reason: String::new() });
    }
    harness.now = harness.engine.wake_at().0;
    harness.feed(Event::TimerFired);
    harness.link(1, 60, Some(1));
    harness.receive(1, 60, 1, chat("hi"));
    harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() });
    harness.now += 1_200;
    assert!(harness.feed(Event::TimerFired).contains(&dial(1)));
}

#[test]
fn of_two_peers_linked_at_the_same_time_one_receives_the_address_of_the_other() {
    let mut harness = Harness::new(config());
    let lists = |actions: &Actions| -> Vec<PeerEndpoint> {
        let lists = actions.iter().filter_map(|action| match action {
            Action::Send { message: MeshMessage { body: MessageBody::PeerList(list), .. }, .. } => Some(list.clone()),
            _ => None,
        });
        lists.flatten().collect()
    };
    assert_eq!((lists(&harness.link(1, 60, None)), lists(&harness.link(2, 61, None))), (vec![], vec![]));
    assert_eq!(lists(&harness.receive(1, 60, 1, MessageBody::heartbeat(Some(endpoint(7))))), []);
    assert_eq!(lists(&harness.receive(2, 61, 1, MessageBody::heartbeat(Some(endpoint(8))))), [endpoint(7)]);
}

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
    harness.engine.mesh.tree.authors.evicted.insert(PeerId(80), 7);
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

#[test]
fn a_peer_without_the_extension_receives_only_plain_messages() {
    let mut harness = Harness::new(config());
    let mut actions = harness.link(1, 60, None);
    actions.extend(harness.receive(1, 60, 1, MessageBody::Heartbeat { extension: None, listen: None }));
    actions.extend(harness.feed(Event::ProfileSet(PeerProfile::new("Al", "", None))));
    actions.extend(harness.feed(Event::DirectRequested { to: PeerId(60).to_string(), text: "psst".into() }));
    for action in &actions {
        if let Action::Send { message, format, .. } = action {
            assert!(message.body.is_plain() && !format.extended, "{message:?}");
        }
    }
    assert!(matches!(notices(&actions).last(), Some(Notice::Rejected { .. })));
    let long = harness.feed(Event::PostRequested("x".repeat(5_000)));
    assert!(
        notices(&long).iter().any(|notice| matches!(notice, Notice::Rejected { reason } if reason.contains("1 peers")))
    );
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
fn control_messages_are_accepted_only_from_the_linked_peer_itself() {
    let mut harness = Harness::new(config());
    harness.link(1, 60, None);
    harness.receive_heartbeat(1, 60);
    let direct = MessageBody::Direct { to: ME, text: "psst".into() };
    assert_eq!(harness.receive(1, 61, 1, direct.clone()), [], "forged");
    assert!(matches!(notices(&harness.receive(1, 60, 2, direct))[..], [Notice::Direct { .. }]));
    assert_eq!(harness.receive(1, 60, 3, MessageBody::Direct { to: PeerId(1), text: "not for us".into() }), []);
}
