//! Links of the mesh: one for each linked peer, its heartbeats, and the addresses to dial.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::book::Book;
use super::context::Context;
use super::counts::Kind;
use super::event::{Action, LinkId};
use super::link::Link;
use super::notice::Notice;
use super::rules::Rules;
use crate::endpoint::PeerEndpoint;
use crate::mesh::{MeshMessage, MessageBody};
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// The links and the address book.
///
/// Invariant: `by_peer` names exactly one link of each linked peer, and every link is named.
#[derive(Clone, Debug)]
pub(super) struct MeshLinks {
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<PeerId, LinkId>,
    pub(super) book: Book,
}

impl MeshLinks {
    /// No links; the configured addresses are to be dialled.
    pub(super) fn new(peers: &[PeerEndpoint], now: BootMs) -> Self {
        let mut book = Book::default();
        for endpoint in peers {
            book.keep(endpoint.clone(), now);
        }
        Self { links: BTreeMap::new(), by_peer: BTreeMap::new(), book }
    }

    /// One of them.
    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    /// One of them, to change it.
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    /// Whether it is one of them.
    pub(super) fn contains(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// All of them, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Link)> {
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

    /// Adds a link, in the place of another to the same peer if there is one.
    pub(super) fn insert(&mut self, id: LinkId, link: Link) {
        if let Some(old) = self.by_peer.insert(link.peer, id) {
            self.links.remove(&old);
        }
        self.links.insert(id, link);
    }

    /// Takes out a link that has ended.
    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        self.by_peer.remove(&link.peer);
        Some(link)
    }

    /// Which of two links to one peer is kept. Both ends must come to the same end: of two that were dialled from opposite
    /// ends, the one dialled by the lower id; of two dialled from one end the newer, because who dialled knows that it lost
    /// the older.
    pub(super) fn wins_over(&self, new: &Link, old: LinkId, me: PeerId) -> bool {
        let Some(old) = self.links.get(&old) else { return true };
        let i_dialled = new.dialled.is_some();
        i_dialled == old.dialled.is_some() || i_dialled == (me < new.peer)
    }

    /// The link whose peer has been there for longest without a word. A peer that had no time for a
    /// heartbeat yet does not count.
    pub(super) fn speechless(&self, rules: &Rules, now: BootMs) -> Option<LinkId> {
        let patience_ms = rules.patience_ms();
        let is_useless = |link: &Link| !link.has_spoken && link.pulse.heard_at.plus(patience_ms) <= now;
        let useless = self.links.iter().filter(|(_, link)| is_useless(link));
        useless.min_by_key(|(_, link)| link.pulse.heard_at).map(|(id, _)| *id)
    }

    /// The links on which no heartbeat came in time.
    pub(super) fn silent(&self, rules: &Rules, now: BootMs) -> Vec<LinkId> {
        let silent = self.links.iter().filter(|(_, link)| link.pulse.silent_at(rules) <= now);
        silent.map(|(id, _)| *id).collect()
    }

    /// When something is due on a link, or an address is to be dialled.
    pub(super) fn next_at(&self, rules: &Rules) -> BootMs {
        let links = self.links.values().map(|link| link.next_at(rules)).min().unwrap_or(BootMs::NEVER);
        let room = self.links.len() + self.book.dialling() < rules.max_connections;
        let dials = if room { self.book.next_at(|peer| self.is_linked(peer)) } else { BootMs::NEVER };
        links.min(dials)
    }

    /// Dials what is due, as far as there is room.
    pub(super) fn dial_due(&mut self, cx: &mut Context) {
        let room = cx.own.rules.max_connections.saturating_sub(self.links.len() + self.book.dialling());
        let due = self.book.due(cx.now.boot, room, |peer| self.by_peer.contains_key(&peer));
        cx.counts.dials += due.len() as u64;
        cx.counts.redials += due.iter().filter(|endpoint| self.book.was_tried(endpoint)).count() as u64;
        cx.out.extend(due.into_iter().map(Action::Dial));
    }

    /// A dialled address did not become a link.
    pub(super) fn dial_failed(&mut self, endpoint: PeerEndpoint, why: String, cx: &mut Context) {
        cx.counts.failed_dials += 1;
        if self.book.failed(&endpoint, cx.now.boot, &mut cx.draw) == 1 && cx.own.rules.peers.contains(&endpoint) {
            cx.tell(Notice::Unreachable { endpoint, why });
        }
    }

    /// Sends the heartbeats that are due.
    pub(super) fn send_heartbeats(&mut self, cx: &mut Context) {
        let due = self.links.iter().filter(|(_, link)| link.pulse.next_beat <= cx.now.boot);
        let due: Vec<LinkId> = due.map(|(id, _)| *id).collect();
        if !due.is_empty() {
            self.beat(due, cx);
        }
    }

    /// Sends a heartbeat on these links.
    pub(super) fn beat(&mut self, links: Vec<LinkId>, cx: &mut Context) {
        for link in &links {
            if let Some(link) = self.links.get_mut(link) {
                link.pulse.next_beat = cx.now.boot.plus(cx.own.rules.heartbeat_interval_ms);
            }
        }
        let message = cx.control(MessageBody::heartbeat(cx.own.rules.listen.clone()));
        self.send(links, message, cx);
    }

    /// Tells a new neighbour where others can be dialled.
    pub(super) fn send_addresses(&self, link: LinkId, cx: &mut Context) {
        let Some(known) = self.links.get(&link) else { return };
        let (to, is_here) = (known.peer, known.remote.is_loopback());
        let mut endpoints = self.book.addresses_of(|peer| peer != to && self.is_linked(peer));
        // What is only good on this machine is of no use elsewhere.
        endpoints.retain(|endpoint| is_here || !is_loopback(endpoint));
        let message = cx.control(MessageBody::PeerList(endpoints));
        self.send(vec![link], message, cx);
    }

    /// One message to some links, each in the form it wants.
    pub(super) fn send(&self, mut links: Vec<LinkId>, message: MeshMessage, cx: &mut Context) {
        links.retain(|id| self.links.contains_key(id));
        cx.counts.sent.add(Kind::of(&message.body), links.len());
        let form_of = |id: &LinkId| self.links.get(id).map(|link| link.form).unwrap_or_default();
        // Mostly all want the same.
        while let Some(form) = links.first().map(form_of) {
            let others: Vec<LinkId> = links.extract_if(.., |id| form_of(id) != form).collect();
            if others.is_empty() {
                cx.out.push(Action::Send { links, message, form });
                return;
            }
            cx.out.push(Action::Send { links: std::mem::replace(&mut links, others), message: message.clone(), form });
        }
    }
}

fn is_loopback(endpoint: &PeerEndpoint) -> bool {
    endpoint.host() == "localhost" || endpoint.host().parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
