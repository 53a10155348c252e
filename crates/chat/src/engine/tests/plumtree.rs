//! Tests of eager and lazy push, of history requests, and of lost links.

use super::*;

/// Links 1 to 3 to the peers 61 to 63. All these peers support lazy push.
fn with_three_links() -> Harness {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, peers: Vec::new(), ..config() });
    for link in [1, 2, 3] {
        let peer = 60 + u128::from(link);
        harness.link(link, peer, None);
        harness.receive_heartbeat(link, peer);
        harness.receive(link, peer, 1 << 61, MessageBody::HistoryEnd { more: false });
    }
    harness
}

/// Links 1 and 2 to the peers 61 and 62. The history keeps one message per author.
fn with_a_history_of_one_entry() -> Harness {
    let mut harness =
        Harness { engine: Engine::new(EngineConfig { history_size: 1, ..config() }, Vec::new(), at(0)), now: 0 };
    for link in [1, 2] {
        harness.link(link, 60 + u128::from(link), None);
        harness.receive_heartbeat(link, 60 + u128::from(link));
    }
    harness
}

impl Harness {
    /// A chat message of author 70 arrives on this link.
    fn receive_from_70(&mut self, link: u64, number: u64) -> Actions {
        self.receive(link, 70, number, chat("hi"))
    }

    /// A control message of the linked peer arrives on its link.
    fn receive_control(&mut self, link: u64, body: MessageBody) -> Actions {
        self.receive(link, 60 + u128::from(link), 1 << 62, body)
    }

    fn advance(&mut self, ms: u64) -> Actions {
        self.now += ms;
        self.feed(Event::TimerFired)
    }
}

/// Values that `pick` takes from the sent messages, each with the first link of its message.
fn sent<T>(actions: &Actions, pick: impl Fn(&MessageBody) -> Option<T>) -> Vec<(u64, T)> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { links, message, .. } => pick(&message.body).map(|picked| (links[0].0, picked)),
        _ => None,
    });
    sent.collect()
}

fn pruned_links(actions: &Actions) -> Vec<(u64, PeerId)> {
    sent(actions, |body| if let MessageBody::Prune(author) = body { Some(*author) } else { None })
}

fn haves(actions: &Actions) -> Vec<(u64, BTreeMap<PeerId, SeqRanges>)> {
    sent(actions, |body| if let MessageBody::Have(ranges) = body { Some(ranges.clone()) } else { None })
}

fn history_requests(actions: &Actions) -> Vec<u64> {
    let requests = sent(actions, |body| matches!(body, MessageBody::HistoryRequest(_)).then_some(()));
    requests.into_iter().map(|(link, ())| link).collect()
}

fn ranges_of_70(first: u64, last: u64) -> BTreeMap<PeerId, SeqRanges> {
    BTreeMap::from([(PeerId(70), vec![(first, last)])])
}

#[test]
fn a_link_that_delivers_duplicates_is_pruned_once_per_author() {
    let mut harness = with_three_links();
    assert_eq!(pruned_links(&harness.receive_from_70(1, 1)), [], "the first link becomes the parent");
    assert_eq!(pruned_links(&harness.receive_from_70(2, 1)), [(2, PeerId(70))]);
    assert_eq!(pruned_links(&harness.receive_from_70(2, 1)), []);
    assert_eq!(pruned_links(&harness.receive_from_70(3, 2)), [(3, PeerId(70))], "although link 3 was first this time");
    assert_eq!(pruned_links(&harness.receive_from_70(1, 2)), [], "the parent is not pruned");
    assert_eq!(pruned_links(&harness.receive(1, 71, 1, chat("hi"))), []);
    assert_eq!(
        pruned_links(&harness.receive(2, 71, 1, chat("hi"))),
        [(2, PeerId(71))],
        "each author is pruned separately"
    );
}

#[test]
fn a_duplicate_is_detected_from_its_header_once_its_link_is_pruned() {
    let mut harness = with_three_links();
    harness.receive_from_70(1, 1);
    let is_duplicate = |harness: &mut Harness, link| {
        harness.engine.handle_if_duplicate(LinkId(link), PeerId(70), 1, at(harness.now).boot)
    };
    assert!(is_duplicate(&mut harness, 1));
    assert!(!is_duplicate(&mut harness, 2), "the whole message is needed to prune the link");
    assert_eq!(pruned_links(&harness.receive_from_70(2, 1)), [(2, PeerId(70))]);
    assert!(is_duplicate(&mut harness, 2));
}

#[test]
fn the_direct_link_to_an_author_becomes_the_parent() {
    let mut harness = with_three_links();
    // A copy arrives before the message of the author itself.
    assert_eq!(pruned_links(&harness.receive(2, 61, 1, chat("hi"))), []);
    assert_eq!(pruned_links(&harness.receive(1, 61, 1, chat("hi"))), []);
    // From now on the author's own link delivers first.
    assert_eq!(pruned_links(&harness.receive(1, 61, 2, chat("hi"))), []);
    assert_eq!(pruned_links(&harness.receive(2, 61, 2, chat("hi"))), [(2, PeerId(61))]);
}

#[test]
fn a_pruned_link_gets_an_announcement_after_a_delay_and_other_links_get_the_chat_at_once() {
    let mut harness = with_three_links();
    harness.receive_control(2, MessageBody::Prune(PeerId(70)));
    harness.now = 10;
    assert_eq!(chat_links(&harness.receive_from_70(1, 7)), [3]);
    harness.now = 20;
    assert_eq!(chat_links(&harness.receive_from_70(1, 8)), [3]);
    assert_eq!(chat_links(&harness.receive(1, 71, 1, chat("hi"))), [2, 3], "other authors are still pushed eagerly");
    assert_eq!(harness.engine.wake_at(), BootMs(30));
    assert_eq!(harness.advance(9), []);
    let actions = harness.advance(1);
    assert_eq!((haves(&actions), actions.len()), (vec![(2, ranges_of_70(7, 8))], 1));
    assert!(harness.engine.wake_at() > BootMs(1_000), "no `have` is pending");
}

#[test]
fn a_history_request_resets_the_link_to_eager_push_and_is_answered_in_full() {
    let mut harness = with_three_links();
    harness.receive_control(2, MessageBody::Prune(PeerId(70)));
    harness.receive_from_70(1, 7);
    let answer = harness.receive_control(2, MessageBody::HistoryRequest(BTreeMap::new()));
    assert_eq!(chat_links(&answer), [2]);
    assert_eq!(haves(&harness.advance(20)), [], "the message itself was sent");
    assert_eq!(chat_links(&harness.receive_from_70(1, 8)), [2, 3]);
}

#[test]
fn announced_chat_that_does_not_arrive_is_requested_after_a_delay() {
    let mut harness = with_three_links();
    for number in 1..=2 {
        harness.receive_from_70(1, number);
        harness.receive_from_70(2, number);
    }
    harness.receive_control(2, MessageBody::Have(ranges_of_70(1, 3)));
    harness.receive_control(2, MessageBody::Have(ranges_of_70(4, 5)));
    assert_eq!(harness.engine.wake_at(), BootMs(100));
    assert_eq!(history_requests(&harness.advance(99)), [0u64; 0]);
    let actions = harness.advance(1);
    assert_eq!(history_requests(&actions), [2]);
    let have =
        sent(&actions, |body| if let MessageBody::HistoryRequest(have) = body { Some(have.clone()) } else { None });
    assert_eq!(have[0].1[&PeerId(70)], [(1, 2)]);
    // From now on link 2 is the parent, and link 1, which did not deliver, is pruned.
    for number in 3..=5 {
        assert_eq!(pruned_links(&harness.receive_from_70(2, number)), []);
    }
    assert_eq!(pruned_links(&harness.receive_from_70(1, 5)), [(1, PeerId(70))]);
}

#[test]
fn of_several_peers_with_missing_chat_one_is_asked_at_a_time() {
    let mut harness = with_three_links();
    for link in [1, 2, 3] {
        harness.receive_from_70(link, 1);
    }
    for link in [2, 3] {
        harness.receive_control(link, MessageBody::Have(ranges_of_70(2, 2)));
    }
    assert_eq!(history_requests(&harness.advance(100)), [2]);
    assert_eq!(history_requests(&harness.advance(99)), [0u64; 0]);
    assert_eq!(history_requests(&harness.advance(1)), [3]);
}

/// The first batch has no news, because another link delivered its messages just before.
#[test]
fn missing_chat_is_requested_until_it_arrives() {
    let mut harness = with_three_links();
    harness.receive_from_70(1, 1);
    harness.receive_from_70(2, 1);
    harness.receive_control(2, MessageBody::Have(ranges_of_70(2, 200)));
    assert_eq!(history_requests(&harness.advance(100)), [2]);
    for number in 2..=65 {
        harness.receive_from_70(1, number);
    }
    harness.engine.mesh.links.get_mut(LinkId(2)).unwrap().push.receive.has_progress = false;
    for number in 2..=65 {
        harness.receive_from_70(2, number);
    }
    assert_eq!(
        history_requests(&harness.receive_control(2, MessageBody::HistoryEnd { more: true })),
        [2],
        "for the next batch"
    );
    harness.receive_control(2, MessageBody::HistoryEnd { more: false });
    harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() });
    assert_eq!(history_requests(&harness.advance(100)), [2], "while chat is missing");
    for number in 66..=200 {
        harness.receive_from_70(2, number);
    }
    harness.receive_control(2, MessageBody::HistoryEnd { more: false });
    assert_eq!(history_requests(&harness.advance(1_000)), [0u64; 0]);
}

#[test]
fn the_rest_of_an_answer_is_kept_for_the_follow_up_request() {
    let mut harness = with_a_history_of_one_entry();
    harness.receive_from_70(1, 1);
    harness.receive_control(2, MessageBody::Prune(PeerId(70)));
    for number in 2..=100 {
        harness.receive_from_70(1, number);
    }
    // A batch has 64 messages. Message 101 is pushed at once. It then belongs to the rest of the
    // answer too.
    assert_eq!(chat_links(&harness.receive_control(2, MessageBody::HistoryRequest(ranges_of_70(1, 1)))).len(), 64);
    assert_eq!(chat_links(&harness.receive_from_70(1, 101)), [2]);
    harness.now = 1_999;
    assert_eq!(chat_links(&harness.receive_control(2, MessageBody::HistoryRequest(ranges_of_70(1, 65)))).len(), 36);
}

#[test]
fn a_history_request_names_all_ranges_of_an_author_with_missing_chat() {
    let mut harness = with_three_links();
    for number in 0..30 {
        harness.receive_from_70(1, 2 * number);
    }
    // The other authors are more recent, so author 70 would be the last in the request if it had no
    // missing chat.
    harness.advance(1);
    for author in 1_000..1_500 {
        harness.receive(1, author, 1, chat("hi"));
        harness.receive(1, author, 3, chat("hi"));
    }
    harness.receive_control(2, MessageBody::Have(ranges_of_70(1, 1)));
    let actions = harness.advance(100);
    let have =
        sent(&actions, |body| if let MessageBody::HistoryRequest(have) = body { Some(have.clone()) } else { None });
    assert_eq!(have[0].1[&PeerId(70)].len(), 30);
    let others = have[0].1.iter().filter(|(author, _)| **author != PeerId(70));
    assert!(others.clone().count() > 490 && others.clone().all(|(_, ranges)| ranges.len() == 1));
}

#[test]
fn a_full_table_of_missing_ranges_leads_to_a_full_history_request() {
    let mut harness = with_three_links();
    harness.receive_from_70(1, 1);
    let odd = |from: u64| (from..from + 300).map(|number| (2 * number, 2 * number)).collect::<SeqRanges>();
    harness.receive_control(2, MessageBody::Have(BTreeMap::from([(PeerId(70), odd(10))])));
    harness.receive_control(2, MessageBody::Have(BTreeMap::from([(PeerId(70), odd(1_000))])));
    for number in 10..310 {
        harness.receive_from_70(1, 2 * number);
    }
    for number in 1_000..1_212 {
        harness.receive_from_70(1, 2 * number);
    }
    assert_eq!(history_requests(&harness.advance(100)), [2], "the table had no room for the other ranges");
}

#[test]
fn a_replaced_link_stays_the_parent_under_its_new_id() {
    let mut harness = with_three_links();
    harness.receive_from_70(1, 1);
    harness.receive_from_70(2, 1);
    harness.link(4, 61, None);
    let ended = harness.feed(Event::LinkClosed { link: LinkId(4), reason: String::new() });
    assert_eq!(history_requests(&ended), [2]);
}

#[test]
fn chat_that_arrives_in_time_is_not_requested() {
    let mut harness = with_three_links();
    harness.receive_from_70(1, 1);
    harness.receive_from_70(2, 1);
    harness.receive_control(2, MessageBody::Have(ranges_of_70(2, 3)));
    harness.receive_from_70(1, 2);
    harness.now = 99;
    harness.receive_from_70(1, 3);
    assert_eq!(history_requests(&harness.advance(1)), [0u64; 0]);
    assert!(harness.engine.wake_at() > BootMs(1_000));
}

#[test]
fn a_lost_parent_is_replaced_by_a_pruned_link() {
    let mut harness = with_three_links();
    harness.receive_from_70(1, 1);
    harness.receive_from_70(2, 1);
    let ended = harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() });
    assert_eq!(history_requests(&ended), [2]);
    // Link 2 delivers new chat, so the request counts as useful.
    harness.receive_from_70(2, 2);
    assert_eq!(pruned_links(&harness.receive_from_70(3, 2)), [(3, PeerId(70))]);
    let ended = harness.feed(Event::LinkClosed { link: LinkId(3), reason: String::new() });
    assert_eq!(history_requests(&ended), [0u64; 0], "link 3 was not a parent");
}

#[test]
fn one_history_request_is_open_at_a_time_and_a_useless_peer_is_asked_rarely() {
    let mut harness = with_three_links();
    harness.receive_control(2, MessageBody::Have(ranges_of_70(1, 1)));
    assert_eq!(history_requests(&harness.advance(100)), [2]);
    harness.receive_control(2, MessageBody::Have(ranges_of_70(2, 2)));
    assert_eq!(history_requests(&harness.advance(1_000)), [0u64; 0]);
    harness.receive_from_70(2, 1);
    // The link was useful, and no other link is expected to deliver the missing chat.
    harness.feed(Event::LinkClosed { link: LinkId(1), reason: String::new() });
    assert_eq!(history_requests(&harness.receive_control(2, MessageBody::HistoryEnd { more: false })), [2]);
    harness.receive_control(2, MessageBody::HistoryEnd { more: false });
    let mut questions = 0;
    for number in 0..1_000 {
        harness.now += 1;
        let mut actions =
            harness.receive_control(2, MessageBody::Have(BTreeMap::from([(PeerId(80), vec![(number, u64::MAX)])])));
        actions.extend(harness.receive_control(2, MessageBody::HistoryEnd { more: false }));
        questions += history_requests(&actions).len();
    }
    assert!((9..=10).contains(&questions), "{questions} requests in a second");
}

#[test]
fn evicted_entries_are_kept_for_peers_that_got_an_announcement() {
    let mut harness = with_a_history_of_one_entry();
    harness.receive_from_70(1, 1);
    harness.receive_control(2, MessageBody::Prune(PeerId(70)));
    for number in 2..=4 {
        harness.receive_from_70(1, number);
    }
    let mut waiting = harness.engine.clone();
    let request = MeshMessage {
        sender: PeerId(62),
        number: 1 << 62,
        said_at: 5,
        name: None,
        body: MessageBody::HistoryRequest(ranges_of_70(1, 1)),
    };
    let event = Event::MessageReceived { link: LinkId(2), message: request };
    assert_eq!(sent_numbers(&waiting.handle(event.clone(), at(4_999), EventRng(0))), [2, 3, 4]);
    waiting.handle(Event::TimerFired, at(5_000), EventRng(0));
    assert_eq!(sent_numbers(&waiting.handle(event, at(5_000), EventRng(0))), [4]);
    // After its shutdown this peer answers no requests, so it pushes these messages now.
    let left = harness.feed(Event::ShuttingDown);
    assert_eq!((sent_numbers(&left), chat_links(&left)), (vec![2, 3, 4], vec![2, 2, 2]));
}

#[test]
fn two_open_requests_are_both_answered_and_own_posts_are_kept_for_the_rest_of_an_answer() {
    let mut harness = with_three_links();
    harness.receive_from_70(1, 1);
    harness.receive_from_70(2, 1);
    harness.receive_control(2, MessageBody::Have(ranges_of_70(2, 2)));
    assert_eq!(history_requests(&harness.advance(100)), [2]);
    harness.receive_from_70(2, 2);
    harness.receive_from_70(3, 1);
    harness.engine.mesh.links.get_mut(LinkId(2)).unwrap().push.receive.start_request(BootMs(100));
    assert_eq!(history_requests(&harness.receive_control(2, MessageBody::HistoryEnd { more: false })), [0u64; 0]);
    assert_eq!(
        history_requests(&harness.receive_control(2, MessageBody::HistoryEnd { more: true })),
        [2],
        "the second request is not answered completely"
    );

    let mut harness = Harness::new(EngineConfig { history_size: 70, ..config() });
    harness.link(1, 61, None);
    harness.receive_heartbeat(1, 61);
    let post = |harness: &mut Harness| (0..70).for_each(|_| drop(harness.feed(Event::PostRequested("hi".into()))));
    post(&mut harness);
    let ask = |harness: &mut Harness, have| harness.receive(1, 61, 1 << 62, MessageBody::HistoryRequest(have));
    let first = ask(&mut harness, BTreeMap::new());
    let numbers = sent_numbers(&first);
    post(&mut harness);
    let have = BTreeMap::from([(ME, vec![(numbers[0], numbers[63])])]);
    assert_eq!(sent_numbers(&ask(&mut harness, have))[..6], (1..=6).map(|n| numbers[63] + n).collect::<Vec<u64>>());
}

fn sent_numbers(actions: &Actions) -> Vec<u64> {
    let chats = actions.iter().filter_map(|action| match action {
        Action::Send { message: MeshMessage { body: MessageBody::Chat(_), number, .. }, .. } => Some(*number),
        _ => None,
    });
    chats.collect()
}

#[test]
fn chat_that_could_not_be_requested_later_is_pushed_eagerly() {
    let mut harness = with_a_history_of_one_entry();
    harness.receive_control(2, MessageBody::Prune(PeerId(70)));
    let mut long = |number| chat_links(&harness.receive(1, 70, number, chat(&"x".repeat(8_000)))).len();
    // Evicted entries are kept for lazy push up to 2 MiB in all.
    assert_eq!((1..=256).map(&mut long).sum::<usize>(), 0);
    assert_eq!((257..=356).map(&mut long).sum::<usize>(), 98, "257 texts with their overhead take 2 MiB");
}

#[test]
fn pending_announcements_are_bounded() {
    let mut harness = with_three_links();
    harness.receive_control(2, MessageBody::Prune(PeerId(70)));
    let mut sent_haves = Vec::new();
    for number in 1..=600 {
        sent_haves.extend(haves(&harness.receive_from_70(1, number)));
    }
    assert_eq!(sent_haves, [(2, ranges_of_70(1, 512))]);
    // The longest possible `have` fits into a message.
    for author in 0..512 {
        harness.receive_control(3, MessageBody::Prune(PeerId(u128::MAX - author)));
    }
    let longest = (0..512).map(|author| haves(&harness.receive(1, u128::MAX - author, u64::MAX - 1, chat("hi"))));
    let (_, ranges) = longest.flatten().find(|(link, _)| *link == 3).expect("a have message");
    let message =
        MeshMessage { sender: ME, number: u64::MAX, said_at: i64::MIN, name: None, body: MessageBody::Have(ranges) };
    let format = MessageFormat { extended: true };
    assert_eq!(message.body, message.write(format).and_then(|bytes| MeshMessage::read(&bytes)).unwrap().body);
    harness.receive_control(3, MessageBody::Prune(PeerId(70)));
    assert_eq!(chat_links(&harness.receive_from_70(1, 700)), [3], "the number of pruned authors is bounded too");
}

#[test]
fn peers_without_lazy_push_get_all_chat_at_once() {
    let mut harness = Harness::new(EngineConfig { max_connections: 9, ..config() });
    for (link, extension) in [(1, Some(2)), (2, None), (3, Some(1))] {
        harness.link(link, 60 + u128::from(link), None);
        harness.receive_control(link, MessageBody::Heartbeat { extension, listen: None });
        harness.receive_control(link, MessageBody::HistoryEnd { more: false });
    }
    for number in 1..=3 {
        assert_eq!(chat_links(&harness.receive_from_70(1, number)), [2, 3]);
        assert_eq!(pruned_links(&harness.receive_from_70(2, number)), []);
        assert_eq!(pruned_links(&harness.receive_from_70(3, number)), []);
    }
}
