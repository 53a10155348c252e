//! Table of the known LAN peers: the user id, the address and the mesh identity of each.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::config::LanConfig;
use super::context::Context;
use super::cross_transport::LanAnnouncement;
use super::lan_peer::LanPeer;
use super::limits::{LAN_PEER_TIMEOUT_MS, MAX_LAN_PEERS, MAX_LAN_PEERS_PER_HOST};
use super::mesh_links::MeshLinks;
use super::notice::{Contact, Notice};
use crate::endpoint::network_of;
use crate::lan::{DatagramBody, Dialect};
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// Largest number of names in one list. This many names fit into a datagram, even the longest ones
/// with every character escaped.
const MAX_NAMES_SENT: usize = 200;

/// The table of LAN peers.
///
/// Invariant: at most [`MAX_LAN_PEERS`] peers, and at most [`MAX_LAN_PEERS_PER_HOST`] of one host.
/// This peer is none of them.
#[derive(Clone, Debug)]
pub(super) struct LanTable {
    config: LanConfig,
    pub(super) peers: BTreeMap<LanUserId, LanPeer>,
}

impl LanTable {
    /// An empty table.
    pub(super) fn new(config: LanConfig) -> Self {
        Self { config, peers: BTreeMap::new() }
    }

    /// The user id of this peer.
    pub(super) fn own_user(&self) -> &LanUserId {
        &self.config.user
    }

    /// Whether a datagram from this address was sent by this peer itself.
    pub(super) fn is_own_source(&self, source: SocketAddr) -> bool {
        self.config.is_own(source.ip()) && source.port() == self.config.port
    }

    /// Makes room for a new peer whose datagram came from `source`. Returns false if there is none.
    ///
    /// Names are free, but each host sends from its own addresses, so each host has a share of the
    /// table. A peer that was heard from the address that it claims never makes room for one that
    /// was not. Otherwise the host with the largest share makes room, if the host of the new peer
    /// has less.
    pub(super) fn make_room(&mut self, user: &LanUserId, source: IpAddr, cx: &mut Context) -> bool {
        let (host, is_mismatched) = (self.host_of(source), !self.config.is_valid_claim(user, source));
        let mut shares: BTreeMap<(bool, IpAddr), usize> = BTreeMap::new();
        for peer in self.peers.values() {
            *shares.entry((peer.is_mismatched, self.host_of(peer.addr.ip))).or_default() += 1;
        }
        let own_share: usize = [false, true].iter().filter_map(|mismatched| shares.get(&(*mismatched, host))).sum();
        if own_share >= MAX_LAN_PEERS_PER_HOST {
            return false;
        }
        if self.peers.len() < MAX_LAN_PEERS {
            return true;
        }
        let largest = shares.into_iter().max_by_key(|((is_mismatched, _), share)| (*is_mismatched, *share));
        let Some((largest, share)) = largest else { return false };
        let may_displace = match (is_mismatched, largest.0) {
            (false, true) => true,
            (true, false) => false,
            _ => share > own_share + 1,
        };
        let of_largest = |peer: &LanPeer| (peer.is_mismatched, self.host_of(peer.addr.ip)) == largest;
        let oldest = self.peers.iter().filter(|(_, peer)| may_displace && of_largest(peer));
        let oldest = oldest.min_by_key(|(_, peer)| peer.last_seen_at).map(|(user, _)| user.clone());
        let Some(peer) = oldest.as_ref().and_then(|user| self.peers.remove(user)) else { return false };
        if let Some(user) = oldest {
            let reason = "its host has the most names in a full list".to_owned();
            cx.notify(Notice::PeerLost { peer: peer.contact(&user), reason });
        }
        true
    }

    /// The host for shares of the table. All addresses of this host are one.
    fn host_of(&self, ip: IpAddr) -> IpAddr {
        if self.config.is_own(ip) { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { network_of(ip) }
    }

    /// Whether a datagram comes from the host at which the peer is.
    pub(super) fn is_from_host_of(&self, user: &LanUserId, source: IpAddr) -> bool {
        self.peers.get(user).is_some_and(|peer| self.config.is_same_host(peer.addr.ip, source))
    }

    /// A peer as shown to the user, if it is in the table.
    pub(super) fn contact(&self, user: &LanUserId) -> Option<Contact> {
        self.peers.get(user).map(|peer| peer.contact(user))
    }

    /// Time of the next expiry.
    pub(super) fn next_deadline(&self) -> BootMs {
        let expires = self.peers.values().map(|peer| peer.last_seen_at.plus(LAN_PEER_TIMEOUT_MS)).min();
        expires.unwrap_or(BootMs::NEVER)
    }

    /// Removes the peers that timed out.
    pub(super) fn remove_timed_out(&mut self, cx: &mut Context) {
        let now = cx.now.boot;
        self.peers.retain(|user, peer| {
            let is_alive = now < peer.last_seen_at.plus(LAN_PEER_TIMEOUT_MS);
            if !is_alive {
                let reason = "no datagram for five minutes".to_owned();
                cx.notify(Notice::PeerLost { peer: peer.contact(user), reason });
            }
            is_alive
        });
    }

    /// The user id under which a peer of this host is known already, if it now sends with another
    /// address of this host in its id. It has the same name and the same port. Two programs cannot
    /// have the same port, except for the shared port.
    pub(super) fn other_id_of(&self, user: &LanUserId, source: SocketAddr, body: &DatagramBody) -> Option<LanUserId> {
        let is_here = self.config.is_own(source.ip()) && self.config.is_valid_claim(user, source.ip());
        if self.peers.contains_key(user) || !is_here {
            return None;
        }
        let port = if let DatagramBody::Discovery { port } = body { *port } else { source.port() };
        let is_same = |(known, peer): &(&LanUserId, &LanPeer)| {
            let is_here = self.config.is_own(peer.addr.ip) && !peer.is_mismatched;
            is_here && peer.addr.announced_port == Some(port) && known.name() == user.name()
        };
        self.peers.iter().find(is_same).map(|(known, _)| known.clone())
    }

    /// Removes a peer that announced its leave. A leave from another host does not count.
    pub(super) fn handle_leave(&mut self, user: &LanUserId, source: IpAddr, cx: &mut Context) {
        if !self.is_from_host_of(user, source) {
            return;
        }
        if let Some(peer) = self.peers.remove(user) {
            cx.notify(Notice::PeerLost { peer: peer.contact(user), reason: "it left the chat".to_owned() });
        }
    }

    /// Whether a known peer announces another port. Then its program was restarted and has an empty
    /// table. If the address of the peer is valid, an announcement with a false address does not
    /// count.
    pub(super) fn has_restarted(&self, user: &LanUserId, source: IpAddr, body: &DatagramBody) -> bool {
        let (DatagramBody::Discovery { port }, Some(peer)) = (body, self.peers.get(user)) else { return false };
        peer.addr.announced_port.is_some_and(|announced| announced != *port)
            && (peer.is_mismatched || self.config.is_valid_claim(user, source))
    }

    /// Updates a peer from a datagram of any type, or adds it to the table. Notifies the user about
    /// a new peer and about a false address.
    pub(super) fn refresh(
        &mut self,
        user: &LanUserId,
        source: SocketAddr,
        body: &DatagramBody,
        dialect: Dialect,
        cx: &mut Context,
    ) {
        let is_mismatched = !self.config.is_valid_claim(user, source.ip());
        let is_new = !self.peers.contains_key(user);
        let new_peer = || LanPeer::new(source, dialect, is_mismatched, cx.now.boot);
        let peer = self.peers.entry(user.clone()).or_insert_with(new_peer);
        if is_mismatched && (is_new || !peer.is_mismatched) {
            cx.notify(Notice::AddressMismatch { uid: user.to_string(), source: source.ip() });
        }
        peer.refresh(source, body, dialect, is_mismatched, cx.now.boot);
        if is_new {
            let at = Some(peer.addr.to_socket_addr().to_string());
            cx.notify(Notice::PeerFound { peer: peer.contact(user), at });
        }
    }

    /// Records a message id of a peer. Returns whether the message is new. A message without an id
    /// counts as new.
    pub(super) fn record_id(&mut self, user: &LanUserId, id: Option<u64>, cx: &mut Context) -> bool {
        let (Some(peer), Some(id)) = (self.peers.get_mut(user), id) else { return true };
        let is_new = peer.insert_id(id);
        cx.counters.duplicates += u64::from(!is_new);
        is_new
    }

    /// The address for the reply to a list request: the address of a peer that announced no port,
    /// otherwise the source. A program that is not a peer, such as a scan, listens at the source.
    pub(super) fn list_reply_addr(&self, user: &LanUserId, source: SocketAddr) -> SocketAddr {
        let without_port = self.peers.get(user).filter(|peer| peer.addr.announced_port.is_none());
        without_port.map_or(source, |peer| peer.addr.to_socket_addr())
    }

    /// The names for a list reply: this peer, then the other peers without the requester, the most
    /// recently seen first.
    pub(super) fn names_for(&self, requester: &LanUserId) -> Vec<LanUserId> {
        let mut others: Vec<_> = self.peers.iter().filter(|(user, _)| *user != requester).collect();
        others.sort_by_key(|(_, peer)| Reverse(peer.last_seen_at));
        let others = others.into_iter().map(|(user, _)| user);
        [&self.config.user].into_iter().chain(others).take(MAX_NAMES_SENT).cloned().collect()
    }

    /// Records that a LAN user id and a mesh peer id belong to the same peer: the same message
    /// arrived from both.
    pub(super) fn set_mesh_peer(&mut self, user: &str, id: PeerId) {
        if let Some(peer) = LanUserId::parse(user).and_then(|user| self.peers.get_mut(&user)) {
            peer.mesh_identity.peer = Some(id);
        }
    }

    /// The mesh peer id of a LAN peer, if it is known, the mesh peer is linked, and its link comes
    /// from the same host as the datagrams.
    pub(super) fn linked_mesh_peer(&self, peer: &LanPeer, links: &MeshLinks) -> Option<PeerId> {
        let id = peer.mesh_identity.peer?;
        let is_linked = !peer.is_mismatched && self.is_linked_from(id, peer.addr.ip, links);
        is_linked.then_some(id)
    }

    /// The LAN user id of a linked mesh peer, if the peer is on the LAN, too.
    pub(super) fn user_of(&self, id: PeerId, links: &MeshLinks) -> Option<LanUserId> {
        let is_same = |(_, peer): &(&LanUserId, &LanPeer)| self.linked_mesh_peer(peer, links) == Some(id);
        self.peers.iter().find(is_same).map(|(user, _)| user.clone())
    }

    /// Whether the mesh peer is linked, and the link comes from `host`.
    fn is_linked_from(&self, peer: PeerId, host: IpAddr, links: &MeshLinks) -> bool {
        let link = links.link_to(peer).and_then(|link| links.get(link));
        link.is_some_and(|link| self.config.is_same_host(link.remote, host))
    }

    /// Handles an announcement: searches for the linked mesh peer that sent it. If there is none,
    /// the earlier match is removed, because a restarted program may have another peer id.
    pub(super) fn handle_announcement(
        &mut self,
        user: &LanUserId,
        source: IpAddr,
        id: Option<u64>,
        sent_at: i64,
        links: &MeshLinks,
    ) {
        let is_valid_claim = self.config.is_valid_claim(user, source);
        let Some(id) = id.filter(|_| is_valid_claim) else { return };
        let announcement = LanAnnouncement { id, sent_at };
        let is_announced_by =
            |peer: &PeerId| self.is_linked_from(*peer, source, links) && announcement.is_by(*peer, user);
        let found = links.peers().find(is_announced_by);
        if let Some(peer) = self.peers.get_mut(user) {
            peer.mesh_identity.peer = found;
            peer.mesh_identity.announcement = Some(announcement);
        }
    }

    /// Handles a newly linked mesh peer: searches for its announcement among the latest
    /// announcements of the LAN peers.
    pub(super) fn match_announcement(&mut self, id: PeerId) {
        for (user, peer) in &mut self.peers {
            if peer.mesh_identity.announcement.as_ref().is_some_and(|announcement| announcement.is_by(id, user)) {
                peer.mesh_identity.peer = Some(id);
            }
        }
    }
}
