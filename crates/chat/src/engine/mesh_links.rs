//! Links of the mesh: one per linked peer, their heartbeats, and the addresses to dial.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address_book::AddressBook;
use super::config::EngineConfig;
use super::context::Context;
use super::counters::MessageKind;
use super::event::{Action, LinkId};
use super::link_state::LinkState;
use super::notice::Notice;
use crate::endpoint::PeerEndpoint;
use crate::mesh::{MeshMessage, MessageBody};
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// The links and the address book.
///
/// Invariant: there is at most one link per peer, and `by_peer` contains every link.
#[derive(Clone, Debug)]
pub(super) struct MeshLinks {
    links: BTreeMap<LinkId, LinkState>,
    by_peer: BTreeMap<PeerId, LinkId>,
    pub(super) addresses: AddressBook,
}

impl MeshLinks {
    /// Starts without links. The configured addresses are due at once.
    pub(super) fn new(peers: &[PeerEndpoint], now: BootMs) -> Self {
        let mut addresses = AddressBook::default();
        for endpoint in peers {
            addresses.add_configured(endpoint.clone(), now);
        }
        Self { links: BTreeMap::new(), by_peer: BTreeMap::new(), addresses }
    }

    /// The state of a link.
    pub(super) fn get(&self, link: LinkId) -> Option<&LinkState> {
        self.links.get(&link)
    }

    /// The state of a link, mutable.
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut LinkState> {
        self.links.get_mut(&link)
    }

    /// Whether the link is open.
    pub(super) fn contains(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Number of links.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// All links.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &LinkState)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// All links, mutable.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut LinkState)> {
        self.links.iter_mut().map(|(id, link)| (*id, link))
    }

    /// The linked peers.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.by_peer.keys().copied()
    }

    /// Whether the peer is linked.
    pub(super) fn is_linked(&self, peer: PeerId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// The link to a peer.
    pub(super) fn link_to(&self, peer: PeerId) -> Option<LinkId> {
        self.by_peer.get(&peer).copied()
    }

    /// Adds a link. Removes an older link to the same peer.
    pub(super) fn insert(&mut self, id: LinkId, link: LinkState) {
        if let Some(old) = self.by_peer.insert(link.peer, id) {
            self.links.remove(&old);
        }
        self.links.insert(id, link);
    }

    /// Removes a link that was closed.
    pub(super) fn remove(&mut self, id: LinkId) -> Option<LinkState> {
        let link = self.links.remove(&id)?;
        self.by_peer.remove(&link.peer);
        Some(link)
    }

    /// Whether a new link replaces the old link to the same peer. Both ends must decide alike, or
    /// they would close both links.
    ///
    /// If the links were dialled from opposite ends, the one dialled by the peer with the lower id
    /// is kept. If both were dialled from the same end, the newer one is kept: the dialling peer
    /// knows that it lost the older one.
    pub(super) fn should_replace(&self, new: &LinkState, old: LinkId, me: PeerId) -> bool {
        let Some(old) = self.links.get(&old) else { return true };
        let i_dialled = new.dialled.is_some();
        i_dialled == old.dialled.is_some() || i_dialled == (me < new.peer)
    }

    /// The unconfirmed link on which nothing was received for the longest time. A link is not
    /// returned before that time exceeds the heartbeat interval and timeout.
    pub(super) fn longest_unconfirmed(&self, config: &EngineConfig, now: BootMs) -> Option<LinkId> {
        let silence_timeout_ms = config.silence_timeout_ms();
        let is_evictable =
            |link: &LinkState| !link.is_confirmed && link.heartbeats.last_seen_at.plus(silence_timeout_ms) <= now;
        let evictable = self.links.iter().filter(|(_, link)| is_evictable(link));
        evictable.min_by_key(|(_, link)| link.heartbeats.last_seen_at).map(|(id, _)| *id)
    }

    /// The links on which a heartbeat is overdue.
    pub(super) fn timed_out(&self, config: &EngineConfig, now: BootMs) -> Vec<LinkId> {
        let timed_out = self.links.iter().filter(|(_, link)| link.heartbeats.timeout_at(config) <= now);
        timed_out.map(|(id, _)| *id).collect()
    }

    /// Time of the next deadline of a link, or of the next dial.
    pub(super) fn next_deadline(&self, config: &EngineConfig) -> BootMs {
        let links = self.links.values().map(|link| link.next_deadline(config)).min().unwrap_or(BootMs::NEVER);
        let has_free_slot = self.links.len() + self.addresses.dialling_count() < config.max_connections;
        let dials =
            if has_free_slot { self.addresses.next_deadline(|peer| self.is_linked(peer)) } else { BootMs::NEVER };
        links.min(dials)
    }

    /// Dials the addresses that are due, as far as the connection limit permits.
    pub(super) fn dial_due(&mut self, cx: &mut Context) {
        let free_slots =
            cx.local.config.max_connections.saturating_sub(self.links.len() + self.addresses.dialling_count());
        let due = self.addresses.take_due(cx.now.boot, free_slots, |peer| self.by_peer.contains_key(&peer));
        cx.counters.dials += due.len() as u64;
        cx.counters.redials += due.iter().filter(|endpoint| self.addresses.has_failed_before(endpoint)).count() as u64;
        cx.actions.extend(due.into_iter().map(Action::Dial));
    }

    /// Handles a dial that did not lead to a link. The user is notified of the first failure of a
    /// configured address.
    pub(super) fn handle_dial_failure(&mut self, endpoint: PeerEndpoint, reason: String, cx: &mut Context) {
        cx.counters.failed_dials += 1;
        if self.addresses.record_failure(&endpoint, cx.now.boot, &mut cx.rng) == 1
            && cx.local.config.peers.contains(&endpoint)
        {
            cx.notify(Notice::Unreachable { endpoint, reason });
        }
    }

    /// Sends the heartbeats that are due.
    pub(super) fn send_due_heartbeats(&mut self, cx: &mut Context) {
        let due = self.links.iter().filter(|(_, link)| link.heartbeats.next_heartbeat_at <= cx.now.boot);
        let due: Vec<LinkId> = due.map(|(id, _)| *id).collect();
        if !due.is_empty() {
            self.send_heartbeat(due, cx);
        }
    }

    /// Sends a heartbeat on these links.
    pub(super) fn send_heartbeat(&mut self, links: Vec<LinkId>, cx: &mut Context) {
        for link in &links {
            if let Some(link) = self.links.get_mut(link) {
                link.heartbeats.next_heartbeat_at = cx.now.boot.plus(cx.local.config.heartbeat_interval_ms);
            }
        }
        let message = cx.control_message(MessageBody::heartbeat(cx.local.config.listen.clone()));
        self.send(links, message, cx);
    }

    /// Sends a linked peer the addresses of the other linked peers.
    pub(super) fn send_peer_list(&self, link: LinkId, cx: &mut Context) {
        let Some(state) = self.links.get(&link) else { return };
        let (to, is_here) = (state.peer, state.remote.is_loopback());
        let mut endpoints = self.addresses.addresses_of(|peer| peer != to && self.is_linked(peer));
        // A loopback address is sent only to a peer on this host.
        endpoints.retain(|endpoint| is_here || !is_loopback(endpoint));
        let message = cx.control_message(MessageBody::PeerList(endpoints));
        self.send(vec![link], message, cx);
    }

    /// Sends one message on several links, in the format that the peer of each link understands.
    pub(super) fn send(&self, mut links: Vec<LinkId>, message: MeshMessage, cx: &mut Context) {
        links.retain(|id| self.links.contains_key(id));
        cx.counters.sent.add(MessageKind::of(&message.body), links.len());
        let format_of = |id: &LinkId| self.links.get(id).map(|link| link.format).unwrap_or_default();
        // Usually all links have the same format.
        while let Some(format) = links.first().map(format_of) {
            let others: Vec<LinkId> = links.extract_if(.., |id| format_of(id) != format).collect();
            if others.is_empty() {
                cx.actions.push(Action::Send { links, message, format });
                return;
            }
            cx.actions.push(Action::Send {
                links: std::mem::replace(&mut links, others),
                message: message.clone(),
                format,
            });
        }
    }
}

fn is_loopback(endpoint: &PeerEndpoint) -> bool {
    endpoint.host() == "localhost" || endpoint.host().parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
