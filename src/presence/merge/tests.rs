use proptest::prelude::*;

use super::*;
use crate::presence::{PresenceClock, PresenceTable};
use rollcall_core::{Addr, Page};

const TTL_MS: u64 = 30_000;

/// A node's table with its clock, which started somewhere else than those of the others.
struct Node {
    clock: PresenceClock,
    table: PresenceTable,
    boot: u64,
}

impl Node {
    fn new(boot: u64) -> Self {
        let mut clock = PresenceClock::new(false, BootMs(boot));
        clock.note_active_leader(BootMs(boot));
        Self { clock, table: PresenceTable::new(TTL_MS), boot }
    }

    /// The moment `ms` after the start, after a look at the clock every quarter of a second.
    fn at(&mut self, ms: u64) -> Moment {
        self.clock.observe(BootMs(self.boot + ms))
    }

    /// Lets time pass, with a leader or without.
    fn pass(&mut self, from: u64, to: u64, served: bool) {
        for ms in (from..to).step_by(250) {
            if served {
                self.clock.note_active_leader(BootMs(self.boot + ms));
            } else {
                self.at(ms);
            }
        }
    }

    fn online(&mut self, ms: u64) -> Vec<String> {
        let now = self.at(ms);
        self.table.online(&Page::default(), now).into_iter().map(|online| online.username.to_string()).collect()
    }

    fn replicate_to(&mut self, other: &mut Self, ms: u64) {
        let (mine, theirs) = (self.at(ms), other.at(ms));
        for beat in self.table.rows_after(None, usize::MAX, mine) {
            other.table.merge(&beat, theirs);
        }
    }
}

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn addr(port: u16) -> Option<Addr> {
    Addr::new(([10, 0, 0, 1], port).into())
}

#[test]
fn a_row_keeps_its_age_on_another_clock() {
    let (mut one, mut two) = (Node::new(5), Node::new(90_000_000));
    let now = one.at(0);
    one.table.heartbeat(&name("alice"), addr(1), None, now);
    one.pass(0, 20_000, true);
    two.pass(0, 20_000, true);
    one.replicate_to(&mut two, 20_000);
    two.pass(20_000, 30_000, true);
    assert_eq!(two.online(29_999), ["alice"]);
    assert_eq!(two.online(30_000), Vec::<String>::new());
}

#[test]
fn a_newer_heartbeat_wins_however_late_the_older_one_comes() {
    let (mut one, mut two) = (Node::new(0), Node::new(0));
    let now = one.at(0);
    one.table.heartbeat(&name("alice"), addr(1), None, now);
    let old = one.table.rows_after(None, 9, now);
    one.table.heartbeat(&name("alice"), addr(2), None, now);
    let new = one.table.rows_after(None, 9, now);
    let now = two.at(10);
    for beat in new.iter().chain(&old) {
        two.table.merge(beat, now);
    }
    assert_eq!(two.table.online(&Page::default(), now)[0].addr, addr(2));
}

#[test]
fn of_two_claims_about_one_heartbeat_the_older_is_believed() {
    let (mut one, mut two) = (Node::new(0), Node::new(0));
    let now = one.at(0);
    one.table.heartbeat(&name("alice"), addr(1), None, now);
    let at_once = one.table.rows_after(None, 9, now);
    one.pass(0, 29_000, true);
    two.pass(0, 29_000, true);
    let later = one.at(29_000);
    let truth = one.table.rows_after(None, 9, later);
    // The first waited on its way for 29 s.
    let now = two.at(29_000);
    two.table.merge(&at_once[0], now);
    two.table.merge(&truth[0], now);
    two.table.merge(&at_once[0], now);
    two.pass(29_000, 30_000, true);
    assert_eq!(two.online(29_999), ["alice"]);
    assert_eq!(two.online(30_000), Vec::<String>::new());
    // Told when its time is over, it goes at once, and may come back.
    let now = two.at(30_100);
    two.table.heartbeat(&name("bob"), None, None, now);
    let mut old = two.table.rows_after(Some(&name("alice")), 9, now);
    old[0].age_ms = 60_000;
    two.table.merge(&old[0], now);
    assert_eq!(two.online(30_100), Vec::<String>::new());
    two.table.heartbeat(&name("bob"), None, None, now);
    assert_eq!((two.online(30_100), two.table.online_count(now)), (vec!["bob".to_owned()], 1));
}

#[test]
fn what_was_remembered_gives_way_to_whatever_is_told() {
    let (mut one, mut two) = (Node::new(0), Node::new(0));
    one.table.begin_term(9, true);
    let now = one.at(0);
    one.table.heartbeat(&name("alice"), addr(1), None, now);
    let remembered = one.table.rows_after(None, 9, now)[0].clone().restored_after(5000);
    let now = two.at(0);
    two.table.merge(&remembered, now);
    assert_eq!(two.online(0), ["alice"]);
    two.table.begin_term(1, true);
    two.table.heartbeat(&name("bob"), None, None, now);
    let mut told = two.table.rows_after(Some(&name("alice")), 9, now)[0].clone();
    (told.username, told.addr) = (name("alice"), addr(2));
    two.table.merge(&told, now);
    assert_eq!(two.table.online(&Page::default(), now)[0].addr, addr(2), "although its term is an earlier one");
}

#[test]
fn a_later_leaders_first_heartbeat_is_newer_than_all_of_an_earlier_one() {
    let (mut one, mut two) = (Node::new(0), Node::new(0));
    one.table.begin_term(4, true);
    two.table.begin_term(5, true);
    let now = one.at(0);
    for _ in 0..9 {
        one.table.heartbeat(&name("alice"), addr(1), None, now);
    }
    two.table.heartbeat(&name("alice"), addr(2), None, now);
    two.replicate_to(&mut one, 0);
    one.replicate_to(&mut two, 0);
    for node in [&mut one, &mut two] {
        assert_eq!(node.table.online(&Page::default(), now)[0].addr, addr(2));
    }
}

#[test]
fn changes_are_given_once_and_only_while_somebody_asks() {
    let mut node = Node::new(0);
    let now = node.at(0);
    node.table.heartbeat(&name("early"), None, None, now);
    node.table.begin_term(1, true);
    for client in ["alice", "bob", "alice"] {
        node.table.heartbeat(&name(client), None, None, now);
    }
    let mut told: Vec<String> =
        node.table.take_unreplicated(9, now).into_iter().map(|beat| beat.username.to_string()).collect();
    told.sort();
    assert_eq!(told, ["alice", "bob"]);
    assert_eq!(node.table.take_unreplicated(9, now), []);
    node.table.heartbeat(&name("bob"), None, None, now);
    assert_eq!(node.table.take_unreplicated(9, now).len(), 1);
    node.table.set_replication(false);
    node.table.heartbeat(&name("bob"), None, None, now);
    assert_eq!(node.table.take_unreplicated(9, now), []);
}

#[test]
fn nobody_falls_offline_because_there_was_no_leader() {
    let mut node = Node::new(0);
    let now = node.at(0);
    node.table.heartbeat(&name("alice"), None, None, now);
    node.pass(0, 20_000, true);
    node.pass(20_000, 32_000, false);
    assert_eq!(node.online(32_000), ["alice"], "of the last 12 s at most one was served");
    node.pass(32_000, 40_000, true);
    assert_eq!(node.online(40_000), ["alice"]);
    node.pass(40_000, 43_000, true);
    assert_eq!(node.online(43_000), Vec::<String>::new());
}

proptest! {
    #[test]
    fn merging_is_idempotent_and_commutative(
        // Few stamps, so that many rows are claims about one heartbeat; all of them say the same but for its age.
        beats in proptest::collection::vec((0_u8..4, 0_u64..3, 1_u64..4, 0_u64..60_000, 0_u64..20_000), 0..24),
        order in any::<u64>(),
    ) {
        let told: Vec<ReplicatedClient> = beats.iter().map(|&(client, term, seq, age_ms, leaderless_ms)| ReplicatedClient {
            username: name(&format!("c{client}")),
            addr: addr(u16::try_from(term * 10 + seq).unwrap()),
            heartbeat_id: HeartbeatId { term, seq },
            age_ms,
            leaderless_ms: leaderless_ms.min(age_ms),
        }).collect();
        let mut shuffled: Vec<(u64, ReplicatedClient)> = told.iter().chain(&told).enumerate().map(|(place, beat)| {
            ((place as u64 + 1).wrapping_mul(order | 1).rotate_left(17), beat.clone())
        }).collect();
        shuffled.sort_by_key(|(place, _)| *place);
        let (mut one, mut two) = (Node::new(90_000), Node::new(90_000));
        let now = one.at(0);
        for beat in &told {
            one.table.merge(beat, now);
        }
        for (_, beat) in &shuffled {
            two.table.merge(beat, now);
        }
        let rows = |node: &mut Node| node.table.rows_after(None, usize::MAX, now);
        let merged = rows(&mut one);
        prop_assert_eq!(&merged, &rows(&mut two));
        for row in &merged {
            // Of the newest heartbeat, what the oldest claim says on each clock.
            let claims = || told.iter().filter(|beat| beat.username == row.username && beat.heartbeat_id == row.heartbeat_id);
            prop_assert!(told.iter().all(|beat| beat.username != row.username || beat.heartbeat_id <= row.heartbeat_id));
            prop_assert_eq!(Some(row.age_ms), claims().map(|beat| beat.age_ms).max());
            let counted_ms = claims().map(|beat| beat.age_ms - beat.leaderless_ms).max();
            prop_assert_eq!(Some(row.age_ms - row.leaderless_ms), counted_ms);
            let seen = one.table.last_seen(&row.username, now).expect("there");
            prop_assert_eq!(seen.ago_ms, row.age_ms);
        }
        prop_assert_eq!(one.table.online_count(now), one.online(0).len());
        prop_assert_eq!(two.table.online_count(now), two.online(0).len());
    }

    /// However often the leader changes and however long each change takes.
    #[test]
    fn a_silent_client_is_gone_in_time_through_a_chain_of_elections(
        elections in proptest::collection::vec((0_u64..8_000, 0_u64..8_000), 1..12),
    ) {
        let mut nodes = [Node::new(0), Node::new(7_000_000)];
        let now = nodes[0].at(0);
        nodes[0].table.heartbeat(&name("alice"), None, None, now);
        let (mut ms, mut leader) = (0, 0);
        let latest = TTL_MS + 15_000;
        for (served, unserved) in elections {
            let (until, next) = (ms + served, ms + served + unserved);
            for node in &mut nodes {
                node.pass(ms, until, true);
                node.pass(until, next, false);
            }
            let [one, two] = &mut nodes;
            if leader == 0 { one.replicate_to(two, until) } else { two.replicate_to(one, until) }
            (ms, leader) = (next, 1 - leader);
            // The first look at a row that was online may be late by nothing: lists filter when they are asked.
            prop_assert!(ms < latest || nodes[leader].online(ms).is_empty(), "still online after {ms} ms");
            prop_assert!(ms >= TTL_MS || !nodes[leader].online(ms).is_empty(), "offline after {ms} ms");
        }
    }
}
