//! Who is sent chat, who is told of it, and what comes of that when a link is lost.

use super::*;

/// Peers 61 to 63 of this program on links 1 to 3.
fn among_three() -> Bench {
    let mut bench = Bench::new(Rules { max_connections: 9, peers: Vec::new(), ..rules() });
    for link in [1, 2, 3] {
        let peer = 60 + u128::from(link);
        bench.link(link, peer, None);
        bench.extend(link, peer);
        bench.hear(link, peer, 1 << 61, MessageBody::HistoryEnd { more: false });
    }
    bench
}

/// Peers 61 and 62 of this program on links 1 and 2, and room for one message of each author.
fn with_a_history_of_one() -> Bench {
    let mut bench = Bench { engine: Engine::new(Rules { history_size: 1, ..rules() }, Vec::new(), at(0)), now: 0 };
    for link in [1, 2] {
        bench.link(link, 60 + u128::from(link), None);
        bench.extend(link, 60 + u128::from(link));
    }
    bench
}

impl Bench {
    /// Peer 70 says it, and it comes on this link.
    fn hear_70(&mut self, link: u64, number: u64) -> Actions {
        self.hear(link, 70, number, chat("hi"))
    }

    /// The neighbour says this of others' chat.
    fn agree(&mut self, link: u64, body: MessageBody) -> Actions {
        self.hear(link, 60 + u128::from(link), 1 << 62, body)
    }

    fn wait(&mut self, ms: u64) -> Actions {
        self.now += ms;
        self.feed(Event::Woke)
    }
}

/// What was sent of this kind, and where to.
fn sent<T>(actions: &Actions, pick: impl Fn(&MessageBody) -> Option<T>) -> Vec<(u64, T)> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { links, message, .. } => pick(&message.body).map(|picked| (links[0].0, picked)),
        _ => None,
    });
    sent.collect()
}

fn pruned(actions: &Actions) -> Vec<(u64, PeerId)> {
    sent(actions, |body| if let MessageBody::Prune(author) = body { Some(*author) } else { None })
}

fn told_of(actions: &Actions) -> Vec<(u64, BTreeMap<PeerId, SeqRanges>)> {
    sent(actions, |body| if let MessageBody::Have(runs) = body { Some(runs.clone()) } else { None })
}

fn asked(actions: &Actions) -> Vec<u64> {
    let asked = sent(actions, |body| matches!(body, MessageBody::HistoryRequest(_)).then_some(()));
    asked.into_iter().map(|(link, ())| link).collect()
}

fn of_70(first: u64, last: u64) -> BTreeMap<PeerId, SeqRanges> {
    BTreeMap::from([(PeerId(70), vec![(first, last)])])
}

#[test]
fn whoever_brings_what_comes_from_elsewhere_is_asked_to_spare_it_once() {
    let mut bench = among_three();
    assert_eq!(pruned(&bench.hear_70(1, 1)), [], "it is where 70 is heard");
    assert_eq!(pruned(&bench.hear_70(2, 1)), [(2, PeerId(70))]);
    assert_eq!(pruned(&bench.hear_70(2, 1)), []);
    assert_eq!(pruned(&bench.hear_70(3, 2)), [(3, PeerId(70))], "though it was quicker this time");
    assert_eq!(pruned(&bench.hear_70(1, 2)), [], "one link is left");
    assert_eq!(pruned(&bench.hear(1, 71, 1, chat("hi"))), []);
    assert_eq!(pruned(&bench.hear(2, 71, 1, chat("hi"))), [(2, PeerId(71))], "each author by itself");
}

#[test]
fn a_copy_is_known_at_a_glance_once_its_link_is_asked_to_spare_it() {
    let mut bench = among_three();
    bench.hear_70(1, 1);
    let glance = |bench: &mut Bench, link| bench.engine.hears_again(LinkId(link), PeerId(70), 1, at(bench.now).boot);
    assert!(glance(&mut bench, 1));
    assert!(!glance(&mut bench, 2), "the whole is read, and the neighbour asked");
    assert_eq!(pruned(&bench.hear_70(2, 1)), [(2, PeerId(70))]);
    assert!(glance(&mut bench, 2));
}

#[test]
fn an_author_who_is_linked_is_heard_from_itself() {
    let mut bench = among_three();
    // A copy overtakes what the author sent here.
    assert_eq!(pruned(&bench.hear(2, 61, 1, chat("hi"))), []);
    assert_eq!(pruned(&bench.hear(1, 61, 1, chat("hi"))), []);
    // From now on it does not.
    assert_eq!(pruned(&bench.hear(1, 61, 2, chat("hi"))), []);
    assert_eq!(pruned(&bench.hear(2, 61, 2, chat("hi"))), [(2, PeerId(61))]);
}

#[test]
fn who_is_spared_is_told_a_moment_later_and_nobody_else_waits() {
    let mut bench = among_three();
    bench.agree(2, MessageBody::Prune(PeerId(70)));
    bench.now = 10;
    assert_eq!(chats(&bench.hear_70(1, 7)), [3]);
    bench.now = 20;
    assert_eq!(chats(&bench.hear_70(1, 8)), [3]);
    assert_eq!(chats(&bench.hear(1, 71, 1, chat("hi"))), [2, 3], "of somebody else it is spared nothing");
    assert_eq!(bench.engine.wake_at(), BootMs(30));
    assert_eq!(bench.wait(9), []);
    let actions = bench.wait(1);
    assert_eq!((told_of(&actions), actions.len()), (vec![(2, of_70(7, 8))], 1));
    assert!(bench.engine.wake_at() > BootMs(1_000), "nothing is left to tell");
}

#[test]
fn a_question_for_history_ends_all_sparing_and_is_answered_with_all_that_was_spared() {
    let mut bench = among_three();
    bench.agree(2, MessageBody::Prune(PeerId(70)));
    bench.hear_70(1, 7);
    let answer = bench.agree(2, MessageBody::HistoryRequest(BTreeMap::new()));
    assert_eq!(chats(&answer), [2]);
    assert_eq!(told_of(&bench.wait(20)), [], "it was sent");
    assert_eq!(chats(&bench.hear_70(1, 8)), [2, 3]);
}

#[test]
fn what_does_not_come_is_asked_for_after_a_while() {
    let mut bench = among_three();
    for number in 1..=2 {
        bench.hear_70(1, number);
        bench.hear_70(2, number);
    }
    bench.agree(2, MessageBody::Have(of_70(1, 3)));
    bench.agree(2, MessageBody::Have(of_70(4, 5)));
    assert_eq!(bench.engine.wake_at(), BootMs(100));
    assert_eq!(asked(&bench.wait(99)), [0u64; 0]);
    let actions = bench.wait(1);
    assert_eq!(asked(&actions), [2]);
    let have =
        sent(&actions, |body| if let MessageBody::HistoryRequest(have) = body { Some(have.clone()) } else { None });
    assert_eq!(have[0].1[&PeerId(70)], [(1, 2)]);
    // From now on it is heard there, and the link that failed is the one that is spared.
    for number in 3..=5 {
        assert_eq!(pruned(&bench.hear_70(2, number)), []);
    }
    assert_eq!(pruned(&bench.hear_70(1, 5)), [(1, PeerId(70))]);
}

#[test]
fn of_several_that_have_what_is_missing_one_is_asked_and_then_another() {
    let mut bench = among_three();
    for link in [1, 2, 3] {
        bench.hear_70(link, 1);
    }
    for link in [2, 3] {
        bench.agree(link, MessageBody::Have(of_70(2, 2)));
    }
    assert_eq!(asked(&bench.wait(100)), [2]);
    assert_eq!(asked(&bench.wait(99)), [0u64; 0]);
    assert_eq!(asked(&bench.wait(1)), [3]);
}

/// The part of an answer came from elsewhere just before it.
#[test]
fn what_is_missing_is_asked_for_until_it_is_heard() {
    let mut bench = among_three();
    bench.hear_70(1, 1);
    bench.hear_70(2, 1);
    bench.agree(2, MessageBody::Have(of_70(2, 200)));
    assert_eq!(asked(&bench.wait(100)), [2]);
    for number in 2..=65 {
        bench.hear_70(1, number);
    }
    bench.engine.mesh.links.get_mut(LinkId(2)).unwrap().push.incoming.learned = false;
    for number in 2..=65 {
        bench.hear_70(2, number);
    }
    assert_eq!(asked(&bench.agree(2, MessageBody::HistoryEnd { more: true })), [2], "for the next part");
    bench.agree(2, MessageBody::HistoryEnd { more: false });
    bench.feed(Event::Unlinked { link: LinkId(1), why: String::new() });
    assert_eq!(asked(&bench.wait(100)), [2], "as long as something is missing");
    for number in 66..=200 {
        bench.hear_70(2, number);
    }
    bench.agree(2, MessageBody::HistoryEnd { more: false });
    assert_eq!(asked(&bench.wait(1_000)), [0u64; 0]);
}

#[test]
fn the_rest_of_an_answer_stays_until_it_was_asked_for() {
    let mut bench = with_a_history_of_one();
    bench.hear_70(1, 1);
    bench.agree(2, MessageBody::Prune(PeerId(70)));
    for number in 2..=100 {
        bench.hear_70(1, number);
    }
    // 64 are a part. What is said meanwhile goes at once, and leaves the history, too.
    assert_eq!(chats(&bench.agree(2, MessageBody::HistoryRequest(of_70(1, 1)))).len(), 64);
    assert_eq!(chats(&bench.hear_70(1, 101)), [2]);
    bench.now = 1_999;
    assert_eq!(chats(&bench.agree(2, MessageBody::HistoryRequest(of_70(1, 65)))).len(), 36);
}

#[test]
fn of_whom_something_is_missing_all_that_was_heard_is_named_however_many_others_there_are() {
    let mut bench = among_three();
    for number in 0..30 {
        bench.hear_70(1, 2 * number);
    }
    // The others were heard later, so without its gap it would be named last.
    bench.wait(1);
    for author in 1_000..1_500 {
        bench.hear(1, author, 1, chat("hi"));
        bench.hear(1, author, 3, chat("hi"));
    }
    bench.agree(2, MessageBody::Have(of_70(1, 1)));
    let actions = bench.wait(100);
    let have =
        sent(&actions, |body| if let MessageBody::HistoryRequest(have) = body { Some(have.clone()) } else { None });
    assert_eq!(have[0].1[&PeerId(70)].len(), 30);
    let others = have[0].1.iter().filter(|(author, _)| **author != PeerId(70));
    assert!(others.clone().count() > 490 && others.clone().all(|(_, runs)| runs.len() == 1));
}

#[test]
fn when_too_much_is_missing_everything_is_asked_for() {
    let mut bench = among_three();
    bench.hear_70(1, 1);
    let odd = |from: u64| (from..from + 300).map(|number| (2 * number, 2 * number)).collect::<SeqRanges>();
    bench.agree(2, MessageBody::Have(BTreeMap::from([(PeerId(70), odd(10))])));
    bench.agree(2, MessageBody::Have(BTreeMap::from([(PeerId(70), odd(1_000))])));
    for number in 10..310 {
        bench.hear_70(1, 2 * number);
    }
    for number in 1_000..1_212 {
        bench.hear_70(1, 2 * number);
    }
    assert_eq!(asked(&bench.wait(100)), [2], "there was no room for the others");
}

#[test]
fn the_links_of_a_peer_that_are_replaced_stay_its_way() {
    let mut bench = among_three();
    bench.hear_70(1, 1);
    bench.hear_70(2, 1);
    bench.link(4, 61, None);
    let ended = bench.feed(Event::Unlinked { link: LinkId(4), why: String::new() });
    assert_eq!(asked(&ended), [2]);
}

#[test]
fn what_comes_in_time_is_not_asked_for() {
    let mut bench = among_three();
    bench.hear_70(1, 1);
    bench.hear_70(2, 1);
    bench.agree(2, MessageBody::Have(of_70(2, 3)));
    bench.hear_70(1, 2);
    bench.now = 99;
    bench.hear_70(1, 3);
    assert_eq!(asked(&bench.wait(1)), [0u64; 0]);
    assert!(bench.engine.wake_at() > BootMs(1_000));
}

#[test]
fn a_link_that_ends_is_replaced_by_one_that_spared_its_authors() {
    let mut bench = among_three();
    bench.hear_70(1, 1);
    bench.hear_70(2, 1);
    let ended = bench.feed(Event::Unlinked { link: LinkId(1), why: String::new() });
    assert_eq!(asked(&ended), [2]);
    // It told of something meanwhile, and was not asked for it in vain before.
    bench.hear_70(2, 2);
    assert_eq!(pruned(&bench.hear_70(3, 2)), [(3, PeerId(70))]);
    let ended = bench.feed(Event::Unlinked { link: LinkId(3), why: String::new() });
    assert_eq!(asked(&ended), [0u64; 0], "nothing came by it");
}

#[test]
fn an_answer_is_waited_for_before_the_next_question_and_who_has_nothing_is_asked_seldom() {
    let mut bench = among_three();
    bench.agree(2, MessageBody::Have(of_70(1, 1)));
    assert_eq!(asked(&bench.wait(100)), [2]);
    bench.agree(2, MessageBody::Have(of_70(2, 2)));
    assert_eq!(asked(&bench.wait(1_000)), [0u64; 0]);
    bench.hear_70(2, 1);
    // It was useful, and nobody else is known to bring what is missing.
    bench.feed(Event::Unlinked { link: LinkId(1), why: String::new() });
    assert_eq!(asked(&bench.agree(2, MessageBody::HistoryEnd { more: false })), [2]);
    bench.agree(2, MessageBody::HistoryEnd { more: false });
    let mut questions = 0;
    for number in 0..1_000 {
        bench.now += 1;
        let mut actions = bench.agree(2, MessageBody::Have(BTreeMap::from([(PeerId(80), vec![(number, u64::MAX)])])));
        actions.extend(bench.agree(2, MessageBody::HistoryEnd { more: false }));
        questions += asked(&actions).len();
    }
    assert!((9..=10).contains(&questions), "{questions} in a second");
}

#[test]
fn what_left_the_history_is_there_still_for_those_who_were_told_of_it() {
    let mut bench = with_a_history_of_one();
    bench.hear_70(1, 1);
    bench.agree(2, MessageBody::Prune(PeerId(70)));
    for number in 2..=4 {
        bench.hear_70(1, number);
    }
    let mut asked = bench.engine.clone();
    let request = MeshMessage {
        sender: PeerId(62),
        number: 1 << 62,
        said_at: 5,
        name: None,
        body: MessageBody::HistoryRequest(of_70(1, 1)),
    };
    let event = Event::Heard { link: LinkId(2), message: request, text_times: false };
    assert_eq!(sent_numbers(&asked.handle(event.clone(), at(4_999), Draw(0))), [2, 3, 4]);
    asked.handle(Event::Woke, at(5_000), Draw(0));
    assert_eq!(sent_numbers(&asked.handle(event, at(5_000), Draw(0))), [4]);
    // Who leaves cannot be asked.
    let left = bench.feed(Event::Left);
    assert_eq!((sent_numbers(&left), chats(&left)), (vec![2, 3, 4], vec![2, 2, 2]));
}

#[test]
fn of_two_questions_each_is_answered_and_own_posts_stay_for_the_rest_of_an_answer() {
    let mut bench = among_three();
    bench.hear_70(1, 1);
    bench.hear_70(2, 1);
    bench.agree(2, MessageBody::Have(of_70(2, 2)));
    assert_eq!(asked(&bench.wait(100)), [2]);
    bench.hear_70(2, 2);
    bench.hear_70(3, 1);
    bench.engine.mesh.links.get_mut(LinkId(2)).unwrap().push.incoming.asks_for_all(BootMs(100));
    assert_eq!(asked(&bench.agree(2, MessageBody::HistoryEnd { more: false })), [0u64; 0]);
    assert_eq!(asked(&bench.agree(2, MessageBody::HistoryEnd { more: true })), [2], "the second has more");

    let mut bench = Bench::new(Rules { history_size: 70, ..rules() });
    bench.link(1, 61, None);
    bench.extend(1, 61);
    let post = |bench: &mut Bench| (0..70).for_each(|_| drop(bench.feed(Event::Posted("hi".into()))));
    post(&mut bench);
    let ask = |bench: &mut Bench, have| bench.hear(1, 61, 1 << 62, MessageBody::HistoryRequest(have));
    let first = ask(&mut bench, BTreeMap::new());
    let numbers = sent_numbers(&first);
    post(&mut bench);
    let have = BTreeMap::from([(ME, vec![(numbers[0], numbers[63])])]);
    assert_eq!(sent_numbers(&ask(&mut bench, have))[..6], (1..=6).map(|n| numbers[63] + n).collect::<Vec<u64>>());
}

fn sent_numbers(actions: &Actions) -> Vec<u64> {
    let chats = actions.iter().filter_map(|action| match action {
        Action::Send { message: MeshMessage { body: MessageBody::Chat(_), number, .. }, .. } => Some(*number),
        _ => None,
    });
    chats.collect()
}

#[test]
fn what_could_not_be_asked_for_later_is_sent() {
    let mut bench = with_a_history_of_one();
    bench.agree(2, MessageBody::Prune(PeerId(70)));
    let mut long = |number| chats(&bench.hear(1, 70, number, chat(&"x".repeat(8_000)))).len();
    // More than 2 MiB have left the history within a moment.
    assert_eq!((1..=256).map(&mut long).sum::<usize>(), 0);
    assert_eq!((257..=356).map(&mut long).sum::<usize>(), 98, "257 texts and what they occupy beside are 2 MiB");
}

#[test]
fn what_is_still_to_be_told_is_bounded() {
    let mut bench = among_three();
    bench.agree(2, MessageBody::Prune(PeerId(70)));
    let mut told = Vec::new();
    for number in 1..=600 {
        told.extend(told_of(&bench.hear_70(1, number)));
    }
    assert_eq!(told, [(2, of_70(1, 512))]);
    // The worst that can be told fits into a message.
    for author in 0..512 {
        bench.agree(3, MessageBody::Prune(PeerId(u128::MAX - author)));
    }
    let longest = (0..512).map(|author| told_of(&bench.hear(1, u128::MAX - author, u64::MAX - 1, chat("hi"))));
    let (_, runs) = longest.flatten().find(|(link, _)| *link == 3).expect("it is told");
    let message =
        MeshMessage { sender: ME, number: u64::MAX, said_at: i64::MIN, name: None, body: MessageBody::Have(runs) };
    let form = MessageFormat { extended: true, text_times: true };
    assert_eq!(message.body, message.write(form).and_then(|bytes| MeshMessage::read(&bytes)).unwrap().0.body);
    bench.agree(3, MessageBody::Prune(PeerId(70)));
    assert_eq!(chats(&bench.hear_70(1, 700)), [3], "there is a most of authors, too");
}

#[test]
fn peers_that_know_nothing_of_sparing_get_everything_at_once() {
    let mut bench = Bench::new(Rules { max_connections: 9, ..rules() });
    for (link, extension) in [(1, Some(2)), (2, None), (3, Some(1))] {
        bench.link(link, 60 + u128::from(link), None);
        bench.agree(link, MessageBody::Heartbeat { extension, listen: None });
    }
    for number in 1..=3 {
        assert_eq!(chats(&bench.hear_70(1, number)), [2, 3]);
        assert_eq!(pruned(&bench.hear_70(2, number)), []);
        assert_eq!(pruned(&bench.hear_70(3, number)), []);
    }
}
