use proptest::prelude::*;

use super::*;
use crate::presence::{PresenceClock, PresenceTable};
use rollcall_core::{Addr, Page};

const TTL_MS: u64 = 30_000;

/// A node with its presence table and its presence clock. The clocks of two nodes start at
/// different times.
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

    /// The moment `ms` milliseconds after the start of the node.
    fn at(&mut self, ms: u64) -> Moment {
        self.clock.observe(BootMs(self.boot + ms))
    }

    /// Lets time pass with or without a leader; the clock is observed every 250 ms.
    fn pass(&mut self, from: u64, to: u64, has_leader: bool) {
        for ms in (from..to).step_by(250) {
            if has_leader {
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
        for row in self.table.rows_after(None, usize::MAX, mine) {
            other.table.merge(&row, theirs);
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
fn a_newer_heartbeat_wins_over_an_older_one_that_arrives_later() {
    let (mut one, mut two) = (Node::new(0), Node::new(0));
    let now = one.at(0);
    one.table.heartbeat(&name("alice"), addr(1), None, now);
    let old = one.table.rows_after(None, 9, now);
    one.table.heartbeat(&name("alice"), addr(2), None, now);
    let new = one.table.rows_after(None, 9, now);
    let now = two.at(10);
    for row in new.iter().chain(&old) {
        two.table.merge(row, now);
    }
    assert_eq!(two.table.online(&Page::default(), now)[0].addr, addr(2));
}

#[test]
fn the_greater_of_two_ages_of_a_heartbeat_wins() {
    let (mut one, mut two) = (Node::new(0), Node::new(0));
    let now = one.at(0);
    one.table.heartbeat(&name("alice"), addr(1), None, now);
    let at_once = one.table.rows_after(None, 9, now);
    one.pass(0, 29_000, true);
    two.pass(0, 29_000, true);
    let later = one.at(29_000);
    let at_29_s = one.table.rows_after(None, 9, later);
    // The first row was in transit for 29 s.
    let now = two.at(29_000);
    two.table.merge(&at_once[0], now);
    two.table.merge(&at_29_s[0], now);
    two.table.merge(&at_once[0], now);
    two.pass(29_000, 30_000, true);
    assert_eq!(two.online(29_999), ["alice"]);
    assert_eq!(two.online(30_000), Vec::<String>::new());
    // A merged row that has already expired takes its client offline at once. A heartbeat brings
    // the client back.
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
fn a_row_from_a_snapshot_is_replaced_by_any_row_of_another_node() {
    let (mut one, mut two) = (Node::new(0), Node::new(0));
    one.table.begin_term(9, true);
    let now = one.at(0);
    one.table.heartbeat(&name("alice"), addr(1), None, now);
    let restored = one.table.rows_after(None, 9, now)[0].clone().restored_after(5000);
    let now = two.at(0);
    two.table.merge(&restored, now);
    assert_eq!(two.online(0), ["alice"]);
    two.table.begin_term(1, true);
    two.table.heartbeat(&name("bob"), None, None, now);
    let mut replicated = two.table.rows_after(Some(&name("alice")), 9, now)[0].clone();
    (replicated.username, replicated.addr) = (name("alice"), addr(2));
    two.table.merge(&replicated, now);
    assert_eq!(
        two.table.online(&Page::default(), now)[0].addr,
        addr(2),
        "the replicated row wins although its term is earlier"
    );
}

#[test]
fn the_first_heartbeat_of_a_later_term_is_newer_than_all_of_an_earlier_term() {
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
fn changes_are_queued_only_while_replication_is_on_and_taken_once() {
    let mut node = Node::new(0);
    let now = node.at(0);
    node.table.heartbeat(&name("early"), None, None, now);
    node.table.begin_term(1, true);
    for client in ["alice", "bob", "alice"] {
        node.table.heartbeat(&name(client), None, None, now);
    }
    let mut replicated: Vec<String> =
        node.table.take_unreplicated(9, now).into_iter().map(|row| row.username.to_string()).collect();
    replicated.sort();
    assert_eq!(replicated, ["alice", "bob"]);
    assert_eq!(node.table.take_unreplicated(9, now), []);
    node.table.heartbeat(&name("bob"), None, None, now);
    assert_eq!(node.table.take_unreplicated(9, now).len(), 1);
    node.table.set_replication(false);
    node.table.heartbeat(&name("bob"), None, None, now);
    assert_eq!(node.table.take_unreplicated(9, now), []);
}

#[test]
fn no_client_goes_offline_because_there_was_no_leader() {
    let mut node = Node::new(0);
    let now = node.at(0);
    node.table.heartbeat(&name("alice"), None, None, now);
    node.pass(0, 20_000, true);
    node.pass(20_000, 32_000, false);
    assert_eq!(node.online(32_000), ["alice"], "at most one of the last 12 seconds had a leader and counts");
    node.pass(32_000, 40_000, true);
    assert_eq!(node.online(40_000), ["alice"]);
    node.pass(40_000, 43_000, true);
    assert_eq!(node.online(43_000), Vec::<String>::new());
}

proptest! {
    #[test]
    fn merging_is_idempotent_and_commutative(
        // There are few ids, so many rows describe the same heartbeat and differ only in their age.
        generated in proptest::collection::vec((0_u8..4, 0_u64..3, 1_u64..4, 0_u64..60_000, 0_u64..20_000), 0..24),
        order in any::<u64>(),
    ) {
        let reported: Vec<ReplicatedClient> = generated.iter().map(|&(client, term, seq, age_ms, leaderless_ms)| ReplicatedClient {
            username: name(&format!("c{client}")),
            addr: addr(u16::try_from(term * 10 + seq).unwrap()),
            heartbeat_id: HeartbeatId { term, seq },
            age_ms,
            leaderless_ms: leaderless_ms.min(age_ms),
        }).collect();
        let mut shuffled: Vec<(u64, ReplicatedClient)> = reported.iter().chain(&reported).enumerate().map(|(place, report)| {
            ((place as u64 + 1).wrapping_mul(order | 1).rotate_left(17), report.clone())
        }).collect();
        shuffled.sort_by_key(|(place, _)| *place);
        let (mut one, mut two) = (Node::new(90_000), Node::new(90_000));
        let now = one.at(0);
        for report in &reported {
            one.table.merge(report, now);
        }
        for (_, report) in &shuffled {
            two.table.merge(report, now);
        }
        let rows = |node: &mut Node| node.table.rows_after(None, usize::MAX, now);
        let merged = rows(&mut one);
        prop_assert_eq!(&merged, &rows(&mut two));
        for row in &merged {
            // The merged row has the newest heartbeat. Its age, and its age without the leaderless
            // time, are the greatest that were reported for this heartbeat.
            let reports = || reported.iter().filter(|report| report.username == row.username && report.heartbeat_id == row.heartbeat_id);
            prop_assert!(reported.iter().all(|report| report.username != row.username || report.heartbeat_id <= row.heartbeat_id));
            prop_assert_eq!(Some(row.age_ms), reports().map(|report| report.age_ms).max());
            let counted_ms = reports().map(|report| report.age_ms - report.leaderless_ms).max();
            prop_assert_eq!(Some(row.age_ms - row.leaderless_ms), counted_ms);
            let seen = one.table.last_seen(&row.username, now).expect("the client is in the table");
            prop_assert_eq!(seen.ago_ms, row.age_ms);
        }
        prop_assert_eq!(one.table.online_count(now), one.online(0).len());
        prop_assert_eq!(two.table.online_count(now), two.online(0).len());
    }

    /// Holds for any number of leader changes of any length.
    #[test]
    fn a_silent_client_goes_offline_in_time_through_a_chain_of_elections(
        elections in proptest::collection::vec((0_u64..8_000, 0_u64..8_000), 1..12),
    ) {
        let mut nodes = [Node::new(0), Node::new(7_000_000)];
        let now = nodes[0].at(0);
        nodes[0].table.heartbeat(&name("alice"), None, None, now);
        let (mut ms, mut leader) = (0, 0);
        let latest = TTL_MS + 15_000;
        for (with_leader_ms, leaderless_ms) in elections {
            let (until, next) = (ms + with_leader_ms, ms + with_leader_ms + leaderless_ms);
            for node in &mut nodes {
                node.pass(ms, until, true);
                node.pass(until, next, false);
            }
            let [one, two] = &mut nodes;
            if leader == 0 { one.replicate_to(two, until) } else { two.replicate_to(one, until) }
            (ms, leader) = (next, 1 - leader);
            // A list expires its rows when it is read, so it never shows a client too long.
            prop_assert!(ms < latest || nodes[leader].online(ms).is_empty(), "still online after {ms} ms");
            prop_assert!(ms >= TTL_MS || !nodes[leader].online(ms).is_empty(), "offline after {ms} ms");
        }
    }
}
