//! Unit tests of the address book.

use std::collections::BTreeSet;

use super::*;

/// An address of its own host.
fn endpoint(host: u16) -> PeerEndpoint {
    let [high, low] = host.to_be_bytes();
    PeerEndpoint::parse(&format!("10.0.{high}.{low}:8080")).unwrap()
}

/// An address of one host.
fn port(port: u16) -> PeerEndpoint {
    PeerEndpoint::parse(&format!("10.9.9.9:{port}")).unwrap()
}

#[test]
fn redial_delays_grow_by_half_from_one_second_to_five_minutes() {
    let mut rng = EventRng(7);
    for (failures, about) in
        [(0, 1000), (1, 1500), (2, 2250), (10, 57_660), (14, 291_900), (15, 300_000), (9999, 300_000)]
    {
        let wait = redial_delay_ms(failures, &mut rng);
        assert!((about * 79 / 100..=(about * 121 / 100).min(300_000)).contains(&wait), "{failures}: {wait}");
    }
}

#[test]
fn redial_delays_of_different_peers_are_spread() {
    let delays: BTreeSet<u64> = (0..100).map(|seed| redial_delay_ms(3, &mut EventRng(seed))).collect();
    assert!(delays.len() > 80 && delays.last().unwrap() - delays.first().unwrap() > 1000, "{delays:?}");
}

#[test]
fn only_a_learned_address_with_many_failures_is_evicted() {
    let (mut book, mut rng, mut now) = (AddressBook::new(), EventRng(1), BootMs(0));
    book.add_configured(endpoint(1), now);
    for host in 2..1000 {
        book.add_learned(endpoint(host), None, now, &mut rng);
    }
    assert_eq!(book.records.len(), MAX_ADDRESSES);
    for _ in 0..EVICTABLE_FAILURES {
        now = now.plus(MAX_REDIAL_DELAY_MS);
        for due in [endpoint(1), endpoint(2)] {
            book.record_failure(&due, now, &mut rng);
        }
    }
    for host in 2000..2002 {
        book.add_learned(endpoint(host), None, now, &mut rng);
    }
    let is_known = |host| book.records.contains_key(&endpoint(host));
    assert_eq!([1, 2, 3, 2000, 2001].map(is_known), [true, false, true, true, false]);
}

#[test]
fn a_peer_is_not_dialled_at_two_addresses_at_once() {
    let (mut book, mut rng) = (AddressBook::new(), EventRng(1));
    let later = BootMs(FIRST_DIAL_JITTER_MS);
    book.add_learned(endpoint(1), Some(PeerId(1)), BootMs(0), &mut rng);
    book.add_learned(endpoint(2), Some(PeerId(1)), BootMs(0), &mut rng);
    assert_eq!(book.take_due(later, 9, |_| true), []);
    assert_eq!(book.next_deadline(|_| true), BootMs::NEVER);
    assert_eq!(book.take_due(later, 9, |_| false), [endpoint(1)]);
    assert!(!book.has_failed_before(&endpoint(1)), "the first dial");
    assert_eq!(book.take_due(later, 9, |_| false), [], "the peer is being dialled at another address");
    assert_eq!(book.next_deadline(|_| false), BootMs::NEVER, "no dial is due until the other has ended");
    book.mark_reached(&endpoint(1), PeerId(1));
    book.reset_failures(PeerId(1));
    book.record_lost_link(PeerId(1), true, later, &mut rng);
    assert_eq!(book.take_due(later, 9, |_| false), []);
    assert_eq!(book.take_due(later.plus(1200), 9, |_| false), [endpoint(1)], "a lost peer is redialled after a second");
    assert!(book.has_failed_before(&endpoint(1)) && !book.has_failed_before(&endpoint(3)));
}

/// Dials everything that is due, at intervals of a second. Each dial fails at once. Returns the
/// dialled addresses.
fn dial_for(seconds: u64, book: &mut AddressBook, rng: &mut EventRng) -> Vec<PeerEndpoint> {
    let mut dialled = Vec::new();
    for second in 1..=seconds {
        let now = BootMs(second * 1000);
        let due = book.take_due(now, 1000, |_| false);
        for endpoint in &due {
            book.record_failure(endpoint, now, rng);
        }
        dialled.extend(due);
    }
    dialled
}

#[test]
fn a_peer_cannot_be_made_to_scan_the_ports_of_a_host() {
    let (mut book, mut rng) = (AddressBook::new(), EventRng(1));
    let mut dialled = BTreeSet::new();
    let mut dials = 0;
    for round in 0..60 {
        for number in 1..=256 {
            book.add_learned(port(round * 256 + number), None, BootMs(0), &mut rng);
        }
        let now = BootMs(60_000 * u64::from(round + 1));
        let due = book.take_due(now, 1000, |_| false);
        assert!(due.len() <= MAX_DIALS_PER_HOST, "{}", due.len());
        for endpoint in due {
            book.record_failure(&endpoint, now, &mut rng);
            dials += 1;
            dialled.insert(endpoint);
        }
    }
    assert!(book.len() <= MAX_ADDRESSES_PER_HOST && dialled.len() <= 2 * MAX_ADDRESSES_PER_HOST, "{}", dialled.len());
    assert!(dials <= 60 * 8);
    // The dials of a minute, with many addresses.
    let (mut book, mut rng) = (AddressBook::new(), EventRng(1));
    (1..=256).for_each(|number| book.add_learned(port(number), None, BootMs(0), &mut rng));
    let dials = dial_for(600, &mut book, &mut rng).len();
    assert!((64..=64 + 600 / 10).contains(&dials), "{dials}");
}

#[test]
fn the_ports_of_one_host_leave_room_and_slots_for_other_hosts() {
    let (mut book, mut rng, later) = (AddressBook::new(), EventRng(1), BootMs(FIRST_DIAL_JITTER_MS));
    (1..=1000).for_each(|number| book.add_learned(port(number), None, BootMs(0), &mut rng));
    (1..=20).for_each(|number| book.add_configured(port(2000 + number), BootMs(0)));
    (1..=10).for_each(|host| book.add_learned(endpoint(host), None, BootMs(0), &mut rng));
    book.add_configured(endpoint(99), BootMs(0));
    let due = book.take_due(later, 19, |_| false);
    let of_host = due.iter().filter(|endpoint| endpoint.host() == "10.9.9.9").count();
    assert_eq!((due.len(), of_host, due.contains(&endpoint(99))), (19, MAX_DIALS_PER_HOST, true));
    assert_eq!(book.next_deadline(|_| false), BootMs::NEVER, "the end of a dial causes the next one");
    book.record_failure(&due[0], later, &mut rng);
    assert_ne!(book.next_deadline(|_| false), BootMs::NEVER);
}

#[test]
fn an_address_at_which_a_peer_was_reached_is_redialled_without_the_limit() {
    let (mut book, mut rng) = (AddressBook::new(), EventRng(1));
    for number in 1..=u16::try_from(MAX_ADDRESSES_PER_HOST).unwrap() {
        let peer = PeerId(number.into());
        book.add_learned(port(number), Some(peer), BootMs(0), &mut rng);
        book.mark_reached(&port(number), peer);
        book.record_lost_link(peer, true, BootMs(0), &mut rng);
    }
    let dials = dial_for(600, &mut book, &mut rng);
    assert!(dials.len() > 2 * 64 + 60, "{}", dials.len());
}

#[test]
fn configured_addresses_are_dialled_first_and_then_those_at_which_a_peer_was_reached() {
    let (mut book, mut rng) = (AddressBook::new(), EventRng(1));
    (1..=5).for_each(|host| book.add_learned(endpoint(host), None, BootMs(0), &mut rng));
    book.mark_reached(&endpoint(4), PeerId(4));
    book.add_configured(endpoint(9), BootMs(0));
    let due = |book: &mut AddressBook, max| book.take_due(BootMs(FIRST_DIAL_JITTER_MS), max, |_| false);
    assert_eq!(due(&mut book, 1), [endpoint(9)]);
    assert_eq!(due(&mut book, 2), [endpoint(4), endpoint(1)]);
}
