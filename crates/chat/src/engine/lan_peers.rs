//! Peers of the LAN: their table, the replies to each, and a limit on replies per source address.
//!
//! Some other implementations answer every announcement, even one that is an answer itself. To
//! avoid an endless exchange, this peer announces itself once to a new or restarted peer. It does
//! so only if the datagram of the new peer arrived at the shared port. A datagram to this peer's
//! own port was sent by a peer that already knows it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::config::LanConfig;
use super::context::Context;
use super::cross_transport::{LanAnnouncement, announcement_id};
use super::event::{Action, Now};
use super::lan_peer::LanPeer;
use super::limits::{ANNOUNCE_INTERVAL_MS, LAN_PEER_TIMEOUT_MS, LAN_PORT, MAX_LAN_PEERS};
use super::mesh_links::MeshLinks;
use super::mesh_peers::MeshPeers;
use super::notice::{Contact, Notice};
use super::reply_limit::ReplyLimit;
use crate::lan::{Datagram, DatagramBody, Dialect};
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;
use crate::profile::{InvalidAvatar, PeerProfile};
use rollcall_core::BootMs;

/// Largest number of peers that get a list request when the user asks for lists.
const MAX_LIST_REQUESTS: usize = 3;
/// Time after a list request in which replies are accepted, in milliseconds.
const LIST_REPLY_WINDOW_MS: u64 = 10_000;
/// Largest number of names in one list. This many names fit into a datagram, even the longest ones
/// with every character escaped.
const MAX_NAMES_SENT: usize = 200;
/// Largest number of unknown names of one list whose addresses get an announcement.
const MAX_NAMES_PROBED: usize = 16;

/// The table of LAN peers.
///
/// Invariant: at most [`MAX_LAN_PEERS`] peers, and at most as many followed users. This peer is
/// none of them.
#[derive(Clone, Debug)]
pub(super) struct LanPeers {
    config: LanConfig,
    pub(super) peers: BTreeMap<LanUserId, LanPeer>,
    /// Time of the next announcement.
    next_announcement: BootMs,
    reply_limit: ReplyLimit,
    /// The users whose posts this peer has asked for. They are asked again when they come back,
    /// because a restarted program has forgotten its followers.
    followed: BTreeSet<LanUserId>,
    /// Time of the latest list request.
    lists_requested_at: Option<BootMs>,
    /// Whether the user was notified that another program uses this peer's user id.
    duplicate_name_reported: bool,
}

/// A chat message of a LAN peer.
pub(super) struct LanPost {
    pub(super) user: LanUserId,
    /// Message id; `None` if the datagram had none. Then duplicates cannot be recognised.
    pub(super) id: Option<u64>,
    /// Time of sending by the sender's clock, in Unix seconds.
    pub(super) said_at: i64,
    pub(super) text: String,
}

impl LanPeers {
    /// An empty table. The first announcement is due at once.
    pub(super) fn new(config: LanConfig, now: BootMs) -> Self {
        Self {
            config,
            peers: BTreeMap::new(),
            next_announcement: now,
            reply_limit: ReplyLimit::default(),
            followed: BTreeSet::new(),
            lists_requested_at: None,
            duplicate_name_reported: false,
        }
    }

    /// Time of the next announcement or expiry.
    pub(super) fn next_deadline(&self) -> BootMs {
        let expires = self.peers.values().map(|peer| peer.last_seen_at.plus(LAN_PEER_TIMEOUT_MS)).min();
        self.next_announcement.min(expires.unwrap_or(BootMs::NEVER))
    }

    /// Removes the peers that timed out, and sends an announcement if one is due.
    pub(super) fn handle_timeout(&mut self, cx: &mut Context) {
        let now = cx.now.boot;
        self.peers.retain(|user, peer| {
            let is_alive = now < peer.last_seen_at.plus(LAN_PEER_TIMEOUT_MS);
            if !is_alive {
                let reason = "no datagram for five minutes".to_owned();
                cx.notify(Notice::PeerLost { peer: peer.contact(user), reason });
            }
            is_alive
        });
        if now < self.next_announcement {
            return;
        }
        self.next_announcement = now.plus(ANNOUNCE_INTERVAL_MS);
        let announcement = self.announcement(cx);
        cx.counters.datagrams_sent += 1;
        cx.actions.push(Action::Broadcast(announcement.clone()));
        for peer in self.peers.values().filter(|peer| peer.dialect == Dialect::Spaced) {
            send(peer.addr.to_socket_addr(), announcement.clone(), Dialect::Spaced, cx);
        }
    }

    /// Handles a datagram. Returns its chat message, if it has a new one.
    pub(super) fn handle_datagram(
        &mut self,
        source: SocketAddr,
        to_shared_port: bool,
        datagram: Datagram,
        dialect: Dialect,
        mesh: &mut MeshPeers,
        cx: &mut Context,
    ) -> Option<LanPost> {
        cx.counters.datagrams_received += 1;
        // An ACK names no sender and needs no answer.
        let user = datagram.from.clone()?;
        let source = user.source(source)?;
        if user == self.config.user {
            // Either this peer's own broadcast, or a datagram of another program with the same user
            // id.
            let is_own = self.config.is_own(source.ip()) && source.port() == self.config.port;
            if !is_own && !std::mem::replace(&mut self.duplicate_name_reported, true) {
                cx.notify(Notice::DuplicateName { uid: user.to_string(), source: source.ip() });
            }
            return None;
        }
        let user = self.other_id_of(&user, source, &datagram.body).unwrap_or(user);
        if datagram.body == DatagramBody::Revoke {
            self.handle_leave(&user, source.ip(), cx);
            return None;
        }
        let is_new = !self.peers.contains_key(&user);
        if is_new && self.peers.len() >= MAX_LAN_PEERS {
            cx.counters.rejected_lan_peers += 1;
            return None;
        }
        // A scan sends a list request without an announcement, and ends when it has the replies. So
        // an unknown sender of a list request gets an answer but is not added to the table.
        if is_new && matches!(datagram.body, DatagramBody::ListRequest) {
            return self.handle_body(user, source, datagram, dialect, mesh, cx);
        }
        let has_restarted = self.has_restarted(&user, source.ip(), &datagram.body);
        self.refresh(&user, source, &datagram.body, dialect, cx);
        if is_new || has_restarted {
            // A peer that sent to this peer's own port already knows this peer.
            if to_shared_port {
                self.reply_to_new_peer(&user, cx);
            }
            self.follow_again(&user, cx);
        }
        self.handle_body(user, source, datagram, dialect, mesh, cx)
    }

    /// The user id under which a peer of this host is known already, if it now sends with another
    /// address of this host in its id. It has the same name and the same port. Two programs cannot
    /// have the same port, except for the shared port.
    fn other_id_of(&self, user: &LanUserId, source: SocketAddr, body: &DatagramBody) -> Option<LanUserId> {
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
    fn handle_leave(&mut self, user: &LanUserId, source: IpAddr, cx: &mut Context) {
        let is_here = |peer: &LanPeer| self.config.is_same_host(peer.addr.ip, source);
        if !self.peers.get(user).is_some_and(is_here) {
            return;
        }
        if let Some(peer) = self.peers.remove(user) {
            cx.notify(Notice::PeerLost { peer: peer.contact(user), reason: "it left the chat".to_owned() });
        }
    }

    /// Whether a known peer announces another port. Then its program was restarted and has an empty
    /// table. If the address of the peer is valid, an announcement with a false address does not
    /// count.
    fn has_restarted(&self, user: &LanUserId, source: IpAddr, body: &DatagramBody) -> bool {
        let (DatagramBody::Discovery { port }, Some(peer)) = (body, self.peers.get(user)) else { return false };
        peer.addr.announced_port.is_some_and(|announced| announced != *port)
            && (peer.is_mismatched || self.config.is_valid_claim(user, source))
    }

    /// Updates a peer from a datagram of any type, or adds it to the table. Notifies the user about
    /// a new peer and about a false address.
    fn refresh(
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

    /// This peer's announcement (`DISCOVERY`).
    fn announcement(&self, cx: &Context) -> Datagram {
        let id = announcement_id(cx.local.config.id, &self.config.user, cx.now.unix_s);
        self.datagram(DatagramBody::Discovery { port: self.config.port }, id, cx.now)
    }

    /// Sends an announcement to a new peer; in the draft dialect also the profile.
    fn reply_to_new_peer(&mut self, user: &LanUserId, cx: &mut Context) {
        let Some((to, dialect)) = self.take_reply_target(user, cx) else { return };
        send(to, self.announcement(cx), dialect, cx);
        // In the draft dialect, a profile makes a new peer known to the other peers.
        if dialect == Dialect::Spaced {
            let name = cx.local.config.name.to_string();
            let profile = cx.local.profile.clone().unwrap_or_else(|| PeerProfile::new(&name, "", None));
            let id = cx.local.next_lan_message_id();
            send(to, self.datagram(DatagramBody::Profile { profile, refused: None }, id, cx.now), dialect, cx);
        }
    }

    /// Follows a new peer again if this peer has followed it before: a restarted program has
    /// forgotten its followers.
    fn follow_again(&mut self, user: &LanUserId, cx: &mut Context) {
        if self.followed.contains(user)
            && let Some((to, dialect)) = self.take_reply_target(user, cx)
        {
            let id = cx.local.next_lan_message_id();
            send(to, self.datagram(DatagramBody::Follow { to: user.clone() }, id, cx.now), dialect, cx);
        }
    }

    /// Takes a token for a reply to a peer. Returns the address and the dialect; `None` if the
    /// limit of the address is reached.
    fn take_reply_target(&mut self, user: &LanUserId, cx: &mut Context) -> Option<(SocketAddr, Dialect)> {
        let (addr, dialect) = self.peers.get(user).map(|peer| (peer.addr, peer.dialect))?;
        self.may_reply_to(addr.ip, cx).then(|| (addr.to_socket_addr(), dialect))
    }

    /// Takes a token for a reply to an address. Returns false if the limit is reached.
    fn may_reply_to(&mut self, ip: IpAddr, cx: &mut Context) -> bool {
        let is_allowed = self.reply_limit.allows(ip, cx.now.boot);
        cx.counters.limited_replies += u64::from(!is_allowed);
        is_allowed
    }

    /// Handles the content of a datagram. Returns its chat message, if it has a new one.
    fn handle_body(
        &mut self,
        user: LanUserId,
        source: SocketAddr,
        datagram: Datagram,
        dialect: Dialect,
        mesh: &mut MeshPeers,
        cx: &mut Context,
    ) -> Option<LanPost> {
        let Datagram { id, body, sent_at, .. } = datagram;
        // Posts of the draft have no time of sending.
        let said_at = if sent_at == 0 { cx.now.unix_s } else { sent_at };
        match body {
            DatagramBody::Post(text) if self.record_id(&user, id, cx) => {
                return Some(LanPost { user, id, said_at, text });
            }
            DatagramBody::Direct { to, text } => {
                if to != self.config.user {
                    return None;
                }
                if self.record_id(&user, id, cx)
                    && let Some(from) = self.contact(&user)
                {
                    cx.notify(Notice::Direct { from, text, said_at });
                }
                // A repeated message is acknowledged again, because the first ACK may have been
                // lost.
                if dialect == Dialect::Spaced
                    && id.is_some()
                    && let Some((to, _)) = self.take_reply_target(&user, cx)
                {
                    send(to, Datagram { from: None, id, sent_at: 0, body: DatagramBody::Ack }, dialect, cx);
                }
            }
            DatagramBody::Follow { to } => self.handle_follow(&user, &to, true, id, cx),
            DatagramBody::Unfollow { to } => self.handle_follow(&user, &to, false, id, cx),
            DatagramBody::Profile { profile, refused } => self.handle_profile(&user, profile, refused, mesh, cx),
            DatagramBody::ListRequest => {
                let to = self.list_reply_addr(&user, source);
                if self.may_reply_to(to.ip(), cx) {
                    let id = cx.local.next_lan_message_id();
                    let names = self.names_for(&user);
                    send(to, self.datagram(DatagramBody::ListResponse(names), id, cx.now), dialect, cx);
                }
            }
            DatagramBody::ListResponse(users) => self.handle_list(&user, &users, cx),
            DatagramBody::Discovery { .. } => self.handle_announcement(&user, source.ip(), id, sent_at, &mesh.links),
            DatagramBody::Post(_) | DatagramBody::Revoke | DatagramBody::Ping | DatagramBody::Ack => {}
        }
        None
    }

    /// The address for the reply to a list request: the address of a peer that announced no port,
    /// otherwise the source. A program that is not a peer, such as a scan, listens at the source.
    fn list_reply_addr(&self, user: &LanUserId, source: SocketAddr) -> SocketAddr {
        let without_port = self.peers.get(user).filter(|peer| peer.addr.announced_port.is_none());
        without_port.map_or(source, |peer| peer.addr.to_socket_addr())
    }

    /// Records a message id of a peer. Returns whether the message is new. A message without an id
    /// counts as new.
    fn record_id(&mut self, user: &LanUserId, id: Option<u64>, cx: &mut Context) -> bool {
        let (Some(peer), Some(id)) = (self.peers.get_mut(user), id) else { return true };
        let is_new = peer.insert_id(id);
        cx.counters.duplicates += u64::from(!is_new);
        is_new
    }

    /// Records that a peer follows this peer, or no longer does. Notifies the user of the change.
    fn handle_follow(
        &mut self,
        user: &LanUserId,
        to: &LanUserId,
        is_follower: bool,
        id: Option<u64>,
        cx: &mut Context,
    ) {
        if *to != self.config.user || !self.record_id(user, id, cx) {
            return;
        }
        let Some(peer) = self.peers.get_mut(user) else { return };
        if std::mem::replace(&mut peer.is_follower, is_follower) != is_follower {
            cx.notify(Notice::Follower { from: peer.contact(user), follows: is_follower });
        }
    }

    /// Stores the profile of a peer, and notifies the user unless the same complete profile is
    /// known already.
    fn handle_profile(
        &mut self,
        user: &LanUserId,
        profile: PeerProfile,
        refused: Option<InvalidAvatar>,
        mesh: &mut MeshPeers,
        cx: &mut Context,
    ) {
        let is_complete = refused.is_none();
        let peer = self.peers.get(user);
        if is_complete && peer.is_some_and(|peer| peer.profile.as_ref() == Some(&profile)) {
            return;
        }
        let is_known = is_complete && self.replace_mesh_profile(user, &profile, mesh);
        let Some(peer) = self.peers.get_mut(user) else { return };
        peer.profile = Some(profile.clone());
        if is_known {
            return;
        }
        let from = peer.contact(user);
        cx.notify(Notice::Profile { from, profile, refused: refused.map(|reason| reason.to_string()) });
    }

    /// Handles a list of another peer, if this peer requested lists shortly before. Sends an
    /// announcement to the claimed addresses of some unknown names, and notifies the user.
    fn handle_list(&mut self, user: &LanUserId, users: &[LanUserId], cx: &mut Context) {
        let Some(from) = self.contact(user) else { return };
        if self.lists_requested_at.is_none_or(|requested_at| cx.now.boot.since(requested_at) > LIST_REPLY_WINDOW_MS) {
            return;
        }
        let unknown = users.iter().filter(|user| **user != self.config.user && !self.peers.contains_key(*user));
        let unknown: Vec<IpAddr> = unknown.filter_map(LanUserId::claimed_ip).take(MAX_NAMES_PROBED).collect();
        for ip in unknown {
            if self.reply_limit.allows(ip, cx.now.boot) {
                send(SocketAddr::new(ip, LAN_PORT), self.announcement(cx), Dialect::Compact, cx);
            }
        }
        let uids = users.iter().map(ToString::to_string).collect();
        cx.notify(Notice::NamesReceived { from, uids });
    }

    /// Sends a list request to the peers that sent a datagram most recently.
    pub(super) fn request_lists(&mut self, cx: &mut Context) {
        self.lists_requested_at = Some(cx.now.boot);
        let mut recent: Vec<&LanPeer> = self.peers.values().collect();
        recent.sort_by_key(|peer| Reverse(peer.last_seen_at));
        let request = Datagram { id: None, ..self.datagram(DatagramBody::ListRequest, 0, cx.now) };
        for peer in recent.into_iter().take(MAX_LIST_REQUESTS) {
            send(peer.addr.to_socket_addr(), request.clone(), peer.dialect, cx);
        }
    }

    /// Sends a datagram to each peer. Returns the number of peers.
    pub(super) fn send_to_all(&self, body: DatagramBody, id: u64, cx: &mut Context) -> usize {
        let datagram = self.datagram(body, id, cx.now);
        for peer in self.peers.values() {
            send(peer.addr.to_socket_addr(), datagram.clone(), peer.dialect, cx);
        }
        self.peers.len()
    }

    /// Sends a direct message to one peer.
    pub(super) fn send_direct(&self, to: LanUserId, text: String, cx: &mut Context) {
        let id = cx.local.next_lan_message_id();
        let Some(peer) = self.peers.get(&to) else { return };
        let contact = peer.contact(&to);
        send(
            peer.addr.to_socket_addr(),
            self.datagram(DatagramBody::Direct { to, text }, id, cx.now),
            peer.dialect,
            cx,
        );
        cx.notify(Notice::DirectSent { to: contact });
    }

    /// Follows a peer, or no longer follows it.
    pub(super) fn follow(&mut self, user: &LanUserId, is_followed: bool, cx: &mut Context) {
        let Some(peer) = self.peers.get(user) else { return };
        if !is_followed {
            self.followed.remove(user);
        } else if self.followed.len() < MAX_LAN_PEERS {
            self.followed.insert(user.clone());
        }
        let (id, to) = (cx.local.next_lan_message_id(), user.clone());
        let body = if is_followed { DatagramBody::Follow { to } } else { DatagramBody::Unfollow { to } };
        send(peer.addr.to_socket_addr(), self.datagram(body, id, cx.now), peer.dialect, cx);
        cx.notify(Notice::Following { to: peer.contact(user), follows: is_followed });
    }

    /// Whether this peer follows the user.
    pub(super) fn is_followed(&self, user: &LanUserId) -> bool {
        self.followed.contains(user)
    }

    /// Announces to all peers that this peer leaves.
    pub(super) fn leave(&self, cx: &mut Context) {
        let id = cx.local.next_lan_message_id();
        self.send_to_all(DatagramBody::Revoke, id, cx);
    }

    /// A peer as shown to the user, if it is in the table.
    pub(super) fn contact(&self, user: &LanUserId) -> Option<Contact> {
        self.peers.get(user).map(|peer| peer.contact(user))
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
    fn handle_announcement(
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

    /// Also stores a complete LAN profile for the mesh peer id of the peer, so that a later copy on
    /// the mesh is not shown again. Returns whether the mesh had already delivered the same
    /// profile.
    fn replace_mesh_profile(&self, user: &LanUserId, profile: &PeerProfile, mesh: &mut MeshPeers) -> bool {
        let id = self.peers.get(user).and_then(|peer| self.linked_mesh_peer(peer, &mesh.links));
        let Some(record) = id.and_then(|id| mesh.tree.authors.get_mut(id)) else { return false };
        record.profile.replace(profile.clone()).as_ref() == Some(profile)
    }

    /// The names for a list reply: this peer, then the other peers without the requester, the most
    /// recently seen first.
    fn names_for(&self, requester: &LanUserId) -> Vec<LanUserId> {
        let mut others: Vec<_> = self.peers.iter().filter(|(user, _)| *user != requester).collect();
        others.sort_by_key(|(_, peer)| Reverse(peer.last_seen_at));
        let others = others.into_iter().map(|(user, _)| user);
        [&self.config.user].into_iter().chain(others).take(MAX_NAMES_SENT).cloned().collect()
    }

    fn datagram(&self, body: DatagramBody, id: u64, now: Now) -> Datagram {
        Datagram { from: Some(self.config.user.clone()), id: Some(id), sent_at: now.unix_s, body }
    }
}

fn send(to: SocketAddr, datagram: Datagram, dialect: Dialect, cx: &mut Context) {
    cx.counters.datagrams_sent += 1;
    cx.actions.push(Action::SendDatagram { to, datagram, dialect });
}
