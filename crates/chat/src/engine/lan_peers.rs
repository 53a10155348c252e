//! Peers of the LAN: handles their datagrams, replies to them, and sends to them what the user
//! wants.
//!
//! Some other implementations answer every announcement, even one that is an answer itself. To
//! avoid an endless exchange, this peer announces itself once to a new or restarted peer. It does
//! so only if the datagram of the new peer arrived at the shared port. A datagram to this peer's
//! own port was sent by a peer that already knows it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::config::LanConfig;
use super::context::Context;
use super::event::Action;
use super::known_profile::KnownProfile;
use super::lan_peer::LanPeer;
use super::lan_sender::{LanSender, send};
use super::lan_table::LanTable;
use super::limits::{ANNOUNCE_INTERVAL_MS, LAN_PORT, MAX_LAN_PEERS};
use super::mesh_peers::MeshPeers;
use super::notice::{Contact, Notice};
use crate::lan::{Datagram, DatagramBody, Dialect};
use crate::lan_user_id::LanUserId;
use crate::profile::{InvalidAvatar, PeerProfile};
use rollcall_core::BootMs;

/// Largest number of peers that get a list request when the user asks for lists.
const MAX_LIST_REQUESTS: usize = 3;
/// Time after a list request in which replies are accepted, in milliseconds.
const LIST_REPLY_WINDOW_MS: u64 = 10_000;
/// Largest number of unknown names of one list whose addresses get an announcement.
const MAX_NAMES_PROBED: usize = 16;

/// The LAN peers, and what this peer has sent to them.
///
/// Invariant: at most [`MAX_LAN_PEERS`] followed users.
#[derive(Clone, Debug)]
pub(super) struct LanPeers {
    pub(super) table: LanTable,
    sender: LanSender,
    /// Time of the next announcement.
    next_announcement: BootMs,
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
    /// Source address of the datagram.
    pub(super) source: IpAddr,
    /// Message id; `None` if the datagram had none. Then duplicates cannot be recognised.
    pub(super) id: Option<u64>,
    /// Time of sending by the sender's clock, in Unix seconds.
    pub(super) said_at: i64,
    pub(super) text: String,
}

impl LanPeers {
    /// No peers. The first announcement is due at once.
    pub(super) fn new(config: LanConfig, now: BootMs) -> Self {
        Self {
            sender: LanSender::new(&config),
            table: LanTable::new(config),
            next_announcement: now,
            followed: BTreeSet::new(),
            lists_requested_at: None,
            duplicate_name_reported: false,
        }
    }

    /// Time of the next announcement or expiry.
    pub(super) fn next_deadline(&self) -> BootMs {
        self.next_announcement.min(self.table.next_deadline())
    }

    /// Removes the peers that timed out, and sends an announcement if one is due.
    pub(super) fn handle_timeout(&mut self, cx: &mut Context) {
        self.table.remove_timed_out(cx);
        if cx.now.boot < self.next_announcement {
            return;
        }
        self.next_announcement = cx.now.boot.plus(ANNOUNCE_INTERVAL_MS);
        let announcement = self.sender.announcement(cx);
        cx.counters.datagrams_sent += 1;
        cx.actions.push(Action::Broadcast(announcement.clone()));
        for peer in self.table.peers.values().filter(|peer| peer.dialect == Dialect::Spaced) {
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
        if user == *self.table.own_user() {
            // Either this peer's own broadcast, or a datagram of another program with the same user
            // id.
            let is_own = self.table.is_own_source(source);
            if !is_own && !std::mem::replace(&mut self.duplicate_name_reported, true) {
                cx.notify(Notice::DuplicateName { uid: user.to_string(), source: source.ip() });
            }
            return None;
        }
        let user = self.table.other_id_of(&user, source, &datagram.body).unwrap_or(user);
        if datagram.body == DatagramBody::Revoke {
            self.table.handle_leave(&user, source.ip(), cx);
            return None;
        }
        let is_new = !self.table.peers.contains_key(&user);
        // A scan sends a list request without an announcement, and ends when it has the replies. So
        // an unknown sender of a list request gets an answer but is not added to the table.
        if is_new && matches!(datagram.body, DatagramBody::ListRequest) {
            return self.handle_body(user, source, datagram, dialect, mesh, cx);
        }
        if is_new && !self.table.make_room(&user, source.ip(), cx) {
            cx.counters.rejected_lan_peers += 1;
            return None;
        }
        let has_restarted = self.table.has_restarted(&user, source.ip(), &datagram.body);
        self.table.refresh(&user, source, &datagram.body, dialect, cx);
        if is_new || has_restarted {
            // A peer that sent to this peer's own port already knows this peer.
            if to_shared_port {
                self.reply_to_new_peer(&user, cx);
            }
            self.follow_again(&user, cx);
        }
        self.handle_body(user, source, datagram, dialect, mesh, cx)
    }

    /// Sends an announcement to a new peer; in the draft dialect also the profile.
    fn reply_to_new_peer(&mut self, user: &LanUserId, cx: &mut Context) {
        let Some((to, dialect)) = self.take_reply_target(user, cx) else { return };
        send(to, self.sender.announcement(cx), dialect, cx);
        // In the draft dialect, a profile makes a new peer known to the other peers.
        if dialect == Dialect::Spaced {
            let name = cx.local.config.name.to_string();
            let profile = cx.local.profile.clone().unwrap_or_else(|| PeerProfile::new(&name, "", None));
            let id = cx.local.next_lan_message_id();
            send(to, self.sender.datagram(DatagramBody::Profile { profile, refused: None }, id, cx.now), dialect, cx);
        }
    }

    /// Follows a new peer again if this peer has followed it before: a restarted program has
    /// forgotten its followers.
    fn follow_again(&mut self, user: &LanUserId, cx: &mut Context) {
        if self.followed.contains(user)
            && let Some(peer) = self.table.peers.get(user)
            && self.sender.may_reply_to(peer.addr.ip, cx)
        {
            self.sender.send_to(peer, DatagramBody::Follow { to: user.clone() }, cx);
        }
    }

    /// Takes a token for a reply to a peer. Returns the address and the dialect; `None` if the
    /// limit of the address is reached.
    fn take_reply_target(&mut self, user: &LanUserId, cx: &mut Context) -> Option<(SocketAddr, Dialect)> {
        let (addr, dialect) = self.table.peers.get(user).map(|peer| (peer.addr, peer.dialect))?;
        self.sender.may_reply_to(addr.ip, cx).then(|| (addr.to_socket_addr(), dialect))
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
            DatagramBody::Post(text) if self.table.record_id(&user, id, cx) => {
                return Some(LanPost { user, source: source.ip(), id, said_at, text });
            }
            DatagramBody::Direct { to, text } => {
                if to != *self.table.own_user() {
                    return None;
                }
                if self.table.record_id(&user, id, cx)
                    && let Some(from) = self.table.contact(&user)
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
            DatagramBody::Follow { to } => self.handle_follow(&user, source.ip(), &to, true, id, cx),
            DatagramBody::Unfollow { to } => self.handle_follow(&user, source.ip(), &to, false, id, cx),
            DatagramBody::Profile { profile, refused } => self.handle_profile(&user, profile, refused, mesh, cx),
            DatagramBody::ListRequest => {
                let to = self.table.list_reply_addr(&user, source);
                if self.sender.may_reply_to(to.ip(), cx) {
                    let id = cx.local.next_lan_message_id();
                    let names = self.table.names_for(&user);
                    send(to, self.sender.datagram(DatagramBody::ListResponse(names), id, cx.now), dialect, cx);
                }
            }
            DatagramBody::ListResponse(users) => self.handle_list(&user, &users, cx),
            DatagramBody::Discovery { .. } => {
                self.table.handle_announcement(&user, source.ip(), id, sent_at, &mesh.links);
            }
            DatagramBody::Post(_) | DatagramBody::Revoke | DatagramBody::Ping | DatagramBody::Ack => {}
        }
        None
    }

    /// Records that a peer follows this peer, or no longer does. Notifies the user of the change. A
    /// datagram from another host than that of the peer does not count.
    fn handle_follow(
        &mut self,
        user: &LanUserId,
        source: IpAddr,
        to: &LanUserId,
        is_follower: bool,
        id: Option<u64>,
        cx: &mut Context,
    ) {
        let counts = to == self.table.own_user() && self.table.is_from_host_of(user, source);
        if !counts || !self.table.record_id(user, id, cx) {
            return;
        }
        let Some(peer) = self.table.peers.get_mut(user) else { return };
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
        let received = KnownProfile::of(&profile);
        let peer = self.table.peers.get(user);
        if is_complete && peer.is_some_and(|peer| peer.profile.as_ref() == Some(&received)) {
            return;
        }
        let is_known = is_complete && self.replace_mesh_profile(user, &received, mesh);
        let Some(peer) = self.table.peers.get_mut(user) else { return };
        peer.profile = Some(received);
        if is_known {
            return;
        }
        let from = peer.contact(user);
        cx.notify(Notice::Profile { from, profile, refused: refused.map(|reason| reason.to_string()) });
    }

    /// Handles a list of another peer, if this peer requested lists shortly before. Sends an
    /// announcement to the claimed addresses of some unknown names, and notifies the user.
    fn handle_list(&mut self, user: &LanUserId, users: &[LanUserId], cx: &mut Context) {
        let Some(from) = self.table.contact(user) else { return };
        if self.lists_requested_at.is_none_or(|requested_at| cx.now.boot.since(requested_at) > LIST_REPLY_WINDOW_MS) {
            return;
        }
        let is_unknown = |user: &&LanUserId| *user != self.table.own_user() && !self.table.peers.contains_key(*user);
        let unknown = users.iter().filter(is_unknown);
        let unknown: Vec<IpAddr> = unknown.filter_map(LanUserId::claimed_ip).take(MAX_NAMES_PROBED).collect();
        for ip in unknown {
            if self.sender.may_probe(ip, cx) {
                send(SocketAddr::new(ip, LAN_PORT), self.sender.announcement(cx), Dialect::Compact, cx);
            }
        }
        let uids = users.iter().map(ToString::to_string).collect();
        cx.notify(Notice::NamesReceived { from, uids });
    }

    /// Sends a list request to the peers that sent a datagram most recently.
    pub(super) fn request_lists(&mut self, cx: &mut Context) {
        self.lists_requested_at = Some(cx.now.boot);
        let mut recent: Vec<&LanPeer> = self.table.peers.values().collect();
        recent.sort_by_key(|peer| Reverse(peer.last_seen_at));
        let request = Datagram { id: None, ..self.sender.datagram(DatagramBody::ListRequest, 0, cx.now) };
        for peer in recent.into_iter().take(MAX_LIST_REQUESTS) {
            send(peer.addr.to_socket_addr(), request.clone(), peer.dialect, cx);
        }
    }

    /// Sends a datagram to each peer. Returns the number of peers.
    pub(super) fn send_to_all(&self, body: DatagramBody, id: u64, cx: &mut Context) -> usize {
        let datagram = self.sender.datagram(body, id, cx.now);
        for peer in self.table.peers.values() {
            send(peer.addr.to_socket_addr(), datagram.clone(), peer.dialect, cx);
        }
        self.table.peers.len()
    }

    /// Sends a direct message to one peer.
    pub(super) fn send_direct(&self, to: LanUserId, text: String, cx: &mut Context) {
        let Some(peer) = self.table.peers.get(&to) else { return };
        let contact = peer.contact(&to);
        self.sender.send_to(peer, DatagramBody::Direct { to, text }, cx);
        cx.notify(Notice::DirectSent { to: contact });
    }

    /// Follows a peer, or no longer follows it. A followed peer that has left gets no datagram.
    pub(super) fn follow(&mut self, user: &LanUserId, is_followed: bool, cx: &mut Context) {
        let peer = self.table.peers.get(user);
        if !is_followed {
            if !self.followed.remove(user) {
                cx.reject(format!("you do not follow {user}, so nothing was sent"));
                return;
            }
        } else if self.followed.len() < MAX_LAN_PEERS {
            self.followed.insert(user.clone());
        }
        let to = user.clone();
        let body = if is_followed { DatagramBody::Follow { to } } else { DatagramBody::Unfollow { to } };
        if let Some(peer) = peer {
            self.sender.send_to(peer, body, cx);
        }
        let to = Contact::on_lan(user, peer.and_then(|peer| peer.profile.as_ref()));
        cx.notify(Notice::Following { to, follows: is_followed });
    }

    /// The users that this peer follows.
    pub(super) fn followed(&self) -> impl Iterator<Item = &LanUserId> {
        self.followed.iter()
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

    /// Also stores a complete LAN profile for the mesh peer id of the peer, so that a later copy on
    /// the mesh is not shown again. Returns whether the mesh had already delivered the same
    /// profile.
    fn replace_mesh_profile(&self, user: &LanUserId, profile: &KnownProfile, mesh: &mut MeshPeers) -> bool {
        let id = self.table.peers.get(user).and_then(|peer| self.table.linked_mesh_peer(peer, &mesh.links));
        let Some(record) = id.and_then(|id| mesh.tree.authors.get_mut(id)) else { return false };
        record.profile.replace(profile.clone()).as_ref() == Some(profile)
    }
}
