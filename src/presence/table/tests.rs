use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::super::retention::ROWS_PER_STEP;
use super::*;
use crate::presence::PresenceClock;
use rollcall_core::{BootMs, WallMs};

const TTL_MS: u64 = 30_000;

/// Wall time when the boot clock is at 0, in Unix milliseconds.
const WALL: i64 = 1_796_000_000_000;

fn at(ms: u64) -> Moment {
    // The clock is observed every second, so that it detects no pause.
    let mut clock = PresenceClock::new(true, BootMs(0), WallMs::new(WALL));
    (0..ms).step_by(1000).for_each(|ms| {
        clock.observe(BootMs(ms));
    });
    clock.observe(BootMs(ms))
}

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn addr(text: &str) -> Option<Addr> {
    Addr::new(text.parse().unwrap())
}

fn online_names(table: &mut PresenceTable, now: Moment) -> Vec<String> {
    table.online(&Page::default(), now).into_iter().map(|online| online.username.to_string()).collect()
}

#[test]
fn a_client_goes_offline_exactly_at_the_ttl() {
    let mut table = PresenceTable::new(TTL_MS);
    table.heartbeat(&name("alice"), None, None, at(1000));
    assert_eq!(online_names(&mut table, at(1000 + TTL_MS - 1)), ["alice"]);
    assert_eq!(table.online_count(at(1000 + TTL_MS - 1)), 1);
    assert_eq!(online_names(&mut table, at(1000 + TTL_MS)), Vec::<String>::new());
    assert_eq!(table.online_count(at(1000 + TTL_MS)), 0);
}

#[test]
fn a_heartbeat_at_the_last_moment_keeps_a_client_online_for_another_ttl() {
    let mut table = PresenceTable::new(TTL_MS);
    table.heartbeat(&name("alice"), None, None, at(0));
    table.heartbeat(&name("alice"), None, None, at(TTL_MS - 1));
    assert_eq!(table.online_count(at(2 * TTL_MS - 2)), 1);
    assert_eq!(table.online_count(at(2 * TTL_MS - 1)), 0);
}

#[test]
fn a_client_that_comes_back_expires_again() {
    let mut table = PresenceTable::new(TTL_MS);
    table.heartbeat(&name("alice"), None, None, at(0));
    assert_eq!(table.online_count(at(TTL_MS)), 0);
    table.heartbeat(&name("alice"), None, None, at(TTL_MS + 5));
    assert_eq!(table.online_count(at(TTL_MS + 6)), 1);
    assert_eq!(table.online_count(at(2 * TTL_MS + 5)), 0);
}

#[test]
fn renew_accepts_only_online_clients_marked_open() {
    let (mut table, alice) = (PresenceTable::new(10), name("alice"));
    table.mark_open(&alice);
    assert_eq!(table.renew(&alice, None, at(0)), None, "not online");
    table.heartbeat(&alice, addr("10.0.0.1:1"), None, at(0));
    assert_eq!(table.renew(&alice, None, at(1)), None, "not marked open");
    table.mark_open(&alice);
    assert_eq!(table.renew(&alice, None, at(9)), Some(Renewal { addr: addr("10.0.0.1:1") }));
    let version = table.version(at(9));
    assert_eq!(table.renew(&alice, addr("10.0.0.2:2"), at(18)), Some(Renewal { addr: addr("10.0.0.2:2") }));
    assert_ne!(table.version(at(18)), version, "the address changed");
    assert_eq!(online_names(&mut table, at(27)), ["alice"]);
    assert_eq!(table.renew(&alice, None, at(28)), None, "expired");
    assert!(online_names(&mut table, at(28)).is_empty(), "renew changed nothing");
    table.heartbeat(&alice, None, None, at(29));
    assert_eq!(table.renew(&alice, None, at(30)), None, "not marked open since it came back");
}

#[test]
fn the_last_reported_address_wins_over_the_registered_one() {
    let mut table = PresenceTable::new(TTL_MS);
    let (registered, live) = (addr("10.0.0.1:1"), addr("10.0.0.2:2"));
    assert_eq!(table.heartbeat(&name("alice"), None, registered, at(0)), registered);
    assert_eq!(table.heartbeat(&name("alice"), live, registered, at(1)), live);
    assert_eq!(table.heartbeat(&name("alice"), None, registered, at(2)), live);
    assert_eq!(table.online(&Page::default(), at(3))[0].addr, live);
}

#[test]
fn the_version_changes_exactly_when_the_list_changes() {
    let mut table = PresenceTable::new(TTL_MS);
    let start = table.version(at(0));
    table.heartbeat(&name("alice"), addr("10.0.0.1:1"), None, at(0));
    let after_joining = table.version(at(0));
    assert_ne!(after_joining, start);
    table.heartbeat(&name("alice"), addr("10.0.0.1:1"), None, at(500));
    assert_eq!(table.version(at(500)), after_joining);
    table.heartbeat(&name("alice"), addr("10.0.0.1:2"), None, at(600));
    let moved = table.version(at(600));
    assert_ne!(moved, after_joining);
    assert_eq!(table.version(at(600 + TTL_MS - 1)), moved);
    assert_ne!(table.version(at(600 + TTL_MS)), moved);
}

#[test]
fn each_new_version_has_an_entry_in_the_change_log() {
    let mut table = PresenceTable::new(TTL_MS);
    let (here, there) = (addr("10.0.0.1:1"), addr("10.0.0.1:2"));
    for (reported, ms) in [(None, 0), (here, 1), (here, 2), (there, 3), (None, 4), (None, 5 + TTL_MS)] {
        table.heartbeat(&name("alice"), reported, None, at(ms));
    }
    let events = [
        PresenceEvent::Joined(None),
        PresenceEvent::Moved(here),
        PresenceEvent::Moved(there),
        PresenceEvent::Left(OfflineReason::Timeout),
        PresenceEvent::Joined(there),
    ];
    let changes = table.changes_since(0, usize::MAX).unwrap();
    assert_eq!(changes.iter().map(|change| change.event).collect::<Vec<_>>(), events);
    assert_eq!((table.version(at(5 + TTL_MS)), table.activity_version()), (5, 6));
}

#[test]
fn a_sweep_removes_exactly_the_clients_last_seen_a_day_ago() {
    let mut table = PresenceTable::new(TTL_MS);
    table.heartbeat(&name("gone"), None, None, at(0));
    table.heartbeat(&name("fresh"), None, None, at(1));
    table.sweep(at(RETENTION_MS));
    assert_eq!(table.last_seen(&name("gone"), at(RETENTION_MS)), None);
    let seen = table.last_seen(&name("fresh"), at(RETENTION_MS)).unwrap();
    assert_eq!((seen.is_online, seen.at), (false, WallMs::new(WALL + 1)));
}

#[test]
fn a_sweep_continues_where_it_stopped_and_visits_every_row() {
    let mut table = PresenceTable::new(TTL_MS);
    let count = 2 * ROWS_PER_STEP + 1;
    let now = at(0);
    for n in 0..count {
        table.heartbeat(&name(&format!("c{n}")), None, None, now);
    }
    let later = at(RETENTION_MS);
    for left in [count - ROWS_PER_STEP, count - 2 * ROWS_PER_STEP, 0, 0] {
        table.sweep(later);
        assert_eq!(table.rows.after(None).count(), left);
    }
}

#[test]
fn expire_some_takes_due_clients_offline_in_batches() {
    let mut table = PresenceTable::new(TTL_MS);
    for n in 0..5 {
        table.heartbeat(&name(&format!("c{n}")), None, None, at(0));
    }
    assert!(table.expire_some(2, at(TTL_MS - 1)));
    let parts: Vec<bool> = (0..3).map(|_| table.expire_some(2, at(TTL_MS))).collect();
    assert_eq!(parts, [false, false, true]);
    assert_eq!(table.version_without_expiry(), 10);
}

#[test]
fn a_client_that_returns_before_its_expiry_was_noticed_has_left_and_joined() {
    let mut table = PresenceTable::new(TTL_MS);
    table.heartbeat(&name("alice"), None, None, at(0));
    table.heartbeat(&name("bob"), None, None, at(0));
    table.heartbeat(&name("alice"), None, None, at(TTL_MS));
    let changes = table.changes_since(2, usize::MAX).unwrap();
    let left = PresenceEvent::Left(OfflineReason::Timeout);
    assert_eq!(changes.iter().map(|change| change.event).collect::<Vec<_>>(), [left, PresenceEvent::Joined(None)]);
    assert_eq!(online_names(&mut table, at(TTL_MS)), ["alice"]);
    assert_eq!(table.expiry_queue.len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Heartbeat(u8),
    RetentionSweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..1000).prop_map(Step::Wait),
        (0_u8..6).prop_map(Step::Heartbeat),
        Just(Step::RetentionSweep),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_list_of_last_heartbeats(steps in steps(), limit in 1_usize..4) {
        let ttl_ms = 2000;
        let mut table = PresenceTable::new(ttl_ms);
        let mut clock = PresenceClock::new(true, BootMs(0), WallMs::new(WALL));
        let mut model: BTreeMap<String, u64> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            let moment = clock.observe(BootMs(now));
            match step {
                Step::Wait(ms) => now += ms,
                Step::Heartbeat(client) => {
                    table.heartbeat(&name(&format!("c{client}")), None, None, moment);
                    model.insert(format!("c{client}"), now);
                }
                Step::RetentionSweep => table.sweep(moment),
            }
            let moment = clock.observe(BootMs(now));
            let online: Vec<String> =
                model.iter().filter(|(_, seen)| now - **seen < ttl_ms).map(|(name, _)| name.clone()).collect();
            prop_assert_eq!(table.online_count(moment), online.len());
            prop_assert_eq!(table.expiry_queue.len(), online.len());
            let page = Page { limit: NonZeroUsize::new(limit), ..Page::default() };
            let part: Vec<String> =
                table.online(&page, moment).into_iter().map(|row| row.username.to_string()).collect();
            prop_assert_eq!(&part[..], &online[..limit.min(online.len())]);
            prop_assert_eq!(online_names(&mut table, moment), online);
        }
    }

    #[test]
    fn reading_in_parts_of_any_size_returns_the_same_clients(
        heartbeats in proptest::collection::vec((0_u8..20, 0_u64..3000), 0..40), max in 1_usize..6, limit in 1_usize..9,
    ) {
        let mut table = PresenceTable::new(2000);
        let mut clock = PresenceClock::new(true, BootMs(0), WallMs::new(WALL));
        let mut now = clock.observe(BootMs(0));
        for (client, wait) in heartbeats {
            now = clock.observe(now.boot.plus(wait));
            table.heartbeat(&name(&format!("c{client}")), None, None, now);
        }
        let full_page = Page { limit: NonZeroUsize::new(limit), ..Page::default() };
        let (mut read, mut rest) = (Vec::new(), Some(full_page.clone()));
        while let Some(page) = rest {
            let (found, last) = table.online_part(&page, max, now);
            prop_assert!(found.len() <= max);
            rest = last.and_then(|last| page.rest_after(&last, found.len()));
            read.extend(found);
        }
        prop_assert_eq!(read, table.online(&full_page, now));
    }
}
