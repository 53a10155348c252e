//! Address book of the mesh: the addresses that may be dialled, and the time of the next dial of
//! each.

use std::collections::BTreeMap;

use super::event_rng::EventRng;
use super::limits::{
    EVICTABLE_FAILURES, FIRST_DIAL_JITTER_MS, MAX_ADDRESSES, MAX_REDIAL_DELAY_MS, MIN_REDIAL_DELAY_MS,
};
use crate::endpoint::PeerEndpoint;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// Progress of the dial to one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum DialProgress {
    /// It is not being dialled.
    Idle,
    Dialling,
    /// Its peer has greeted, and this dial may open a link to it.
    Greeted,
}

/// State of one address.
#[derive(Clone, Debug)]
struct AddressRecord {
    /// Whether the address is configured. A configured address is redialled forever and never
    /// evicted.
    is_configured: bool,
    /// The peer that the last dial reached at this address, or the peer that announced it.
    peer: Option<PeerId>,
    dial: DialProgress,
    /// Whether a link to this address was ever lost, or a dial ever failed.
    has_failed_before: bool,
    /// Time from which the address may be dialled; [`BootMs::NEVER`] for an address of this peer.
    dial_at: BootMs,
    /// Failures in a row: failed dials, and links that closed before the peer sent a message.
    failures: u32,
}

impl AddressRecord {
    fn is_being_dialled(&self) -> bool {
        self.dial != DialProgress::Idle
    }
}

/// All known addresses.
///
/// Invariant: a learned address is added only while there are fewer than [`MAX_ADDRESSES`]
/// addresses, the configured ones included.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressBook {
    records: BTreeMap<PeerEndpoint, AddressRecord>,
}

impl AddressBook {
    /// Adds a configured address. It is due at once.
    pub(super) fn add_configured(&mut self, endpoint: PeerEndpoint, now: BootMs) {
        let record = AddressRecord {
            is_configured: true,
            peer: None,
            dial: DialProgress::Idle,
            has_failed_before: false,
            dial_at: now,
            failures: 0,
        };
        self.records.insert(endpoint, record);
    }

    /// Adds an address that a peer or the registry reported. `peer` is the peer at this address, if
    /// that is known.
    ///
    /// A reported peer is ignored for a configured address: only a dial shows which peer is there.
    /// Otherwise a linked peer could claim that address and keep it from being dialled.
    pub(super) fn add_learned(
        &mut self,
        endpoint: PeerEndpoint,
        peer: Option<PeerId>,
        now: BootMs,
        rng: &mut EventRng,
    ) {
        if let Some(record) = self.records.get_mut(&endpoint) {
            if !record.is_configured {
                record.peer = peer.or(record.peer);
            }
            return;
        }
        if self.records.len() >= MAX_ADDRESSES {
            self.evict_unreachable();
        }
        if endpoint.is_dialable() && self.records.len() < MAX_ADDRESSES {
            let dial_at = now.plus(rng.below(FIRST_DIAL_JITTER_MS));
            let record = AddressRecord {
                is_configured: false,
                peer,
                dial: DialProgress::Idle,
                has_failed_before: false,
                dial_at,
                failures: 0,
            };
            self.records.insert(endpoint, record);
        }
    }

    /// Takes the addresses to dial now, at most `max`, and marks them as being dialled. An address
    /// is skipped if its peer is linked or is being dialled at another address.
    pub(super) fn take_due(
        &mut self,
        now: BootMs,
        max: usize,
        is_linked: impl Fn(PeerId) -> bool,
    ) -> Vec<PeerEndpoint> {
        let mut due: Vec<PeerEndpoint> = Vec::new();
        let mut dialled_peers = self.peers_being_dialled();
        for (endpoint, record) in &mut self.records {
            let is_free = record.peer.is_none_or(|peer| !is_linked(peer) && !dialled_peers.contains(&peer));
            if due.len() < max && !record.is_being_dialled() && record.dial_at <= now && is_free {
                record.dial = DialProgress::Dialling;
                dialled_peers.extend(record.peer);
                due.push(endpoint.clone());
            }
        }
        due
    }

    /// The peers expected at the addresses that are being dialled.
    fn peers_being_dialled(&self) -> Vec<PeerId> {
        self.records.values().filter(|record| record.is_being_dialled()).filter_map(|record| record.peer).collect()
    }

    /// Number of addresses.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether a link to this address was ever lost, or a dial ever failed.
    pub(super) fn has_failed_before(&self, endpoint: &PeerEndpoint) -> bool {
        self.records.get(endpoint).is_some_and(|record| record.has_failed_before)
    }

    /// Failures in a row: failed dials, and links that closed before the peer sent a message.
    pub(super) fn failures(&self, endpoint: &PeerEndpoint) -> u32 {
        self.records.get(endpoint).map_or(0, |record| record.failures)
    }

    /// Whether the address is configured, a dial reached a peer at it, or a peer announced it.
    pub(super) fn is_peer_expected_at(&self, endpoint: &PeerEndpoint) -> bool {
        self.records.get(endpoint).is_some_and(|record| record.is_configured || record.peer.is_some())
    }

    /// Number of addresses that are being dialled.
    pub(super) fn dialling_count(&self) -> usize {
        self.records.values().filter(|record| record.is_being_dialled()).count()
    }

    /// The time of the next dial. Addresses of peers that are linked or being dialled do not count.
    pub(super) fn next_deadline(&self, is_linked: impl Fn(PeerId) -> bool) -> BootMs {
        let dialled_peers = self.peers_being_dialled();
        let is_free = |peer: PeerId| !is_linked(peer) && !dialled_peers.contains(&peer);
        let idle = self.records.values().filter(|record| !record.is_being_dialled() && record.peer.is_none_or(is_free));
        idle.map(|record| record.dial_at).min().unwrap_or(BootMs::NEVER)
    }

    /// Records that a dial reached this peer.
    pub(super) fn mark_reached(&mut self, endpoint: &PeerEndpoint, peer: PeerId) {
        if let Some(record) = self.records.get_mut(endpoint) {
            record.dial = DialProgress::Idle;
            record.peer = Some(peer);
        }
    }

    /// Records that the peer has greeted in a dial that may open a link to it.
    pub(super) fn mark_greeted(&mut self, endpoint: &PeerEndpoint, peer: PeerId) {
        if let Some(record) = self.records.get_mut(endpoint) {
            if record.is_being_dialled() {
                record.dial = DialProgress::Greeted;
            }
            record.peer = Some(peer);
        }
    }

    /// Whether a dial is about to open a link to the peer.
    pub(super) fn is_greeted(&self, peer: PeerId) -> bool {
        self.records.values().any(|record| record.dial == DialProgress::Greeted && record.peer == Some(peer))
    }

    /// Records which peer is at an address that was reached under another name. Nothing changes if
    /// the address is not in the book.
    pub(super) fn set_peer(&mut self, endpoint: &PeerEndpoint, peer: PeerId) {
        if let Some(record) = self.records.get_mut(endpoint) {
            record.peer = Some(peer);
        }
    }

    /// Records that the address belongs to this peer itself. It is never dialled again.
    pub(super) fn mark_own(&mut self, endpoint: &PeerEndpoint) {
        if let Some(record) = self.records.get_mut(endpoint) {
            record.dial = DialProgress::Idle;
            record.dial_at = BootMs::NEVER;
        }
    }

    /// Records a failed dial. Returns the number of failures in a row; 0 if the address is not in
    /// the book.
    pub(super) fn record_failure(&mut self, endpoint: &PeerEndpoint, now: BootMs, rng: &mut EventRng) -> u32 {
        let Some(record) = self.records.get_mut(endpoint) else { return 0 };
        record.dial = DialProgress::Idle;
        record.has_failed_before = true;
        record.dial_at = now.plus(redial_delay_ms(record.failures, rng));
        record.failures = record.failures.saturating_add(1);
        record.failures
    }

    /// Evicts the learned address with the most failures in a row, if it has at least
    /// [`EVICTABLE_FAILURES`].
    fn evict_unreachable(&mut self) {
        let unreachable = self.records.iter().filter(|(_, record)| !record.is_configured && !record.is_being_dialled());
        let unreachable = unreachable.filter(|(_, record)| record.failures >= EVICTABLE_FAILURES);
        let worst = unreachable.max_by_key(|(_, record)| record.failures).map(|(endpoint, _)| endpoint.clone());
        if let Some(worst) = worst {
            self.records.remove(&worst);
        }
    }

    /// Sets the failures of all addresses of a peer to 0. Called when the peer has sent a message.
    pub(super) fn reset_failures(&mut self, peer: PeerId) {
        for record in self.records.values_mut().filter(|record| record.peer == Some(peer)) {
            record.failures = 0;
        }
    }

    /// Records that the link to a peer was lost. `was_confirmed` means that the peer had sent a
    /// message on it.
    pub(super) fn record_lost_link(&mut self, peer: PeerId, was_confirmed: bool, now: BootMs, rng: &mut EventRng) {
        for record in
            self.records.values_mut().filter(|record| record.peer == Some(peer) && record.dial_at != BootMs::NEVER)
        {
            record.has_failed_before = true;
            record.dial_at = now.plus(redial_delay_ms(record.failures, rng));
            // A peer that accepts connections but sends nothing counts as unreachable.
            record.failures = if was_confirmed { 0 } else { record.failures.saturating_add(1) };
        }
    }

    /// One known address of each wanted peer. Peers without a known address are left out.
    pub(super) fn addresses_of(&self, is_wanted: impl Fn(PeerId) -> bool) -> Vec<PeerEndpoint> {
        let mut found: BTreeMap<PeerId, &PeerEndpoint> = BTreeMap::new();
        for (endpoint, record) in &self.records {
            if let Some(peer) = record.peer.filter(|peer| is_wanted(*peer)) {
                found.entry(peer).or_insert(endpoint);
            }
        }
        found.into_values().cloned().collect()
    }

    /// The address of a peer, if it is known.
    pub(super) fn address_of(&self, peer: PeerId) -> Option<&PeerEndpoint> {
        self.records.iter().find(|(_, record)| record.peer == Some(peer)).map(|(endpoint, _)| endpoint)
    }
}

/// The delay before the next dial after `failures` failures in a row. It starts at one second and
/// grows by half with each failure, to at most five minutes. Jitter is added.
fn redial_delay_ms(failures: u32, rng: &mut EventRng) -> u64 {
    let mut wait_ms = MIN_REDIAL_DELAY_MS;
    for _ in 0..failures.min(64) {
        wait_ms = (wait_ms * 3 / 2).min(MAX_REDIAL_DELAY_MS);
    }
    rng.jittered(wait_ms).min(MAX_REDIAL_DELAY_MS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn endpoint(port: u16) -> PeerEndpoint {
        PeerEndpoint::parse(&format!("10.0.0.1:{port}")).unwrap()
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
        let (mut book, mut rng, mut now) = (AddressBook::default(), EventRng(1), BootMs(0));
        book.add_configured(endpoint(1), now);
        for port in 2..1000 {
            book.add_learned(endpoint(port), None, now, &mut rng);
        }
        assert_eq!(book.records.len(), MAX_ADDRESSES);
        for _ in 0..EVICTABLE_FAILURES {
            now = now.plus(MAX_REDIAL_DELAY_MS);
            for due in [endpoint(1), endpoint(2)] {
                book.record_failure(&due, now, &mut rng);
            }
        }
        for port in 2000..2002 {
            book.add_learned(endpoint(port), None, now, &mut rng);
        }
        let is_known = |port| book.records.contains_key(&endpoint(port));
        assert_eq!([1, 2, 3, 2000, 2001].map(is_known), [true, false, true, true, false]);
    }

    #[test]
    fn a_peer_is_not_dialled_at_two_addresses_at_once() {
        let (mut book, mut rng) = (AddressBook::default(), EventRng(1));
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
        assert_eq!(
            book.take_due(later.plus(1200), 9, |_| false),
            [endpoint(1)],
            "a lost peer is redialled after a second"
        );
        assert!(book.has_failed_before(&endpoint(1)) && !book.has_failed_before(&endpoint(3)));
    }
}
