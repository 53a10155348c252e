//! The peers of the LAN: who is there, how each is answered, and why two that answer each other stay calm.
//!
//! Existing peers answer every announcement, answers included. So this one announces itself to a new peer at most once,
//! and only if the peer was heard on the shared port: what comes to this peer's own port was sent by somebody who knows it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::contacts::lan_contact;
use super::crossing::announcement_number;
use super::entry::lan_number;
use super::entry::{Author, Entry};
use super::event::{Action, Now};
use super::limit::Limit;
use super::notice::Notice;
use super::rules::{ANNOUNCE_EVERY_MS, EXPIRES_AFTER_MS, LAN_PORT, LAN_REMEMBERED, LanRules, MAX_LAN_PEERS};
use super::{Actions, Engine};
use crate::lan::{Body, Datagram, Dialect};
use crate::peer_id::PeerId;
use crate::profile::{InvalidAvatar, Profile};
use crate::user_id::UserId;
use rollcall_core::BootMs;

/// The most peers that are asked for their list at once.
const ASKED: usize = 3;
/// An answer to such a question counts for so long.
const ANSWER_WITHIN_MS: u64 = 10_000;
/// The most names that are told in one list: as many of the longest, each character escaped, fit into a datagram.
const TOLD: usize = 200;
/// The most names of one list that are looked for.
const LOOKED_FOR: usize = 16;

/// One peer of the LAN.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    /// Where it is answered.
    pub(super) addr: SocketAddr,
    /// Whether it told its port.
    told_port: bool,
    heard_at: BootMs,
    dialect: Dialect,
    /// Whether it claims an address that it does not write from.
    pub(super) is_mismatched: bool,
    pub(super) profile: Option<Profile>,
    /// The latest numbers of its messages.
    remembered: VecDeque<u64>,
    /// The peer of the mesh that it is, if it is known to be one.
    pub(super) peer: Option<PeerId>,
    /// The latest of its announcements.
    pub(super) announced: Option<Announced>,
}

/// What an announcement tells of who made it.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) number: u64,
    /// By the sender's clock, in Unix seconds.
    pub(super) sent_at: i64,
}

/// The LAN as this peer sees it.
///
/// Invariant: at most [`MAX_LAN_PEERS`] peers, this one not among them.
#[derive(Clone, Debug)]
pub(super) struct Neighbours {
    pub(super) rules: LanRules,
    pub(super) peers: BTreeMap<UserId, Neighbour>,
    next_shout: BootMs,
    limit: Limit,
    /// When lists were asked for.
    asked_at: Option<BootMs>,
    /// Whether the person was told that somebody has this peer's name.
    told_double: bool,
}

impl Neighbours {
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

    pub(super) fn next_at(&self) -> BootMs {
        let expires = self.peers.values().map(|peer| peer.heard_at.plus(EXPIRES_AFTER_MS)).min();
        self.next_shout.min(expires.unwrap_or(BootMs::NEVER))
    }

    /// This name of the LAN and that id of the mesh said the same thing: they are one.
    pub(super) fn is_peer(&mut self, user: &str, id: PeerId) {
        if let Some(peer) = UserId::parse(user).and_then(|user| self.peers.get_mut(&user)) {
            peer.peer = Some(id);
        }
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.rules.own_ips.contains(&ip)
    }

    /// Whether a peer that claims to be there may write from here. All addresses of this machine are one.
    pub(super) fn is_match(&self, user: &UserId, source: IpAddr) -> bool {
        user.claimed_ip().is_some_and(|claimed| claimed == source || (self.is_own(claimed) && self.is_own(source)))
    }

    /// Whether two addresses are of one host. All addresses of this machine are.
    pub(super) fn is_one_host(&self, one: IpAddr, other: IpAddr) -> bool {
        let (one, other) = (one.to_canonical(), other.to_canonical());
        one == other || (self.is_own(one) && self.is_own(other))
    }

    /// Whether a known peer announces itself at another port: its program was started again, and knows nobody.
    fn is_back(&self, user: &UserId, source: IpAddr, body: &Body) -> bool {
        let (Body::Discovery { port }, Some(peer)) = (body, self.peers.get(user)) else { return false };
        peer.told_port && peer.addr.port() != *port && (peer.is_mismatched || self.is_match(user, source))
    }

    /// Whom this peer names to another: itself, and those others that it heard last.
    fn told_to(&self, asker: &UserId) -> Vec<UserId> {
        let mut others: Vec<_> = self.peers.iter().filter(|(user, _)| *user != asker).collect();
        others.sort_by_key(|(_, peer)| std::cmp::Reverse(peer.heard_at));
        let others = others.into_iter().map(|(user, _)| user);
        [&self.rules.user].into_iter().chain(others).take(TOLD).cloned().collect()
    }

    fn datagram(&self, body: Body, id: u64, now: Now) -> Datagram {
        Datagram { from: Some(self.rules.user.clone()), id: Some(id), sent_at: now.unix_s, body }
    }
}

impl Engine {
    pub(super) fn pass_lan_time(&mut self, now: Now, out: &mut Actions) {
        let Some(lan) = &mut self.neighbours else { return };
        lan.peers.retain(|user, peer| {
            let is_here = now.boot < peer.heard_at.plus(EXPIRES_AFTER_MS);
            if !is_here {
                let why = "it has been silent for five minutes".to_owned();
                out.push(Action::Tell(Notice::Lost { peer: lan_contact(user, peer), why }));
            }
            is_here
        });
        if now.boot < lan.next_shout {
            return;
        }
        lan.next_shout = now.boot.plus(ANNOUNCE_EVERY_MS);
        let spaced = lan.peers.values().filter(|peer| peer.dialect == Dialect::Spaced).map(|peer| peer.addr);
        let spaced: Vec<SocketAddr> = spaced.collect();
        let announcement = self.announcement(now);
        self.counts.datagrams_out += 1;
        out.push(Action::Shout(announcement.clone()));
        for to in spaced {
            self.send_datagram(to, announcement.clone(), Dialect::Spaced, out);
        }
    }

    /// "I am here."
    fn announcement(&mut self, now: Now) -> Datagram {
        let lan = self.neighbours.as_ref().expect("only a peer of the LAN announces itself");
        let id = announcement_number(self.rules.id, &lan.rules.user, now.unix_s);
        lan.datagram(Body::Discovery { port: lan.rules.port }, id, now)
    }

    /// A number for what is no post.
    fn next_lan_id(&mut self) -> u64 {
        self.next_control += 1;
        lan_number(self.rules.id, self.next_control, "")
    }

    pub(super) fn heard_datagram(
        &mut self,
        source: SocketAddr,
        shared: bool,
        datagram: Datagram,
        dialect: Dialect,
        now: Now,
        out: &mut Actions,
    ) {
        let Some(lan) = &mut self.neighbours else { return };
        self.counts.datagrams_in += 1;
        // An ACK says nothing of its sender, and is never answered.
        let Some(user) = datagram.from.clone() else { return };
        if user == lan.rules.user {
            // Its own announcement, or somebody of the same name.
            let is_own = lan.is_own(source.ip()) && source.port() == lan.rules.port;
            if !is_own && !std::mem::replace(&mut lan.told_double, true) {
                out.push(Action::Tell(Notice::Doubled { uid: user.to_string(), source: source.ip() }));
            }
            return;
        }
        let is_new = !lan.peers.contains_key(&user);
        if is_new && lan.peers.len() >= MAX_LAN_PEERS {
            self.counts.crowded_out += 1;
            return;
        }
        // Who asks before it ever announced itself looks around, and is gone as soon as it has its answer.
        if is_new && matches!(datagram.body, Body::ListRequest) {
            self.heard_body(&user, source, datagram, dialect, now, out);
            return;
        }
        let is_back = lan.is_back(&user, source.ip(), &datagram.body);
        self.refresh(&user, source, &datagram.body, dialect, now, out);
        // Only who was heard on the shared port may not know this peer yet.
        if (is_new || is_back) && shared {
            self.answer_newcomer(&user, now, out);
        }
        self.heard_body(&user, source, datagram, dialect, now, out);
    }

    /// Any datagram is a sign of life, and may tell a new address.
    fn refresh(
        &mut self,
        user: &UserId,
        source: SocketAddr,
        body: &Body,
        dialect: Dialect,
        now: Now,
        out: &mut Actions,
    ) {
        let Some(lan) = &mut self.neighbours else { return };
        let is_mismatched = !lan.is_match(user, source.ip());
        let is_new = !lan.peers.contains_key(user);
        let peer = lan.peers.entry(user.clone()).or_insert_with(|| Neighbour {
            addr: source,
            told_port: false,
            heard_at: now.boot,
            dialect,
            is_mismatched,
            profile: None,
            remembered: VecDeque::new(),
            peer: None,
            announced: None,
        });
        if is_mismatched && (is_new || !peer.is_mismatched) {
            out.push(Action::Tell(Notice::Mismatch { uid: user.to_string(), source: source.ip() }));
        }
        // Somebody else may use the name of a peer whose address was right; its messages still go where they went.
        if !is_mismatched || peer.is_mismatched {
            peer.heard_at = now.boot;
            peer.dialect = dialect;
            peer.is_mismatched = is_mismatched;
            if let Body::Discovery { port } = body {
                peer.addr = SocketAddr::new(source.ip(), *port);
                peer.told_port = true;
            } else if !peer.told_port || peer.addr.ip() != source.ip() {
                peer.addr = source;
                peer.told_port = false;
            }
        }
        if is_new {
            let at = Some(peer.addr.to_string());
            out.push(Action::Tell(Notice::Found { peer: lan_contact(user, peer), at }));
        }
    }

    fn answer_newcomer(&mut self, user: &UserId, now: Now, out: &mut Actions) {
        let Some((to, dialect)) = self.allowed_answer(user, now) else { return };
        let announcement = self.announcement(now);
        self.send_datagram(to, announcement, dialect, out);
        // Peers of the draft know others by their profiles.
        if dialect == Dialect::Spaced {
            let name = self.rules.name.to_string();
            let profile = self.profile.clone().unwrap_or_else(|| Profile::new(&name, "", None));
            let id = self.next_lan_id();
            if let Some(lan) = &self.neighbours {
                let datagram = lan.datagram(Body::Profile { profile, refused: None }, id, now);
                self.send_datagram(to, datagram, dialect, out);
            }
        }
    }

    /// Where a peer is answered, if its address has not had too many answers.
    fn allowed_answer(&mut self, user: &UserId, now: Now) -> Option<(SocketAddr, Dialect)> {
        let lan = self.neighbours.as_mut()?;
        let peer = lan.peers.get(user)?;
        if lan.limit.allows(peer.addr.ip(), now.boot) {
            return Some((peer.addr, peer.dialect));
        }
        self.counts.unanswered += 1;
        None
    }

    fn heard_body(
        &mut self,
        user: &UserId,
        source: SocketAddr,
        datagram: Datagram,
        dialect: Dialect,
        now: Now,
        out: &mut Actions,
    ) {
        let Datagram { id, body, sent_at: told_at, .. } = datagram;
        // Posts of the draft do not say when.
        let sent_at = if told_at == 0 { now.unix_s } else { told_at };
        match body {
            Body::Post(text) if self.is_new_on_lan(user, id) => self.heard_post(user, id, sent_at, text, out),
            Body::Direct { to, text } => {
                let Some(lan) = &self.neighbours else { return };
                if to != lan.rules.user {
                    return;
                }
                if self.is_new_on_lan(user, id)
                    && let Some(from) = self.lan_contact_of(user)
                {
                    out.push(Action::Tell(Notice::Direct { from, text, said_at: sent_at }));
                }
                // What comes again is acknowledged again: the first ACK may have been lost.
                if dialect == Dialect::Spaced && id.is_some() {
                    let ack = Datagram { from: None, id, sent_at: 0, body: Body::Ack };
                    self.answer_source(source, ack, dialect, now, out);
                }
            }
            Body::Profile { profile, refused } => self.heard_profile(user, profile, refused, out),
            Body::ListRequest => {
                let id = self.next_lan_id();
                let Some(lan) = &self.neighbours else { return };
                let answer = lan.datagram(Body::ListResponse(lan.told_to(user)), id, now);
                self.answer_source(source, answer, dialect, now, out);
            }
            Body::ListResponse(users) => self.heard_list(user, &users, now, out),
            Body::Discovery { .. } => self.heard_announcement(user, source.ip(), id, told_at),
            Body::Post(_) | Body::Ping | Body::Ack => {}
        }
    }

    /// Answers to the address a question came from.
    fn answer_source(&mut self, to: SocketAddr, answer: Datagram, dialect: Dialect, now: Now, out: &mut Actions) {
        let Some(lan) = &mut self.neighbours else { return };
        if lan.limit.allows(to.ip(), now.boot) {
            self.send_datagram(to, answer, dialect, out);
        } else {
            self.counts.unanswered += 1;
        }
    }

    /// Whether a message of the peer was not heard before. One without a number is never known.
    fn is_new_on_lan(&mut self, user: &UserId, id: Option<u64>) -> bool {
        let peer = self.neighbours.as_mut().and_then(|lan| lan.peers.get_mut(user));
        let (Some(peer), Some(id)) = (peer, id) else { return true };
        if peer.remembered.contains(&id) {
            self.counts.duplicates += 1;
            return false;
        }
        peer.remembered.push_back(id);
        if peer.remembered.len() > LAN_REMEMBERED {
            peer.remembered.pop_front();
        }
        true
    }

    fn heard_post(&mut self, user: &UserId, id: Option<u64>, said_at: i64, text: String, out: &mut Actions) {
        let author = Author::Lan(user.to_string());
        let number = id.unwrap_or(0);
        let first = id.and_then(|id| self.crossing.heard(id, &text, &author));
        if let Some(first) = first {
            self.counts.duplicates += 1;
            if let (Author::Mesh(peer), Some(lan)) = (first, &mut self.neighbours) {
                lan.is_peer(user.as_str(), peer);
            }
            return;
        }
        let Some(from) = self.lan_contact_of(user) else { return };
        let entry = Arc::new(Entry { author, name: None, number, said_at, text: text.clone() });
        self.counts.posts_in += 1;
        out.push(Action::Tell(Notice::Post { from, text, said_at, number: number.to_string() }));
        self.history.add(Arc::clone(&entry));
        out.push(Action::Keep(entry));
    }

    fn heard_profile(&mut self, user: &UserId, profile: Profile, refused: Option<InvalidAvatar>, out: &mut Actions) {
        let peer = self.neighbours.as_ref().and_then(|lan| lan.peers.get(user));
        let is_whole = refused.is_none();
        if is_whole && peer.is_some_and(|peer| peer.profile.as_ref() == Some(&profile)) {
            return;
        }
        let is_known = is_whole && self.is_known_on_mesh(user, &profile);
        let Some(peer) = self.neighbours.as_mut().and_then(|lan| lan.peers.get_mut(user)) else { return };
        peer.profile = Some(profile.clone());
        if is_known {
            return;
        }
        let from = lan_contact(user, peer);
        out.push(Action::Tell(Notice::Profile { from, profile, refused: refused.map(|why| why.to_string()) }));
    }

    /// Looks for those whom a peer knows and this one does not, if it asked.
    fn heard_list(&mut self, user: &UserId, users: &[UserId], now: Now, out: &mut Actions) {
        let Some(from) = self.lan_contact_of(user) else { return };
        let Some(lan) = &mut self.neighbours else { return };
        if lan.asked_at.is_none_or(|asked| now.boot.since(asked) > ANSWER_WITHIN_MS) {
            return;
        }
        let strangers = users.iter().filter(|user| **user != lan.rules.user && !lan.peers.contains_key(*user));
        let strangers: Vec<IpAddr> = strangers.filter_map(UserId::claimed_ip).take(LOOKED_FOR).collect();
        for ip in strangers {
            if self.neighbours.as_mut().is_some_and(|lan| lan.limit.allows(ip, now.boot)) {
                let announcement = self.announcement(now);
                self.send_datagram(SocketAddr::new(ip, LAN_PORT), announcement, Dialect::Compact, out);
            }
        }
        let uids = users.iter().map(ToString::to_string).collect();
        out.push(Action::Tell(Notice::Listed { from, uids }));
    }

    /// Asks those who were heard last whom they know.
    pub(super) fn ask_neighbours(&mut self, now: Now, out: &mut Actions) {
        let Some(lan) = &mut self.neighbours else { return };
        lan.asked_at = Some(now.boot);
        let mut heard: Vec<&Neighbour> = lan.peers.values().collect();
        heard.sort_by_key(|peer| std::cmp::Reverse(peer.heard_at));
        let asked: Vec<(SocketAddr, Dialect)> =
            heard.iter().take(ASKED).map(|peer| (peer.addr, peer.dialect)).collect();
        let question = Datagram { id: None, ..lan.datagram(Body::ListRequest, 0, now) };
        for (to, dialect) in asked {
            self.send_datagram(to, question.clone(), dialect, out);
        }
    }

    /// Sends a post to each peer of the LAN; to how many.
    pub(super) fn post_to_neighbours(&mut self, text: &str, id: u64, now: Now, out: &mut Actions) -> usize {
        self.tell_neighbours(Body::Post(text.to_owned()), id, now, out)
    }

    /// Sends the profile to each peer of the LAN; to how many.
    pub(super) fn introduce_to_neighbours(&mut self, profile: &Profile, now: Now, out: &mut Actions) -> usize {
        let id = self.next_lan_id();
        self.tell_neighbours(Body::Profile { profile: profile.clone(), refused: None }, id, now, out)
    }

    fn tell_neighbours(&mut self, body: Body, id: u64, now: Now, out: &mut Actions) -> usize {
        let Some(lan) = &self.neighbours else { return 0 };
        let datagram = lan.datagram(body, id, now);
        let peers: Vec<(SocketAddr, Dialect)> = lan.peers.values().map(|peer| (peer.addr, peer.dialect)).collect();
        for (to, dialect) in &peers {
            self.send_datagram(*to, datagram.clone(), *dialect, out);
        }
        peers.len()
    }

    /// The person says something to one peer of the LAN.
    pub(super) fn whisper_on_lan(&mut self, to: UserId, text: String, now: Now, out: &mut Actions) {
        let id = self.next_lan_id();
        let Some(lan) = &self.neighbours else { return };
        let Some(peer) = lan.peers.get(&to) else { return };
        let (addr, dialect, contact) = (peer.addr, peer.dialect, lan_contact(&to, peer));
        let datagram = lan.datagram(Body::Direct { to, text }, id, now);
        self.send_datagram(addr, datagram, dialect, out);
        out.push(Action::Tell(Notice::SentTo { to: contact }));
    }

    fn lan_contact_of(&self, user: &UserId) -> Option<super::Contact> {
        self.neighbours.as_ref()?.peers.get(user).map(|peer| lan_contact(user, peer))
    }

    fn send_datagram(&mut self, to: SocketAddr, datagram: Datagram, dialect: Dialect, out: &mut Actions) {
        self.counts.datagrams_out += 1;
        out.push(Action::SendDatagram { to, datagram, dialect });
    }
}
