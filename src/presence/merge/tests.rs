use proptest::prelude::*;

use super::*;
use crate::presence::{HeartbeatId, PresenceClock, PresenceTable};
use rollcall_core::{Addr, BootMs, Page, WallMs};

const TTL_MS: u64 = 30_000;

/// Wall time at the start of the nodes, in Unix milliseconds.
const WALL: i64 = 1_796_000_000_000;

/// A node with its presence table and its presence clock. The clocks of two nodes start at
/// different times.
struct Node {
    clock: PresenceClock,
    table: PresenceTable,
    boot: u64,
}

impl Node {
    /// A node that starts when its machine has run for `boot` ms.
    fn new(boot: u64) -> Self {
        Self::with_wall(boot, WALL)
    }

    /// Like [`Self::new`]. At the start, the machine's wall clock shows `wall`.
    fn with_wall(boot: u64, wall: i64) -> Self {
        let mut clock = PresenceClock::new(false, BootMs(boot), WallMs::new(wall));
        clock.note_active_leader(BootMs(boot));
        Self { clock, table: PresenceTable::new(TTL_MS), boot }
    }

    /// Sets the machine's wall clock at `ms`.
    fn set_clock(&mut self, ms: u64, wall: i64) {
        self.clock.update_wall_time(BootMs(self.boot + ms), WallMs::new(wall));
    }

    fn heartbeat(&mut self, client: &str, ms: u64) {
        let now = self.at(ms);
        self.table.heartbeat(&name(client), None, None, now);
    }

    /// The displayed time of the last heartbeat at `ms`, in Unix milliseconds.
    fn last_seen(&mut self, client: &str, ms: u64) -> i64 {
        let now = self.at(ms);
        self.table.last_seen(&name(client), now).expect("the client is in the table").at.unix_ms()
    }

    /// The rows at `ms`, as restored from a snapshot `downtime_ms` later.
    fn restored(&mut self, ms: u64, downtime_ms: u64) -> Vec<ReplicatedClient> {
        let now = self.at(ms);
        let rows = self.table.rows_after(None, usize::MAX, now);
        rows.into_iter().map(|row| row.restored_after(downtime_ms, now.wall)).collect()
    }

    fn merge(&mut self, rows: &[ReplicatedClient], ms: u64) {
        let now = self.at(ms);
        for row in rows {
            self.table.merge(row, now);
        }
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
    let restored = one.table.rows_after(None, 9, now)[0].clone().restored_after(5000, now.wall);
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

#[test]
fn the_time_of_a_heartbeat_is_the_same_on_machines_of_any_uptime() {
    // The second and third machine were booted after the heartbeat.
    let mut nodes = [(90_000_000, 0), (7, 0), (0, 3000)].map(|(boot, ahead)| Node::with_wall(boot, WALL + ahead));
    nodes[0].heartbeat("alice", 999);
    for node in &mut nodes {
        node.pass(1000, 40_000, true);
    }
    for from in 0..2 {
        let (before, after) = nodes.split_at_mut(from + 1);
        before[from].replicate_to(&mut after[0], 40_000);
    }
    for node in &mut nodes {
        assert_eq!([40_000, 41_500].map(|ms| node.last_seen("alice", ms)), [WALL + 999; 2]);
    }
}

#[test]
fn the_time_of_a_heartbeat_survives_snapshots_on_machines_with_a_shorter_uptime() {
    let mut node = Node::new(90_000_000);
    node.heartbeat("alice", 999);
    for (boot, downtime_ms) in [(40_000, 60_000), (3, 500), (700, 0)] {
        let rows = node.restored(20_000, downtime_ms);
        // The clock is not set.
        node = Node::with_wall(boot, 8000);
        node.merge(&rows, 0);
        assert_eq!(node.last_seen("alice", 100), WALL + 999);
        node.set_clock(200, WALL + 3_600_000);
        assert_eq!(node.last_seen("alice", 300), WALL + 999);
        let mut other = Node::new(1);
        node.replicate_to(&mut other, 300);
        assert_eq!(other.last_seen("alice", 300), WALL + 999);
    }
    node.heartbeat("alice", 20_000);
    assert_eq!(node.last_seen("alice", 20_000), WALL + 3_600_000 + 19_800, "a heartbeat replaces the row");
}

#[test]
fn a_pause_of_a_single_node_does_not_move_the_time_of_a_heartbeat() {
    let mut clock = PresenceClock::new(true, BootMs(50), WallMs::new(WALL));
    let mut table = PresenceTable::new(TTL_MS);
    table.heartbeat(&name("alice"), None, None, clock.observe(BootMs(50)));
    let now = clock.observe(BootMs(60_050));
    let row = &table.rows_after(None, 1, now)[0];
    assert_eq!((row.age_ms, row.seen_at), (1000, SeenAt::Heard(WallMs::new(WALL))), "a pause counts for one second");
}

#[test]
fn a_clock_that_is_set_later_corrects_the_times_on_every_node() {
    // The clock of the first node is not set; the second node's is, the third's is not.
    let mut nodes = [(5000, 5000), (90_000, WALL), (100, 4000)].map(|(boot, wall)| Node::with_wall(boot, wall));
    nodes[0].heartbeat("alice", 2000);
    let [leader, set, unset] = &mut nodes;
    leader.replicate_to(set, 4000);
    leader.replicate_to(unset, 4000);
    assert_eq!(leader.last_seen("alice", 4000), 7000);
    assert_eq!(set.last_seen("alice", 4000), WALL + 2000, "its own clock is set");
    for node in [leader, unset] {
        node.set_clock(5000, WALL + 5000);
    }
    for node in &mut nodes {
        assert_eq!(node.last_seen("alice", 6000), WALL + 2000);
        node.set_clock(7000, WALL + 7000 - 3_600_000);
        assert_eq!(node.last_seen("alice", 8000), WALL + 2000 - 3_600_000, "set back by an hour");
    }
}

#[test]
fn the_wall_time_of_the_receiving_node_is_kept_if_the_clocks_are_at_most_a_minute_apart() {
    for (ahead, shown) in [(60_000, WALL + 60_000), (60_001, WALL), (-60_000, WALL - 60_000), (-60_001, WALL)] {
        let (mut leader, mut other) = (Node::with_wall(9000, WALL + ahead), Node::new(0));
        leader.heartbeat("alice", 0);
        leader.replicate_to(&mut other, 3000);
        assert_eq!(other.last_seen("alice", 5000), shown, "a clock {ahead} ms ahead");
    }
}

#[test]
fn of_two_rows_from_snapshots_the_newest_heartbeat_wins_whatever_the_clocks_say() {
    let (mut old, mut new) = (Node::new(90_000), Node::with_wall(0, 5000));
    old.table.begin_term(1, true);
    let now = old.at(0);
    old.table.heartbeat(&name("alice"), addr(1), None, now);
    new.table.begin_term(2, true);
    let now = new.at(0);
    new.table.heartbeat(&name("alice"), addr(2), None, now);
    // The node with the wrong clock does not know for how long it was down.
    let (old, new) = (old.restored(2000, 3000), new.restored(1000, 86_400_000));
    for rows in [[&old[..], &new].concat(), [&new[..], &old].concat()] {
        let mut node = Node::new(7);
        node.merge(&rows, 0);
        let now = node.at(0);
        assert_eq!(node.table.online(&Page::default(), now)[0].addr, addr(2));
        assert_eq!(node.last_seen("alice", 0), WALL, "not seen earlier than at the older heartbeat");
        let merged = node.table.rows_after(None, 1, now);
        assert_eq!(merged[0].age_ms, 5000, "the smaller age is right");
        node.merge(&rows, 0);
        assert_eq!(node.table.rows_after(None, 1, now), merged);
    }
}

proptest! {
    #[test]
    fn merging_is_idempotent_and_commutative(
        // There are few ids, so many rows describe the same heartbeat and differ only in their age.
        generated in proptest::collection::vec((0_u8..4, (0_u64..3, 1_u64..4), 0_u64..60_000, 0_u64..20_000, any::<bool>()), 0..24),
        order in any::<u64>(),
    ) {
        let reported: Vec<ReplicatedClient> = generated.iter().map(|&(client, (term, seq), age_ms, leaderless_ms, is_restored)| ReplicatedClient {
            username: name(&format!("c{client}")),
            addr: addr(u16::try_from(term * 10 + seq).unwrap()),
            heartbeat_id: HeartbeatId::of(term, seq),
            age_ms,
            leaderless_ms: leaderless_ms.min(age_ms),
            // The clock of the leader of term 0 is not set. A snapshot may have any time.
            seen_at: match (is_restored, term) {
                (true, _) => SeenAt::Restored(WallMs::new(WALL).minus(leaderless_ms)),
                (false, 0) => SeenAt::Unknown,
                (false, _) => SeenAt::Heard(WallMs::new(WALL).minus(30_000)),
            },
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
            // The merged row has the newest heartbeat, without those from snapshots if there is
            // another row.
            let reports = || reported.iter().filter(|report| report.username == row.username);
            let restored_at = |row: &ReplicatedClient| match row.seen_at {
                SeenAt::Restored(seen_at) => Some(seen_at),
                SeenAt::Heard(_) | SeenAt::Unknown => None,
            };
            let rank = |row: &ReplicatedClient| (restored_at(row).is_none(), row.heartbeat_id);
            prop_assert_eq!(Some(rank(row)), reports().map(rank).max());
            let same = || reports().filter(|report| rank(report) == rank(row));
            let counted = |row: &ReplicatedClient| row.age_ms - row.leaderless_ms;
            let seen = one.table.last_seen(&row.username, now).expect("the client is in the table").at;
            if restored_at(row).is_some() {
                // Its ages are the smallest, and its wall time is the latest, of all its rows.
                prop_assert_eq!(Some(row.age_ms), reports().map(|report| report.age_ms).min());
                prop_assert_eq!(Some(counted(row)), reports().map(counted).min());
                prop_assert_eq!(Some(seen), reports().filter_map(restored_at).max());
            } else {
                // Its age, and its age without the leaderless time, are the greatest that were
                // reported for this heartbeat.
                prop_assert_eq!(Some(row.age_ms), same().map(|report| report.age_ms).max());
                prop_assert_eq!(Some(counted(row)), same().map(counted).max());
                let age_ms = if row.heartbeat_id.term == 0 { row.age_ms } else { 30_000 };
                prop_assert_eq!(seen, WallMs::new(WALL).minus(age_ms));
            }
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
