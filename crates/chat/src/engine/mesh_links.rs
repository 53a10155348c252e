//! Links of the mesh, their heartbeats, and the addresses to dial.
//!
//! There is one link per peer of this program. A peer of another program may have several: some
//! such programs forget a peer when one of two links to it ends, so none of them is closed here.
//! The newest one is used for all messages, and the older ones get heartbeats.

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
/// Invariant: `by_peer` contains every link of `links`, so there is at most one per peer. Each link
/// of `older` belongs to a peer of `by_peer`.
#[derive(Clone, Debug)]
pub(super) struct MeshLinks {
    links: BTreeMap<LinkId, LinkState>,
    by_peer: BTreeMap<PeerId, LinkId>,
    /// Further links to peers that are not known to be of this program.
    older: BTreeMap<LinkId, LinkState>,
    pub(super) addresses: AddressBook,
}

impl MeshLinks {
    /// Starts without links. The configured addresses are due at once.
    pub(super) fn new(peers: &[PeerEndpoint], now: BootMs) -> Self {
        let mut addresses = AddressBook::new();
        for endpoint in peers {
            addresses.add_configured(endpoint.clone(), now);
        }
        Self { links: BTreeMap::new(), by_peer: BTreeMap::new(), older: BTreeMap::new(), addresses }
    }

    /// The state of a link.
    pub(super) fn get(&self, link: LinkId) -> Option<&LinkState> {
        self.links.get(&link).or_else(|| self.older.get(&link))
    }

    /// The state of a link, mutable.
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut LinkState> {
        self.links.get_mut(&link).or_else(|| self.older.get_mut(&link))
    }

    /// Whether the link is open.
    pub(super) fn contains(&self, link: LinkId) -> bool {
        self.get(link).is_some()
    }

    /// Number of linked peers.
    pub(super) fn peer_count(&self) -> usize {
        self.links.len()
    }

    /// Number of links. With those that are being dialled, it is limited by `max_connections`.
    pub(super) fn link_count(&self) -> usize {
        self.links.len() + self.older.len()
    }

    /// The link to use of each peer.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &LinkState)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// The link to use of each peer, mutable.
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

    /// The link to use to a peer.
    pub(super) fn link_to(&self, peer: PeerId) -> Option<LinkId> {
        self.by_peer.get(&peer).copied()
    }

    /// Adds a link, which is used from now on. An earlier link to the same peer stays open.
    pub(super) fn insert(&mut self, id: LinkId, link: LinkState) {
        let earlier = self.by_peer.insert(link.peer, id).and_then(|earlier| self.links.remove_entry(&earlier));
        self.older.extend(earlier);
        self.links.insert(id, link);
    }

    /// Removes and returns all links to a peer.
    pub(super) fn remove_peer(&mut self, peer: PeerId) -> BTreeMap<LinkId, LinkState> {
        let mut removed: BTreeMap<LinkId, LinkState> = self.older.extract_if(.., |_, link| link.peer == peer).collect();
        removed.extend(self.by_peer.remove(&peer).and_then(|link| self.links.remove_entry(&link)));
        removed
    }

    /// Removes all links to a peer but one. Returns that one and the others; `None` if there is at
    /// most one. Both ends must keep the same link, or they would close both.
    ///
    /// A link dialled by the peer with the lower id is kept. Of links dialled from the same end,
    /// the newest is kept: the dialling peer knows that it lost the older ones.
    pub(super) fn keep_one(&mut self, peer: PeerId, me: PeerId) -> Option<(LinkId, Vec<LinkId>)> {
        let mut all: BTreeMap<LinkId, LinkState> = self.older.extract_if(.., |_, link| link.peer == peer).collect();
        if all.is_empty() {
            return None;
        }
        all.extend(self.by_peer.get(&peer).and_then(|link| self.links.remove_entry(link)));
        let of_lower_id = |link: &LinkState| link.dialled.is_some() == (me < peer);
        let kept = all.iter().max_by_key(|(id, link)| (of_lower_id(link), **id)).map(|(id, _)| *id)?;
        let link = all.remove(&kept)?;
        self.links.insert(kept, link);
        self.by_peer.insert(peer, kept);
        Some((kept, all.into_keys().collect()))
    }

    /// Records that the peer of this link sent a message on it. Returns whether it is the first one
    /// of the peer.
    pub(super) fn confirm(&mut self, id: LinkId) -> bool {
        let Some(link) = self.get_mut(id) else { return false };
        let (peer, is_first) = (link.peer, !link.is_confirmed);
        if is_first {
            let all = self.links.values_mut().chain(self.older.values_mut());
            all.filter(|link| link.peer == peer).for_each(|link| link.is_confirmed = true);
        }
        is_first
    }

    /// Records that a message arrived on a link. The link to use of its peer does not time out
    /// then, even if it is another one.
    pub(super) fn mark_seen(&mut self, id: LinkId, now: BootMs) {
        let Some(link) = self.get_mut(id) else { return };
        link.heartbeats.last_seen_at = now;
        if let Some(older) = self.older.get(&id)
            && let Some(link) = self.by_peer.get(&older.peer).and_then(|link| self.links.get_mut(link))
        {
            link.heartbeats.last_seen_at = now;
        }
    }

    /// Adds an address that a peer announced on a link from `remote`, unless the address could lead
    /// to another host than the one that the peer means.
    pub(super) fn add_announced(
        &mut self,
        endpoint: PeerEndpoint,
        peer: Option<PeerId>,
        remote: IpAddr,
        cx: &mut Context,
    ) {
        if endpoint.may_come_from(remote) {
            self.add_learned(endpoint, peer, cx);
        }
    }

    /// Adds an address that a peer or the registry reported, for dialling. It is not dialled while
    /// a peer is linked that was reached at the same host and port under another name.
    pub(super) fn add_learned(&mut self, endpoint: PeerEndpoint, peer: Option<PeerId>, cx: &mut Context) {
        let is_at = |link: &&LinkState| link.dialled_at().as_ref() == Some(&endpoint);
        let reached = || self.links.values().find(is_at).map(|link| link.peer);
        let peer = peer.or_else(reached);
        self.addresses.add_learned(endpoint, peer, cx.now.boot, &mut cx.rng);
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
        let older = self.older.values().map(|link| link.next_heartbeat_at(config)).min().unwrap_or(BootMs::NEVER);
        let has_free_slot = self.link_count() + self.addresses.dialling_count() < config.max_connections;
        let dials =
            if has_free_slot { self.addresses.next_deadline(|peer| self.is_linked(peer)) } else { BootMs::NEVER };
        links.min(older).min(dials)
    }

    /// Dials the addresses that are due, as far as the connection limit permits.
    pub(super) fn dial_due(&mut self, cx: &mut Context) {
        let free_slots =
            cx.local.config.max_connections.saturating_sub(self.link_count() + self.addresses.dialling_count());
        let due = self.addresses.take_due(cx.now.boot, free_slots, |peer| self.by_peer.contains_key(&peer));
        cx.counters.dials += due.len() as u64;
        cx.counters.redials += due.iter().filter(|endpoint| self.addresses.has_failed_before(endpoint)).count() as u64;
        cx.actions.extend(due.into_iter().map(|endpoint| Action::Dial { endpoint }));
    }

    /// Handles the greeting of the peer at a dialled address. If this dial would open a second link
    /// to a peer of another program, it ends before that peer sees it. A link that another dial
    /// is about to open counts, too.
    pub(super) fn handle_dial_greeted(&mut self, endpoint: PeerEndpoint, peer: PeerId, cx: &mut Context) {
        let linked = self.by_peer.get(&peer).and_then(|link| self.links.get(link));
        if linked.is_some_and(LinkState::is_foreign) || self.addresses.is_greeted(peer) {
            self.addresses.mark_reached(&endpoint, peer);
            cx.actions.push(Action::EndDial { endpoint });
        } else {
            self.addresses.mark_greeted(&endpoint, peer);
            cx.actions.push(Action::Greet { endpoint });
        }
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
        let all = self.links.iter().chain(&self.older);
        let due = all.filter(|(_, link)| link.next_heartbeat_at(&cx.local.config) <= cx.now.boot);
        let due: Vec<LinkId> = due.map(|(id, _)| *id).collect();
        if !due.is_empty() {
            self.send_heartbeat(due, cx);
        }
    }

    /// Sends a heartbeat on these links.
    pub(super) fn send_heartbeat(&mut self, links: Vec<LinkId>, cx: &mut Context) {
        for link in &links {
            if let Some(link) = self.get_mut(*link) {
                link.heartbeats.sent_at = cx.now.boot;
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
        endpoints.retain(|endpoint| is_here || !endpoint.is_loopback());
        let message = cx.control_message(MessageBody::PeerList(endpoints));
        self.send(vec![link], message, cx);
    }

    /// Sends one message on several links, in the format that the peer of each link understands.
    pub(super) fn send(&self, mut links: Vec<LinkId>, message: MeshMessage, cx: &mut Context) {
        links.retain(|id| self.contains(*id));
        cx.counters.sent.add(MessageKind::of(&message.body), links.len());
        let format_of = |id: &LinkId| self.get(*id).map(|link| link.format).unwrap_or_default();
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
