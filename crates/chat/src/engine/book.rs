//! The addresses at which peers of the mesh may be dialled, and when each is dialled next.

use std::collections::BTreeMap;

use super::draw::Draw;
use super::rules::{FIRST_DIAL_WITHIN_MS, FIRST_RETRY_MS, LONGEST_RETRY_MS, MAX_ENDPOINTS, MOST_FAILURES};
use crate::endpoint::PeerEndpoint;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// One address.
#[derive(Clone, Debug)]
struct Place {
    /// Whether it was configured, and is dialled for ever.
    is_kept: bool,
    /// Who was there last.
    peer: Option<PeerId>,
    dialling: bool,
    /// Whether a link was lost here, or a dial failed.
    was_tried: bool,
    dial_at: BootMs,
    /// In a row.
    failures: u32,
}

/// The address book.
///
/// Invariant: at most [`MAX_ENDPOINTS`] addresses, the configured ones among them.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    places: BTreeMap<PeerEndpoint, Place>,
}

impl Book {
    /// Adds a configured address; it is dialled at once.
    pub(super) fn keep(&mut self, endpoint: PeerEndpoint, now: BootMs) {
        let place = Place { is_kept: true, peer: None, dialling: false, was_tried: false, dial_at: now, failures: 0 };
        self.places.insert(endpoint, place);
    }

    /// Adds an address that somebody told, and who is there if that is known. Who is at a configured address is seen there
    /// and nowhere else: a neighbour that claims it must not keep it from being dialled.
    pub(super) fn learn(&mut self, endpoint: PeerEndpoint, peer: Option<PeerId>, now: BootMs, draw: &mut Draw) {
        if let Some(place) = self.places.get_mut(&endpoint) {
            if !place.is_kept {
                place.peer = peer.or(place.peer);
            }
            return;
        }
        if self.places.len() >= MAX_ENDPOINTS {
            self.forget_worst();
        }
        if endpoint.is_dialable() && self.places.len() < MAX_ENDPOINTS {
            let dial_at = now.plus(draw.below(FIRST_DIAL_WITHIN_MS));
            let place = Place { is_kept: false, peer, dialling: false, was_tried: false, dial_at, failures: 0 };
            self.places.insert(endpoint, place);
        }
    }

    /// The addresses to dial now, at most `most`; they count as being dialled from now on. Nobody is dialled who is linked,
    /// or is being dialled at another address.
    pub(super) fn due(&mut self, now: BootMs, most: usize, is_linked: impl Fn(PeerId) -> bool) -> Vec<PeerEndpoint> {
        let mut due: Vec<PeerEndpoint> = Vec::new();
        let mut busy = self.being_dialled();
        for (endpoint, place) in &mut self.places {
            let is_free = place.peer.is_none_or(|peer| !is_linked(peer) && !busy.contains(&peer));
            if due.len() < most && !place.dialling && place.dial_at <= now && is_free {
                place.dialling = true;
                busy.extend(place.peer);
                due.push(endpoint.clone());
            }
        }
        due
    }

    /// The peers that are expected where it is dialled now.
    fn being_dialled(&self) -> Vec<PeerId> {
        self.places.values().filter(|place| place.dialling).filter_map(|place| place.peer).collect()
    }

    /// How many addresses there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether a link was lost at this address, or a dial failed.
    pub(super) fn was_tried(&self, endpoint: &PeerEndpoint) -> bool {
        self.places.get(endpoint).is_some_and(|place| place.was_tried)
    }

    /// How often in a row nobody was reached at the address, or nobody who said anything.
    pub(super) fn failures(&self, endpoint: &PeerEndpoint) -> u32 {
        self.places.get(endpoint).map_or(0, |place| place.failures)
    }

    /// Whether the address is configured, or somebody was there or said to be.
    pub(super) fn expects(&self, endpoint: &PeerEndpoint) -> bool {
        self.places.get(endpoint).is_some_and(|place| place.is_kept || place.peer.is_some())
    }

    /// How many are being dialled.
    pub(super) fn dialling(&self) -> usize {
        self.places.values().filter(|place| place.dialling).count()
    }

    /// When an address is due next at which nobody is expected who is linked or being dialled.
    pub(super) fn next_at(&self, is_linked: impl Fn(PeerId) -> bool) -> BootMs {
        let busy = self.being_dialled();
        let is_free = |peer: PeerId| !is_linked(peer) && !busy.contains(&peer);
        let idle = self.places.values().filter(|place| !place.dialling && place.peer.is_none_or(is_free));
        idle.map(|place| place.dial_at).min().unwrap_or(BootMs::NEVER)
    }

    /// The address answered, and this peer is there.
    pub(super) fn reached(&mut self, endpoint: &PeerEndpoint, peer: PeerId) {
        if let Some(place) = self.places.get_mut(endpoint) {
            place.dialling = false;
            place.peer = Some(peer);
        }
    }

    /// The address is this program itself.
    pub(super) fn is_mine(&mut self, endpoint: &PeerEndpoint) {
        if let Some(place) = self.places.get_mut(endpoint) {
            place.dialling = false;
            place.dial_at = BootMs::NEVER;
        }
    }

    /// Nobody was reached there. Returns how often in a row that happened; 0 if the address is not in the book.
    pub(super) fn failed(&mut self, endpoint: &PeerEndpoint, now: BootMs, draw: &mut Draw) -> u32 {
        let Some(place) = self.places.get_mut(endpoint) else { return 0 };
        place.dialling = false;
        place.was_tried = true;
        place.dial_at = now.plus(retry_ms(place.failures, draw));
        place.failures = place.failures.saturating_add(1);
        place.failures
    }

    /// An address that was only heard of, and at which nobody answers, makes room.
    fn forget_worst(&mut self) {
        let useless = self.places.iter().filter(|(_, place)| !place.is_kept && !place.dialling);
        let useless = useless.filter(|(_, place)| place.failures >= MOST_FAILURES);
        let worst = useless.max_by_key(|(_, place)| place.failures).map(|(endpoint, _)| endpoint.clone());
        if let Some(worst) = worst {
            self.places.remove(&worst);
        }
    }

    /// The peer said something: its addresses are good.
    pub(super) fn is_well(&mut self, peer: PeerId) {
        for place in self.places.values_mut().filter(|place| place.peer == Some(peer)) {
            place.failures = 0;
        }
    }

    /// The link to the peer ended; `had_spoken` if it had said anything on it.
    pub(super) fn lost(&mut self, peer: PeerId, had_spoken: bool, now: BootMs, draw: &mut Draw) {
        for place in self.places.values_mut().filter(|place| place.peer == Some(peer) && place.dial_at != BootMs::NEVER)
        {
            place.was_tried = true;
            place.dial_at = now.plus(retry_ms(place.failures, draw));
            // A peer that accepts and says nothing is no better than one that is not there.
            place.failures = if had_spoken { 0 } else { place.failures.saturating_add(1) };
        }
    }

    /// Where peers can be dialled: the address of each, as it is known.
    pub(super) fn addresses_of(&self, is_wanted: impl Fn(PeerId) -> bool) -> Vec<PeerEndpoint> {
        let mut found: BTreeMap<PeerId, &PeerEndpoint> = BTreeMap::new();
        for (endpoint, place) in &self.places {
            if let Some(peer) = place.peer.filter(|peer| is_wanted(*peer)) {
                found.entry(peer).or_insert(endpoint);
            }
        }
        found.into_values().cloned().collect()
    }

    /// Where the peer can be dialled.
    pub(super) fn address_of(&self, peer: PeerId) -> Option<&PeerEndpoint> {
        self.places.iter().find(|(_, place)| place.peer == Some(peer)).map(|(endpoint, _)| endpoint)
    }
}

/// The wait before the try after `failures` failures: 1 s, then half as long again each time, at most 5 minutes; with jitter.
fn retry_ms(failures: u32, draw: &mut Draw) -> u64 {
    let mut wait_ms = FIRST_RETRY_MS;
    for _ in 0..failures.min(64) {
        wait_ms = (wait_ms * 3 / 2).min(LONGEST_RETRY_MS);
    }
    draw.about(wait_ms).min(LONGEST_RETRY_MS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn endpoint(port: u16) -> PeerEndpoint {
        PeerEndpoint::parse(&format!("10.0.0.1:{port}")).unwrap()
    }

    #[test]
    fn the_waits_grow_by_half_from_a_second_to_five_minutes() {
        let mut draw = Draw(7);
        for (failures, about) in
            [(0, 1000), (1, 1500), (2, 2250), (10, 57_660), (14, 291_900), (15, 300_000), (9999, 300_000)]
        {
            let wait = retry_ms(failures, &mut draw);
            assert!((about * 79 / 100..=(about * 121 / 100).min(300_000)).contains(&wait), "{failures}: {wait}");
        }
    }

    #[test]
    fn those_who_lost_somebody_at_once_do_not_dial_at_once() {
        let waits: BTreeSet<u64> = (0..100).map(|seed| retry_ms(3, &mut Draw(seed))).collect();
        assert!(waits.len() > 80 && waits.last().unwrap() - waits.first().unwrap() > 1000, "{waits:?}");
    }

    #[test]
    fn only_an_address_that_was_told_and_never_answered_makes_room() {
        let (mut book, mut draw, mut now) = (Book::default(), Draw(1), BootMs(0));
        book.keep(endpoint(1), now);
        for port in 2..1000 {
            book.learn(endpoint(port), None, now, &mut draw);
        }
        assert_eq!(book.places.len(), MAX_ENDPOINTS);
        for _ in 0..MOST_FAILURES {
            now = now.plus(LONGEST_RETRY_MS);
            for due in [endpoint(1), endpoint(2)] {
                book.failed(&due, now, &mut draw);
            }
        }
        for port in 2000..2002 {
            book.learn(endpoint(port), None, now, &mut draw);
        }
        let is_known = |port| book.places.contains_key(&endpoint(port));
        assert_eq!([1, 2, 3, 2000, 2001].map(is_known), [true, false, true, true, false]);
    }

    #[test]
    fn nobody_is_dialled_twice() {
        let (mut book, mut draw) = (Book::default(), Draw(1));
        let later = BootMs(FIRST_DIAL_WITHIN_MS);
        book.learn(endpoint(1), Some(PeerId(1)), BootMs(0), &mut draw);
        book.learn(endpoint(2), Some(PeerId(1)), BootMs(0), &mut draw);
        assert_eq!(book.due(later, 9, |_| true), []);
        assert_eq!(book.next_at(|_| true), BootMs::NEVER);
        assert_eq!(book.due(later, 9, |_| false), [endpoint(1)]);
        assert!(!book.was_tried(&endpoint(1)), "this is the first time");
        assert_eq!(book.due(later, 9, |_| false), [], "it is being dialled at another address");
        assert_eq!(book.next_at(|_| false), BootMs::NEVER, "and nothing is to be done until that is over");
        book.reached(&endpoint(1), PeerId(1));
        book.is_well(PeerId(1));
        book.lost(PeerId(1), true, later, &mut draw);
        assert_eq!(book.due(later, 9, |_| false), []);
        assert_eq!(book.due(later.plus(1200), 9, |_| false), [endpoint(1)], "a lost peer is dialled after a second");
        assert!(book.was_tried(&endpoint(1)) && !book.was_tried(&endpoint(3)));
    }
}
