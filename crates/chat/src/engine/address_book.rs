//! Address book of the mesh: the addresses that may be dialled, and the time of the next dial of
//! each.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::event_rng::EventRng;
use super::limits::{
    EVICTABLE_FAILURES, FIRST_DIAL_JITTER_MS, MAX_ADDRESSES, MAX_ADDRESSES_PER_HOST, MAX_DIALS_PER_HOST,
    MAX_REDIAL_DELAY_MS, MIN_REDIAL_DELAY_MS, UNPROVEN_DIAL_BURST, UNPROVEN_DIAL_INTERVAL_MS,
};
use super::rate_limits::RateLimits;
use crate::endpoint::PeerEndpoint;
use crate::peer_id::PeerId;
use rollcall_core::{BootMs, Rate};

/// Burst and rate of dials to one host at addresses without proof of a peer.
const UNPROVEN_DIAL_RATE: Rate = Rate::new(UNPROVEN_DIAL_BURST, UNPROVEN_DIAL_INTERVAL_MS);

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
    /// Whether a peer has greeted at this address.
    is_proven: bool,
    /// The host, for the limits per host.
    group: CompactString,
}

impl AddressRecord {
    fn new(endpoint: &PeerEndpoint, is_configured: bool, peer: Option<PeerId>, dial_at: BootMs) -> Self {
        Self {
            is_configured,
            peer,
            dial: DialProgress::Idle,
            has_failed_before: false,
            dial_at,
            failures: 0,
            is_proven: false,
            group: endpoint.host_group(),
        }
    }

    fn is_being_dialled(&self) -> bool {
        self.dial != DialProgress::Idle
    }
}

/// All known addresses.
///
/// Invariant: a learned address is added only while there are fewer than [`MAX_ADDRESSES`]
/// addresses, the configured ones included, and fewer than [`MAX_ADDRESSES_PER_HOST`] learned ones
/// of its host.
#[derive(Clone, Debug)]
pub(super) struct AddressBook {
    records: BTreeMap<PeerEndpoint, AddressRecord>,
    /// Limits on dials to addresses that may belong to any other program. So nobody can make this
    /// peer scan the ports of a host.
    unproven_dials: RateLimits<CompactString>,
}

impl AddressBook {
    /// An empty book.
    pub(super) fn new() -> Self {
        Self { records: BTreeMap::new(), unproven_dials: RateLimits::new(UNPROVEN_DIAL_RATE) }
    }

    /// Adds a configured address. It is due at once.
    pub(super) fn add_configured(&mut self, endpoint: PeerEndpoint, now: BootMs) {
        let record = AddressRecord::new(&endpoint, true, None, now);
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
        if !endpoint.is_dialable() {
            return;
        }
        let record = AddressRecord::new(&endpoint, false, peer, now.plus(rng.below(FIRST_DIAL_JITTER_MS)));
        let of_host = |other: &AddressRecord| !other.is_configured && other.group == record.group;
        let has_room = if self.records.values().filter(|other| of_host(other)).count() >= MAX_ADDRESSES_PER_HOST {
            self.evict_unreachable(of_host)
        } else {
            self.records.len() < MAX_ADDRESSES || self.evict_unreachable(|_| true)
        };
        if has_room {
            self.records.insert(endpoint, record);
        }
    }

    /// Takes the addresses to dial now, at most `max`, and marks them as being dialled. Configured
    /// addresses come first, then those at which a peer has greeted before. An address is skipped
    /// if its peer is linked or is being dialled at another address, and while
    /// [`MAX_DIALS_PER_HOST`] addresses of its host are being dialled.
    pub(super) fn take_due(
        &mut self,
        now: BootMs,
        max: usize,
        is_linked: impl Fn(PeerId) -> bool,
    ) -> Vec<PeerEndpoint> {
        let is_due = |record: &AddressRecord| !record.is_being_dialled() && record.dial_at <= now;
        if max == 0 || !self.records.values().any(is_due) {
            return Vec::new();
        }
        let (mut dialled_peers, mut dialled_hosts) = (self.peers_being_dialled(), self.hosts_being_dialled());
        let mut candidates: Vec<_> = self.records.iter_mut().filter(|(_, record)| is_due(record)).collect();
        candidates.sort_by_key(|(_, record)| (!record.is_configured, !record.is_proven));
        let mut due: Vec<PeerEndpoint> = Vec::new();
        for (endpoint, record) in candidates {
            let is_free = record.peer.is_none_or(|peer| !is_linked(peer) && !dialled_peers.contains(&peer));
            let of_host = dialled_hosts.entry(record.group.clone()).or_default();
            if due.len() >= max || !is_free || *of_host >= MAX_DIALS_PER_HOST {
                continue;
            }
            let is_proven = record.is_configured || record.is_proven;
            if !is_proven && !self.unproven_dials.allows(record.group.clone(), now) {
                record.dial_at = now.plus(UNPROVEN_DIAL_INTERVAL_MS);
                continue;
            }
            record.dial = DialProgress::Dialling;
            dialled_peers.extend(record.peer);
            *of_host += 1;
            due.push(endpoint.clone());
        }
        due
    }

    /// The number of addresses of each host that are being dialled.
    fn hosts_being_dialled(&self) -> BTreeMap<CompactString, usize> {
        let mut hosts = BTreeMap::new();
        for record in self.records.values().filter(|record| record.is_being_dialled()) {
            *hosts.entry(record.group.clone()).or_default() += 1;
        }
        hosts
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

    /// The time of the next dial. Addresses of peers that are linked or being dialled do not count,
    /// nor do those of hosts of which enough addresses are being dialled.
    pub(super) fn next_deadline(&self, is_linked: impl Fn(PeerId) -> bool) -> BootMs {
        let (dialled_peers, dialled_hosts) = (self.peers_being_dialled(), self.hosts_being_dialled());
        let is_free = |peer: PeerId| !is_linked(peer) && !dialled_peers.contains(&peer);
        let is_busy =
            |record: &AddressRecord| dialled_hosts.get(&record.group).is_some_and(|dials| *dials >= MAX_DIALS_PER_HOST);
        let idle = self
            .records
            .values()
            .filter(|record| !record.is_being_dialled() && record.peer.is_none_or(is_free) && !is_busy(record));
        idle.map(|record| record.dial_at).min().unwrap_or(BootMs::NEVER)
    }

    /// Records that a dial reached this peer.
    pub(super) fn mark_reached(&mut self, endpoint: &PeerEndpoint, peer: PeerId) {
        if let Some(record) = self.records.get_mut(endpoint) {
            record.dial = DialProgress::Idle;
            record.peer = Some(peer);
            record.is_proven = true;
        }
    }

    /// Records that the peer has greeted in a dial that may open a link to it.
    pub(super) fn mark_greeted(&mut self, endpoint: &PeerEndpoint, peer: PeerId) {
        if let Some(record) = self.records.get_mut(endpoint) {
            if record.is_being_dialled() {
                record.dial = DialProgress::Greeted;
            }
            record.peer = Some(peer);
            record.is_proven = true;
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

    /// Evicts the learned address with the most failures in a row among the candidates, if it has
    /// at least [`EVICTABLE_FAILURES`]. Returns whether there was one.
    fn evict_unreachable(&mut self, is_candidate: impl Fn(&AddressRecord) -> bool) -> bool {
        let learned = self.records.iter().filter(|(_, record)| !record.is_configured && is_candidate(record));
        let unreachable = learned.filter(|(_, record)| !record.is_being_dialled());
        let unreachable = unreachable.filter(|(_, record)| record.failures >= EVICTABLE_FAILURES);
        let worst = unreachable.max_by_key(|(_, record)| record.failures).map(|(endpoint, _)| endpoint.clone());
        worst.is_some_and(|worst| self.records.remove(&worst).is_some())
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
mod tests;
