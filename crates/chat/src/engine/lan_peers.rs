//! Peers of the LAN: the table of them, replies to each, and a limit on replies per source address.
//!
//! Existing peers answer every announcement, answers included. So this one announces itself to a new peer at most once,
//! and only if the peer was heard on the shared port: what comes to this peer's own port was sent by somebody who knows it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::context::Context;
use super::cross_transport::{Announced, announcement_number};
use super::event::{Action, Now};
use super::lan_peer::LanPeer;
use super::limit::Limit;
use super::mesh::Mesh;
use super::mesh_links::MeshLinks;
use super::notice::{Contact, Notice};
use super::rules::{ANNOUNCE_EVERY_MS, EXPIRES_AFTER_MS, LAN_PORT, LanRules, MAX_LAN_PEERS};
use crate::lan::{Datagram, DatagramBody, Dialect};
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;
use crate::profile::{InvalidAvatar, PeerProfile};
use rollcall_core::BootMs;

/// The most peers that are asked for their list at once.
const ASKED: usize = 3;
/// An answer to such a question counts for so long.
const ANSWER_WITHIN_MS: u64 = 10_000;
/// The most names that are told in one list: as many of the longest, each character escaped, fit into a datagram.
const TOLD: usize = 200;
/// The most names of one list that are looked for.
const LOOKED_FOR: usize = 16;

/// The LAN as this peer sees it.
///
/// Invariant: at most [`MAX_LAN_PEERS`] peers, this one not among them.
#[derive(Clone, Debug)]
pub(super) struct LanPeers {
    rules: LanRules,
    pub(super) peers: BTreeMap<LanUserId, LanPeer>,
    next_shout: BootMs,
    limit: Limit,
    /// When lists were asked for.
    asked_at: Option<BootMs>,
    /// Whether the person was told that somebody has this peer's name.
    told_double: bool,
}

/// Something that a peer of the LAN said to everybody.
pub(super) struct LanPost {
    pub(super) user: LanUserId,
    /// Its number; without one it is never known again.
    pub(super) id: Option<u64>,
    /// By the sender's clock, in Unix seconds.
    pub(super) said_at: i64,
    pub(super) text: String,
}

impl LanPeers {
    /// Nobody was heard; this peer announces itself at once.
    pub(super) fn new(rules: LanRules, now: BootMs) -> Self {
        Self {
            rules,
            peers: BTreeMap::new(),
            next_shout: now,
            limit: Limit::default(),
            asked_at: None,
            told_double: false,
        }
    }

    /// When something is due next.
    pub(super) fn next_at(&self) -> BootMs {
        let expires = self.peers.values().map(|peer| peer.heard_at.plus(EXPIRES_AFTER_MS)).min();
        self.next_shout.min(expires.unwrap_or(BootMs::NEVER))
    }

    /// Drops who is silent, and announces this peer when it is time.
    pub(super) fn pass_time(&mut self, cx: &mut Context) {
        let now = cx.now.boot;
        self.peers.retain(|user, peer| {
            let is_here = now < peer.heard_at.plus(EXPIRES_AFTER_MS);
            if !is_here {
                let why = "it has been silent for five minutes".to_owned();
                cx.tell(Notice::Lost { peer: peer.contact(user), why });
            }
            is_here
        });
        if now < self.next_shout {
            return;
        }
        self.next_shout = now.plus(ANNOUNCE_EVERY_MS);
        let announcement = self.announcement(cx);
        cx.counts.datagrams_out += 1;
        cx.out.push(Action::Shout(announcement.clone()));
        for peer in self.peers.values().filter(|peer| peer.dialect == Dialect::Spaced) {
            send(peer.addr, announcement.clone(), Dialect::Spaced, cx);
        }
    }

    /// A datagram came in. Returns what was said to everybody.
    pub(super) fn heard(
        &mut self,
        source: SocketAddr,
        shared: bool,
        datagram: Datagram,
        dialect: Dialect,
        mesh: &mut Mesh,
        cx: &mut Context,
    ) -> Option<LanPost> {
        cx.counts.datagrams_in += 1;
        // An ACK says nothing of its sender, and is never answered.
        let user = datagram.from.clone()?;
        if user == self.rules.user {
            // Its own announcement, or somebody of the same name.
            let is_own = self.rules.is_own(source.ip()) && source.port() == self.rules.port;
            if !is_own && !std::mem::replace(&mut self.told_double, true) {
                cx.tell(Notice::Doubled { uid: user.to_string(), source: source.ip() });
            }
            return None;
        }
        let is_new = !self.peers.contains_key(&user);
        if is_new && self.peers.len() >= MAX_LAN_PEERS {
            cx.counts.crowded_out += 1;
            return None;
        }
        // Who asks before it ever announced itself looks around, and is gone as soon as it has its answer.
        if is_new && matches!(datagram.body, DatagramBody::ListRequest) {
            return self.heard_body(user, source, datagram, dialect, mesh, cx);
        }
        let is_back = self.is_back(&user, source.ip(), &datagram.body);
        self.refresh(&user, source, &datagram.body, dialect, cx);
        // Only who was heard on the shared port may not know this peer yet.
        if (is_new || is_back) && shared {
            self.answer_newcomer(&user, cx);
        }
        self.heard_body(user, source, datagram, dialect, mesh, cx)
    }

    /// Whether a known peer announces itself at another port: its program was started again, and knows nobody.
    fn is_back(&self, user: &LanUserId, source: IpAddr, body: &DatagramBody) -> bool {
        let (DatagramBody::Discovery { port }, Some(peer)) = (body, self.peers.get(user)) else { return false };
        peer.told_port && peer.addr.port() != *port && (peer.is_mismatched || self.rules.is_match(user, source))
    }

    /// Any datagram is a sign of life, and may tell a new address.
    fn refresh(
        &mut self,
        user: &LanUserId,
        source: SocketAddr,
        body: &DatagramBody,
        dialect: Dialect,
        cx: &mut Context,
    ) {
        let is_mismatched = !self.rules.is_match(user, source.ip());
        let is_new = !self.peers.contains_key(user);
        let fresh = || LanPeer::new(source, dialect, is_mismatched, cx.now.boot);
        let peer = self.peers.entry(user.clone()).or_insert_with(fresh);
        if is_mismatched && (is_new || !peer.is_mismatched) {
            cx.tell(Notice::Mismatch { uid: user.to_string(), source: source.ip() });
        }
        peer.refresh(source, body, dialect, is_mismatched, cx.now.boot);
        if is_new {
            let at = Some(peer.addr.to_string());
            cx.tell(Notice::Found { peer: peer.contact(user), at });
        }
    }

    /// "I am here."
    fn announcement(&self, cx: &Context) -> Datagram {
        let id = announcement_number(cx.own.rules.id, &self.rules.user, cx.now.unix_s);
        self.datagram(DatagramBody::Discovery { port: self.rules.port }, id, cx.now)
    }

    fn answer_newcomer(&mut self, user: &LanUserId, cx: &mut Context) {
        let Some((to, dialect)) = self.allowed_answer(user, cx) else { return };
        send(to, self.announcement(cx), dialect, cx);
        // Peers of the draft know others by their profiles.
        if dialect == Dialect::Spaced {
            let name = cx.own.rules.name.to_string();
            let profile = cx.own.profile.clone().unwrap_or_else(|| PeerProfile::new(&name, "", None));
            let id = cx.own.next_lan_id();
            send(to, self.datagram(DatagramBody::Profile { profile, refused: None }, id, cx.now), dialect, cx);
        }
    }

    /// Where a peer is answered, if its address has not had too many answers.
    fn allowed_answer(&mut self, user: &LanUserId, cx: &mut Context) -> Option<(SocketAddr, Dialect)> {
        let peer = self.peers.get(user)?;
        if self.limit.allows(peer.addr.ip(), cx.now.boot) {
            return Some((peer.addr, peer.dialect));
        }
        cx.counts.unanswered += 1;
        None
    }

    fn heard_body(
        &mut self,
        user: LanUserId,
        source: SocketAddr,
        datagram: Datagram,
        dialect: Dialect,
        mesh: &mut Mesh,
        cx: &mut Context,
    ) -> Option<LanPost> {
        let Datagram { id, body, sent_at: told_at, .. } = datagram;
        // Posts of the draft do not say when.
        let said_at = if told_at == 0 { cx.now.unix_s } else { told_at };
        match body {
            DatagramBody::Post(text) if self.is_new(&user, id, cx) => return Some(LanPost { user, id, said_at, text }),
            DatagramBody::Direct { to, text } => {
                if to != self.rules.user {
                    return None;
                }
                if self.is_new(&user, id, cx)
                    && let Some(from) = self.contact(&user)
                {
                    cx.tell(Notice::Direct { from, text, said_at });
                }
                // What comes again is acknowledged again: the first ACK may have been lost.
                if dialect == Dialect::Spaced && id.is_some() {
                    let ack = Datagram { from: None, id, sent_at: 0, body: DatagramBody::Ack };
                    self.answer_source(source, ack, dialect, cx);
                }
            }
            DatagramBody::Profile { profile, refused } => self.heard_profile(&user, profile, refused, mesh, cx),
            DatagramBody::ListRequest => {
                let id = cx.own.next_lan_id();
                let answer = self.datagram(DatagramBody::ListResponse(self.told_to(&user)), id, cx.now);
                self.answer_source(source, answer, dialect, cx);
            }
            DatagramBody::ListResponse(users) => self.heard_list(&user, &users, cx),
            DatagramBody::Discovery { .. } => self.heard_announcement(&user, source.ip(), id, told_at, &mesh.links),
            DatagramBody::Post(_) | DatagramBody::Ping | DatagramBody::Ack => {}
        }
        None
    }

    /// Answers to the address a question came from.
    fn answer_source(&mut self, to: SocketAddr, answer: Datagram, dialect: Dialect, cx: &mut Context) {
        if self.limit.allows(to.ip(), cx.now.boot) {
            send(to, answer, dialect, cx);
        } else {
            cx.counts.unanswered += 1;
        }
    }

    /// Whether a message of the peer was not heard before. One without a number is never known.
    fn is_new(&mut self, user: &LanUserId, id: Option<u64>, cx: &mut Context) -> bool {
        let (Some(peer), Some(id)) = (self.peers.get_mut(user), id) else { return true };
        let is_new = peer.is_new(id);
        cx.counts.duplicates += u64::from(!is_new);
        is_new
    }

    fn heard_profile(
        &mut self,
        user: &LanUserId,
        profile: PeerProfile,
        refused: Option<InvalidAvatar>,
        mesh: &mut Mesh,
        cx: &mut Context,
    ) {
        let is_whole = refused.is_none();
        let peer = self.peers.get(user);
        if is_whole && peer.is_some_and(|peer| peer.profile.as_ref() == Some(&profile)) {
            return;
        }
        let is_known = is_whole && self.is_known_on_mesh(user, &profile, mesh);
        let Some(peer) = self.peers.get_mut(user) else { return };
        peer.profile = Some(profile.clone());
        if is_known {
            return;
        }
        let from = peer.contact(user);
        cx.tell(Notice::Profile { from, profile, refused: refused.map(|why| why.to_string()) });
    }

    /// Looks for those whom a peer knows and this one does not, if it asked.
    fn heard_list(&mut self, user: &LanUserId, users: &[LanUserId], cx: &mut Context) {
        let Some(from) = self.contact(user) else { return };
        if self.asked_at.is_none_or(|asked| cx.now.boot.since(asked) > ANSWER_WITHIN_MS) {
            return;
        }
        let strangers = users.iter().filter(|user| **user != self.rules.user && !self.peers.contains_key(*user));
        let strangers: Vec<IpAddr> = strangers.filter_map(LanUserId::claimed_ip).take(LOOKED_FOR).collect();
        for ip in strangers {
            if self.limit.allows(ip, cx.now.boot) {
                send(SocketAddr::new(ip, LAN_PORT), self.announcement(cx), Dialect::Compact, cx);
            }
        }
        let uids = users.iter().map(ToString::to_string).collect();
        cx.tell(Notice::Listed { from, uids });
    }

    /// Asks those who were heard last whom they know.
    pub(super) fn ask_for_lists(&mut self, cx: &mut Context) {
        self.asked_at = Some(cx.now.boot);
        let mut heard: Vec<&LanPeer> = self.peers.values().collect();
        heard.sort_by_key(|peer| Reverse(peer.heard_at));
        let question = Datagram { id: None, ..self.datagram(DatagramBody::ListRequest, 0, cx.now) };
        for peer in heard.into_iter().take(ASKED) {
            send(peer.addr, question.clone(), peer.dialect, cx);
        }
    }

    /// Sends something to each peer; to how many.
    pub(super) fn send_to_all(&self, body: DatagramBody, id: u64, cx: &mut Context) -> usize {
        let datagram = self.datagram(body, id, cx.now);
        for peer in self.peers.values() {
            send(peer.addr, datagram.clone(), peer.dialect, cx);
        }
        self.peers.len()
    }

    /// The person says something to one peer.
    pub(super) fn whisper(&self, to: LanUserId, text: String, cx: &mut Context) {
        let id = cx.own.next_lan_id();
        let Some(peer) = self.peers.get(&to) else { return };
        let contact = peer.contact(&to);
        send(peer.addr, self.datagram(DatagramBody::Direct { to, text }, id, cx.now), peer.dialect, cx);
        cx.tell(Notice::SentTo { to: contact });
    }

    /// How a peer is shown, if it is here.
    pub(super) fn contact(&self, user: &LanUserId) -> Option<Contact> {
        self.peers.get(user).map(|peer| peer.contact(user))
    }

    /// This name of the LAN and that id of the mesh said the same thing: they are one.
    pub(super) fn is_peer(&mut self, user: &str, id: PeerId) {
        if let Some(peer) = LanUserId::parse(user).and_then(|user| self.peers.get_mut(&user)) {
            peer.on_mesh.peer = Some(id);
        }
    }

    /// The linked peer that somebody of the LAN is.
    pub(super) fn linked_peer(&self, peer: &LanPeer, links: &MeshLinks) -> Option<PeerId> {
        let id = peer.on_mesh.peer?;
        let is_there = !peer.is_mismatched && self.is_linked_from(id, peer.addr.ip(), links);
        is_there.then_some(id)
    }

    /// Whether the peer is linked, and from this host.
    fn is_linked_from(&self, peer: PeerId, host: IpAddr, links: &MeshLinks) -> bool {
        let link = links.link_to(peer).and_then(|link| links.get(link));
        link.is_some_and(|link| self.rules.is_one_host(link.remote, host))
    }

    /// Somebody announced itself on the LAN from there: it may be a peer that is linked. If it is none, it is not any more
    /// who it was: a program that starts again may have another id.
    fn heard_announcement(
        &mut self,
        user: &LanUserId,
        source: IpAddr,
        number: Option<u64>,
        sent_at: i64,
        links: &MeshLinks,
    ) {
        let is_match = self.rules.is_match(user, source);
        let Some(number) = number.filter(|_| is_match) else { return };
        let announced = Announced { number, sent_at };
        let is_it = |peer: &PeerId| self.is_linked_from(*peer, source, links) && announced.is_by(*peer, user);
        let found = links.peers().find(is_it);
        if let Some(peer) = self.peers.get_mut(user) {
            peer.on_mesh.peer = found;
            peer.on_mesh.announced = Some(announced);
        }
    }

    /// A peer was linked: it may have announced itself on the LAN.
    pub(super) fn look_for_announcement(&mut self, id: PeerId) {
        for (user, peer) in &mut self.peers {
            if peer.on_mesh.announced.as_ref().is_some_and(|announced| announced.is_by(id, user)) {
                peer.on_mesh.peer = Some(id);
            }
        }
    }

    /// A profile came on the LAN, whole; whether the mesh brought the same already. If not, it need not any more.
    fn is_known_on_mesh(&self, user: &LanUserId, profile: &PeerProfile, mesh: &mut Mesh) -> bool {
        let id = self.peers.get(user).and_then(|peer| self.linked_peer(peer, &mesh.links));
        let Some(sender) = id.and_then(|id| mesh.tree.senders.get_mut(id)) else { return false };
        sender.profile.replace(profile.clone()).as_ref() == Some(profile)
    }

    /// Whom this peer names to another: itself, and those others that it heard last.
    fn told_to(&self, asker: &LanUserId) -> Vec<LanUserId> {
        let mut others: Vec<_> = self.peers.iter().filter(|(user, _)| *user != asker).collect();
        others.sort_by_key(|(_, peer)| Reverse(peer.heard_at));
        let others = others.into_iter().map(|(user, _)| user);
        [&self.rules.user].into_iter().chain(others).take(TOLD).cloned().collect()
    }

    fn datagram(&self, body: DatagramBody, id: u64, now: Now) -> Datagram {
        Datagram { from: Some(self.rules.user.clone()), id: Some(id), sent_at: now.unix_s, body }
    }
}

fn send(to: SocketAddr, datagram: Datagram, dialect: Dialect, cx: &mut Context) {
    cx.counts.datagrams_out += 1;
    cx.out.push(Action::SendDatagram { to, datagram, dialect });
}
