//! The engine's rules one by one. What they come to together is for the simulation in `tests/it/peer`.

mod lan;
mod passing;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::own::{CONTROL_NUMBERS, HIGHEST_CHAT};
use super::rules::MAX_SENDERS;
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

pub(super) fn rules() -> Rules {
    Rules {
        id: ME,
        name: Nickname::parse("me").unwrap(),
        listen: None,
        peers: vec![endpoint(1)],
        max_connections: 2,
        heartbeat_interval_ms: 30_000,
        heartbeat_timeout_ms: 5_000,
        dedup_cache_size: 100,
        history_size: 100,
        answer_bytes: 512 * 1024,
        lan: None,
    }
}

/// An engine and the time at it.
struct Bench {
    engine: Engine,
    now: u64,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        Self { engine: Engine::new(rules, Vec::new(), at(0)), now: 0 }
    }

    fn feed(&mut self, event: Event) -> Actions {
        self.engine.handle(event, at(self.now), Draw(self.now))
    }

    fn link(&mut self, link: u64, peer: u128, dialled: Option<u16>) -> Actions {
        let (link, peer, dialled) = (LinkId(link), PeerId(peer), dialled.map(endpoint));
        self.feed(Event::Linked { link, peer, dialled, remote: REMOTE })
    }

    fn hear(&mut self, link: u64, sender: u128, number: u64, body: MessageBody) -> Actions {
        let message = MeshMessage { sender: PeerId(sender), number, said_at: 5, name: None, body };
        self.feed(Event::Heard { link: LinkId(link), message, text_times: false })
    }

    fn extend(&mut self, link: u64, peer: u128) -> Actions {
        self.hear(link, peer, 1 << 60, MessageBody::heartbeat(None))
    }
}

fn closed(actions: &Actions) -> Vec<u64> {
    let closed = actions.iter().filter_map(|action| match action {
        Action::Close { link, .. } => Some(link.0),
        _ => None,
    });
    closed.collect()
}

fn told(actions: &Actions) -> Vec<&Notice> {
    let told = actions.iter().filter_map(|action| match action {
        Action::Tell(notice) => Some(notice),
        _ => None,
    });
    told.collect()
}

/// The links that a chat goes out on.
fn chats(actions: &Actions) -> Vec<u64> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { links, message: MeshMessage { body: MessageBody::Chat(_), .. }, .. } => Some(links),
        _ => None,
    });
    sent.flatten().map(|link| link.0).collect()
}

impl Action {
    fn kept(&self) -> Option<Entry> {
        match self {
            Self::Keep(entry) => Some(entry.as_ref().clone()),
            _ => None,
        }
    }
}

fn chat(text: &str) -> MessageBody {
    MessageBody::Chat(text.to_owned())
}

#[test]
fn of_two_links_that_were_dialled_from_both_ends_the_lower_ids_is_kept_at_both() {
    // Whichever comes first, and whoever is lower: link 1 was dialled by this peer, link 2 by the other.
    for (other, kept) in [(60, 1), (40, 2)] {
        for first in [1, 2] {
            let mut bench = Bench::new(rules());
            let mut ended = Vec::new();
            for link in [first, 3 - first] {
                ended.extend(closed(&bench.link(link, other, (link == 1).then_some(1))));
            }
            assert_eq!(ended, [3 - kept], "other {other}, link {first} first");
            assert_eq!(bench.engine.mesh.links.iter().map(|(link, _)| link.0).collect::<Vec<_>>(), [kept]);
        }
    }
}

#[test]
fn of_two_links_that_were_dialled_from_one_end_the_newer_is_kept() {
    let mut bench = Bench::new(rules());
    bench.link(1, 60, None);
    let actions = bench.link(2, 60, None);
    assert_eq!(closed(&actions), [1]);
    assert_eq!(told(&actions), Vec::<&Notice>::new(), "nothing changes for the person");
    assert_eq!(bench.feed(Event::Unlinked { link: LinkId(1), why: String::new() }), []);
}

#[test]
fn a_link_to_itself_is_closed_and_never_dialled_again() {
    let mut bench = Bench::new(rules());
    assert!(bench.feed(Event::Woke).contains(&Action::Dial(endpoint(1))));
    assert_eq!(closed(&bench.link(1, ME.0, Some(1))), [1]);
    assert_eq!(bench.engine.wake_at(), BootMs::NEVER);
}

#[test]
fn connections_are_bounded_whoever_dials() {
    let mut bench = Bench::new(Rules { peers: vec![endpoint(1), endpoint(2), endpoint(3)], ..rules() });
    let dials = bench.feed(Event::Woke);
    assert_eq!(dials, [Action::Dial(endpoint(1)), Action::Dial(endpoint(2))], "two at most");
    bench.link(1, 60, Some(1));
    bench.link(2, 61, None);
    assert_eq!(closed(&bench.link(3, 62, None)), [3]);
    assert_eq!(closed(&bench.link(4, 63, Some(2))), [4]);
    assert_eq!(closed(&bench.link(5, 61, None)), [2], "another link to a peer that is linked needs no room");
    let actions = bench.feed(Event::Unlinked { link: LinkId(1), why: String::new() });
    assert_eq!(actions, [Action::Dial(endpoint(3))], "whom there was no room for waits its turn");
}

#[test]
fn who_never_says_a_word_makes_room_once_it_had_time_for_a_heartbeat() {
    let mut bench = Bench::new(Rules { peers: Vec::new(), ..rules() });
    bench.link(1, 60, None);
    bench.now = 1;
    bench.link(2, 61, None);
    bench.link(3, 60, None);
    bench.hear(3, 60, 1, chat("hi"));
    bench.now = 35_000;
    assert_eq!(closed(&bench.link(4, 62, None)), [4], "35 s are an interval and a timeout");
    bench.now = 35_001;
    assert_eq!(closed(&bench.link(5, 62, None)), [2]);
    assert_eq!(
        closed(&bench.link(6, 63, None)),
        [6],
        "the one that is left has spoken, and the other has only just come"
    );
}

#[test]
fn a_configured_peer_that_ends_the_link_without_a_word_twice_is_told_of_once() {
    let mut bench = Bench::new(rules());
    let mut told_of = Vec::new();
    for link in 1..5 {
        bench.now += 600_000;
        assert!(bench.feed(Event::Woke).contains(&Action::Dial(endpoint(1))));
        bench.link(link, 60, Some(1));
        let ended = bench.feed(Event::Unlinked { link: LinkId(link), why: "it ended".into() });
        told_of.push(told(&ended).iter().filter(|notice| matches!(notice, Notice::Unreachable { .. })).count());
    }
    assert_eq!(told_of, [0, 1, 0, 0]);
}

#[test]
fn a_neighbour_that_claims_a_configured_address_does_not_keep_it_from_being_dialled() {
    let mut bench = Bench::new(rules());
    bench.feed(Event::Woke);
    bench.feed(Event::DialFailed { endpoint: endpoint(1), why: String::new() });
    bench.link(1, 60, None);
    bench.hear(1, 60, 1 << 60, MessageBody::heartbeat(Some(endpoint(1))));
    bench.hear(1, 60, 1 << 61, MessageBody::heartbeat(Some(endpoint(2))));
    bench.now = 2_000;
    let dials = bench.feed(Event::Woke).into_iter().filter(|action| matches!(action, Action::Dial(_)));
    assert_eq!(dials.collect::<Vec<_>>(), [Action::Dial(endpoint(1))], "elsewhere it is believed to be there");
}

#[test]
fn a_question_for_history_is_no_longer_than_a_message_however_many_senders_there_are() {
    let mut bench = Bench::new(rules());
    bench.link(1, 60, None);
    let question = |actions: &Actions| {
        actions.iter().find_map(|action| match action {
            Action::Send { message, form, .. } => match &message.body {
                MessageBody::HistoryRequest(have) => {
                    Some((have.clone(), message.write(*form).map(|bytes| bytes.len())))
                }
                _ => None,
            },
            _ => None,
        })
    };
    // The longest numbers, and a gap after each.
    let hear = |bench: &mut Bench, senders: std::ops::Range<u128>| {
        for sender in senders {
            for number in 0..20 {
                bench.hear(1, sender, u64::MAX - 2 * number, chat("hi"));
            }
        }
    };
    hear(&mut bench, 1_000..1_100);
    let (have, length) = question(&bench.extend(1, 60)).expect("it asks");
    assert_eq!((have.len(), have.values().map(Vec::len).max()), (100, Some(8)));
    assert!(length.is_some());
    hear(&mut bench, 2_000..2_600);
    bench.link(2, 60, None);
    let (have, length) = question(&bench.extend(2, 60)).expect("it asks");
    assert!(have.len() > MAX_SENDERS - 3 && have.values().all(|runs| runs.len() == 1), "{}", have.len());
    assert!(length.is_some_and(|length| length < MAX_MESSAGE_BYTES), "{length:?}");
}

#[test]
fn heartbeats_are_sent_and_a_silent_link_ends_at_the_interval_and_the_timeout() {
    let mut bench = Bench::new(rules());
    let is_beat = |action: &Action| matches!(action, Action::Send { message, .. } if matches!(message.body, MessageBody::Heartbeat { .. }));
    assert!(bench.link(1, 60, None).iter().any(is_beat), "at once");
    bench.hear(1, 60, 1, MessageBody::Heartbeat { extension: None, listen: None });
    bench.now = 29_999;
    assert!(!bench.feed(Event::Woke).iter().any(is_beat));
    bench.now = 30_000;
    assert!(bench.engine.wake_at().0 <= 30_000 && bench.feed(Event::Woke).iter().any(is_beat));
    bench.now = 34_999;
    assert_eq!(closed(&bench.feed(Event::Woke)), Vec::<u64>::new());
    bench.now = 35_000;
    assert_eq!(closed(&bench.feed(Event::Woke)), [1]);
}

#[test]
fn posts_move_no_deadline_and_what_is_due_is_done_with_them() {
    for rules in [rules(), lan::on_lan()] {
        let mut bench = Bench::new(rules);
        bench.link(1, 60, None);
        bench.extend(1, 60);
        bench.feed(Event::Woke);
        while bench.engine.wake_at() < BootMs(30_000) {
            bench.now = bench.engine.wake_at().0;
            bench.feed(Event::Woke);
        }
        let is_beat = |action: &Action| matches!(action, Action::Send { message, .. } if matches!(message.body, MessageBody::Heartbeat { .. }));
        for (now, beats) in [(29_999, false), (30_000, true)] {
            bench.now = now;
            let posted = bench.feed(Event::Posted("hi".to_owned()));
            assert_eq!(posted.iter().any(is_beat), beats, "at {now} ms");
            let wake_at = bench.engine.wake_at();
            assert_eq!(bench.feed(Event::Woke), [], "at {now} ms nothing else was due");
            assert_eq!(bench.engine.wake_at(), wake_at, "at {now} ms nothing is sooner");
        }
    }
}

#[test]
fn a_peer_that_never_sent_a_heartbeat_is_not_dropped_for_sending_none() {
    let mut bench = Bench::new(rules());
    bench.link(1, 60, None);
    bench.hear(1, 60, 1, chat("hi"));
    bench.now = 1_000_000;
    assert_eq!(closed(&bench.feed(Event::Woke)), Vec::<u64>::new());
}

#[test]
fn a_peer_that_was_hard_to_reach_and_spoke_is_dialled_again_after_a_second_when_it_is_lost() {
    let mut bench = Bench::new(rules());
    for _ in 0..8 {
        bench.now = bench.now.max(bench.engine.wake_at().0);
        assert!(bench.feed(Event::Woke).contains(&Action::Dial(endpoint(1))));
        bench.feed(Event::DialFailed { endpoint: endpoint(1), why: String::new() });
    }
    bench.now = bench.engine.wake_at().0;
    bench.feed(Event::Woke);
    bench.link(1, 60, Some(1));
    bench.hear(1, 60, 1, chat("hi"));
    bench.feed(Event::Unlinked { link: LinkId(1), why: String::new() });
    bench.now += 1_200;
    assert!(bench.feed(Event::Woke).contains(&Action::Dial(endpoint(1))));
}

#[test]
fn of_two_that_come_at_the_same_moment_one_is_told_where_the_other_is() {
    let mut bench = Bench::new(rules());
    let lists = |actions: &Actions| -> Vec<PeerEndpoint> {
        let lists = actions.iter().filter_map(|action| match action {
            Action::Send { message: MeshMessage { body: MessageBody::PeerList(list), .. }, .. } => Some(list.clone()),
            _ => None,
        });
        lists.flatten().collect()
    };
    assert_eq!((lists(&bench.link(1, 60, None)), lists(&bench.link(2, 61, None))), (vec![], vec![]));
    assert_eq!(lists(&bench.hear(1, 60, 1, MessageBody::heartbeat(Some(endpoint(7))))), []);
    assert_eq!(lists(&bench.hear(2, 61, 1, MessageBody::heartbeat(Some(endpoint(8))))), [endpoint(7)]);
}

#[test]
fn chat_is_passed_on_once_and_never_back() {
    let mut bench = Bench::new(Rules { max_connections: 9, ..rules() });
    for link in [1, 2, 3, 4] {
        bench.link(link, 60 + u128::from(link), None);
    }
    // Peer 63's, heard from peer 61: neither gets it.
    let actions = bench.hear(1, 63, 7, chat("hi"));
    assert_eq!(chats(&actions), [2, 4]);
    assert!(matches!(told(&actions)[..], [Notice::Post { .. }]));
    assert_eq!(bench.hear(2, 63, 7, chat("hi")), []);
    assert_eq!(bench.engine.counts().duplicates, 1);
    assert_eq!(bench.hear(9, 63, 8, chat("late")), [], "from a link that is closed");
}

#[test]
fn a_copy_that_is_known_by_its_head_leaves_the_engine_as_if_it_had_been_read() {
    let mut bench = Bench::new(Rules { max_connections: 9, ..rules() });
    for link in [1, 2] {
        bench.link(link, 60 + u128::from(link), None);
    }
    bench.hear(1, 61, 7, chat("hi"));
    bench.hear(1, 70, 7, chat("hi"));
    bench.engine.mesh.tree.senders.forgotten.insert(PeerId(80), 7);
    bench.now = 5;
    let again = [(2, 70, 7), (1, 70, 7), (2, 61, 7), (2, 80, 7)];
    // New, of somebody new, a neighbour's own word, and on a link that is closed.
    let others = [(2, 70, 8), (2, 71, 7), (1, 61, 7), (2, 62, 7), (9, 70, 7)];
    for (link, sender, number) in again.into_iter().chain(others) {
        let (mut read, mut glanced) = (bench.engine.clone(), bench.engine.clone());
        let is_known = glanced.hears_again(LinkId(link), PeerId(sender), number, at(5).boot);
        assert_eq!(is_known, again.contains(&(link, sender, number)), "{sender}/{number} on {link}");
        if is_known {
            let message = MeshMessage { sender: PeerId(sender), number, said_at: 5, name: None, body: chat("hi") };
            let heard = Event::Heard { link: LinkId(link), message, text_times: false };
            assert_eq!(read.handle(heard, at(5), Draw(5)), []);
        }
        assert_eq!(format!("{glanced:?}"), format!("{read:?}"), "{sender}/{number} on {link}");
    }
}

#[test]
fn with_more_senders_than_are_remembered_nothing_goes_round_for_ever() {
    let mut bench = Bench::new(Rules { max_connections: 9, ..rules() });
    bench.link(1, 61, None);
    bench.link(2, 62, None);
    // As in a ring: whatever was passed on to one neighbour comes back from the other, again and again.
    let mut rounds = Vec::new();
    for _ in 0..4 {
        let mut shown = 0;
        for sender in 1_000..2_000 {
            shown += told(&bench.hear(1, sender, 7, chat("hi"))).len();
        }
        rounds.push(shown);
    }
    assert_eq!(rounds, [1_000, 0, 0, 0]);
    assert_eq!(told(&bench.hear(1, 1_000, 8, chat("hi"))).len(), 1, "who was forgotten may say more");
}

#[test]
fn an_answer_of_what_forgotten_senders_said_is_not_the_end_of_asking() {
    let mut bench = Bench::new(rules());
    bench.link(1, 60, None);
    bench.extend(1, 60);
    for number in 1..=100 {
        bench.hear(1, 1_000, number, chat("hi"));
    }
    for sender in 2_000..2_600 {
        bench.hear(1, sender, 1, chat("hi"));
    }
    bench.hear(1, 60, 8, MessageBody::HistoryEnd { more: false });
    bench.link(2, 60, None);
    bench.extend(2, 60);
    for number in 37..=100 {
        assert_eq!(bench.hear(2, 1_000, number, chat("hi")), [], "it was heard");
    }
    let asked = bench.hear(2, 60, 9, MessageBody::HistoryEnd { more: true });
    let named = asked.iter().find_map(|action| match action {
        Action::Send { message: MeshMessage { body: MessageBody::HistoryRequest(have), .. }, .. } => {
            have.get(&PeerId(1_000))
        }
        _ => None,
    });
    assert_eq!(named, Some(&vec![(0, 100)]), "the next part is of something else");
    bench.hear(2, 1_000, 100, chat("hi"));
    assert_ne!(bench.hear(2, 60, 10, MessageBody::HistoryEnd { more: true }), []);
    bench.hear(2, 1_000, 100, chat("hi"));
    assert_ne!(bench.hear(2, 60, 11, MessageBody::HistoryEnd { more: true }), []);
    bench.hear(2, 1_000, 100, chat("hi"));
    assert_eq!(
        bench.hear(2, 60, 12, MessageBody::HistoryEnd { more: true }),
        [],
        "who repeats itself is not asked for ever"
    );
}

#[test]
fn an_answer_to_a_question_for_history_is_no_longer_than_a_queue_has_room() {
    let mut bench = Bench::new(Rules { answer_bytes: 5_000, ..rules() });
    // Each takes twice as many bytes in JSON.
    for _ in 0..10 {
        bench.feed(Event::Posted("\"".repeat(1_000)));
    }
    bench.link(1, 60, None);
    let mut have = BTreeMap::new();
    let mut parts = Vec::new();
    loop {
        let actions = bench.hear(1, 60, (1 << 60) + parts.len() as u64, MessageBody::HistoryRequest(have.clone()));
        let mut numbers = Vec::new();
        let mut end = None;
        for action in &actions {
            match action {
                Action::Send { message: MeshMessage { body: MessageBody::Chat(_), number, .. }, .. } => {
                    numbers.push(*number)
                }
                Action::Send { message: MeshMessage { body: MessageBody::HistoryEnd { more }, .. }, .. } => {
                    end = Some(*more)
                }
                _ => {}
            }
        }
        let first = have.get(&ME).map_or(numbers[0], |runs: &SeqRanges| runs[0].0);
        have.insert(ME, vec![(first, *numbers.last().unwrap())]);
        parts.push(numbers.len());
        if end == Some(false) {
            break;
        }
    }
    assert_eq!(parts, [2, 2, 2, 2, 2]);
    // One that is longer than the room goes all the same.
    let mut bench = Bench::new(Rules { answer_bytes: 10, ..rules() });
    bench.feed(Event::Posted("a".into()));
    bench.link(1, 60, None);
    assert_eq!(chats(&bench.hear(1, 60, 1 << 60, MessageBody::HistoryRequest(BTreeMap::new()))), [1]);
}

#[test]
fn numbers_of_chat_follow_each_other_and_those_of_the_next_run_are_higher() {
    let number = |actions: &Actions| {
        actions.iter().find_map(|action| match action {
            Action::Keep(entry) => Some(entry.number),
            _ => None,
        })
    };
    let mut bench = Bench::new(rules());
    let first = number(&bench.feed(Event::Posted("a".into()))).unwrap();
    bench.link(1, 60, None);
    assert_eq!(number(&bench.feed(Event::Posted("b".into()))), Some(first + 1), "a heartbeat takes none of them");
    // The clock was set back an hour since.
    let earlier = Now { boot: BootMs(0), unix_s: at(0).unix_s - 3600 };
    let kept = bench.engine.history().entries().into_iter().cloned().collect();
    let mut again = Engine::new(rules(), kept, earlier);
    let actions = again.handle(Event::Posted("c".into()), earlier, Draw(0));
    assert_eq!(number(&actions), Some(first + 2));
    assert!(first + 2 < CONTROL_NUMBERS && CONTROL_NUMBERS * 2 == 1 << 53);
}

#[test]
fn a_number_that_somebody_made_up_for_this_peer_does_not_use_up_its_own() {
    let mut bench = Bench::new(Rules { history_size: 1_000, ..rules() });
    bench.link(1, 60, None);
    for number in [u64::MAX, u64::MAX - 1, CONTROL_NUMBERS, HIGHEST_CHAT] {
        bench.hear(1, ME.0, number, chat("forged"));
    }
    let kept = bench.engine.history().entries().into_iter().cloned().collect();
    for engine in [bench.engine.clone(), Engine::new(rules(), kept, at(0))] {
        let mut bench = Bench { engine, now: 0 };
        for text in ["one", "two"] {
            let actions = bench.feed(Event::Posted(text.into()));
            let number = actions.iter().find_map(|action| match action {
                Action::Keep(entry) => Some(entry.number),
                _ => None,
            });
            assert!(number.is_some_and(|number| number < HIGHEST_CHAT), "{number:?}");
        }
    }
}

#[test]
fn a_peer_without_the_extension_is_asked_and_told_nothing_that_it_does_not_know() {
    let mut bench = Bench::new(rules());
    let mut actions = bench.link(1, 60, None);
    actions.extend(bench.hear(1, 60, 1, MessageBody::Heartbeat { extension: None, listen: None }));
    actions.extend(bench.feed(Event::Introduced(PeerProfile::new("Al", "", None))));
    actions.extend(bench.feed(Event::Whispered { to: PeerId(60).to_string(), text: "psst".into() }));
    for action in &actions {
        if let Action::Send { message, form, .. } = action {
            assert!(message.body.is_plain() && !form.extended, "{message:?}");
        }
    }
    assert!(matches!(told(&actions).last(), Some(Notice::Refused { .. })));
    let long = bench.feed(Event::Posted("x".repeat(5_000)));
    assert!(told(&long).iter().any(|notice| matches!(notice, Notice::Refused { why } if why.contains("1 peers"))));
}

#[test]
fn a_peer_with_the_extension_is_asked_for_history_until_there_is_no_more() {
    let mut bench = Bench::new(rules());
    bench.link(1, 60, None);
    let is_question = |action: &Action| matches!(action, Action::Send { message, form: MessageFormat { extended: true, .. }, .. } if matches!(message.body, MessageBody::HistoryRequest(_)));
    assert!(bench.extend(1, 60).iter().any(is_question));
    assert!(!bench.extend(1, 60).iter().any(is_question), "once");
    bench.hear(1, 77, 3, chat("old"));
    assert!(bench.hear(1, 60, 9, MessageBody::HistoryEnd { more: true }).iter().any(is_question));
    // All of the part may have come from elsewhere meanwhile.
    let ends = [(); 4].map(|()| bench.hear(1, 60, 9, MessageBody::HistoryEnd { more: true }).iter().any(is_question));
    assert_eq!(ends, [true, true, false, false], "it gave nothing new three times");
}

#[test]
fn what_is_between_neighbours_counts_only_from_the_neighbour() {
    let mut bench = Bench::new(rules());
    bench.link(1, 60, None);
    bench.extend(1, 60);
    let direct = MessageBody::Direct { to: ME, text: "psst".into() };
    assert_eq!(bench.hear(1, 61, 1, direct.clone()), [], "forged");
    assert!(matches!(told(&bench.hear(1, 60, 2, direct))[..], [Notice::Direct { .. }]));
    assert_eq!(bench.hear(1, 60, 3, MessageBody::Direct { to: PeerId(1), text: "not for us".into() }), []);
}
