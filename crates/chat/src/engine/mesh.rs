//! Peers of the mesh: links that come and end, and what neighbours tell each other on them.

use super::context::Context;
use super::counts::Kind;
use super::entry::{Author, Entry};
use super::event::{Action, LinkId};
use super::history::History;
use super::link::Link;
use super::mesh_links::MeshLinks;
use super::notice::{Contact, Notice};
use super::plumtree::Plumtree;
use super::rules::Rules;
use super::senders::Sender;
use crate::mesh::{LAZY_PUSH, MeshMessage, MessageBody, MessageFormat};
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

/// When somebody who accepts links and ends them at once has done so as often in a row, the person is told. Once may be two
/// that dialled each other at the same moment.
const TELLING_FAILURES: u32 = 2;

/// The links, and what comes by them.
#[derive(Clone, Debug)]
pub(super) struct Mesh {
    pub(super) links: MeshLinks,
    pub(super) tree: Plumtree,
}

impl Mesh {
    /// No links yet.
    pub(super) fn new(rules: &Rules, now: BootMs) -> Self {
        Self { links: MeshLinks::new(&rules.peers, now), tree: Plumtree::new(rules.dedup_cache_size) }
    }

    /// When something is due next.
    pub(super) fn next_at(&self, rules: &Rules) -> BootMs {
        self.links.next_at(rules).min(self.tree.next_at())
    }

    /// The sender's entry; whoever was silent longest makes room for somebody new.
    pub(super) fn sender(&mut self, id: PeerId, now: BootMs) -> &mut Sender {
        self.tree.senders.entry(id, now, |peer| self.links.is_linked(peer))
    }

    /// How a peer is shown.
    pub(super) fn contact(&self, peer: PeerId) -> Contact {
        self.tree.senders.contact(peer)
    }

    /// A connection was greeted; whether it becomes a link.
    pub(super) fn linked(&mut self, link: LinkId, mut new: Link, cx: &mut Context) -> bool {
        let (peer, me) = (new.peer, cx.own.rules.id);
        if let Some(endpoint) = &new.dialled {
            self.links.book.reached(endpoint, peer);
        }
        if peer == me {
            if let Some(endpoint) = &new.dialled {
                self.links.book.is_mine(endpoint);
            }
            cx.out.push(Action::Close { link, why: "it leads to this program itself" });
            return false;
        }
        if let Some(old) = self.links.link_to(peer) {
            if !self.links.wins_over(&new, old, me) {
                cx.out.push(Action::Close { link, why: "there is a link to this peer already" });
                return false;
            }
            new.has_spoken = self.links.get(old).is_some_and(|old| old.has_spoken);
            self.tree.move_sources(old, link);
            cx.out.push(Action::Close { link: old, why: "another link to this peer took its place" });
        } else if self.links.len() >= cx.own.rules.max_connections && !self.end_speechless_link(cx) {
            self.links.book.lost(peer, false, cx.now.boot, &mut cx.draw);
            cx.out.push(Action::Close { link, why: "max_connections is reached" });
            return false;
        }
        self.links.insert(link, new);
        self.sender(peer, cx.now.boot);
        // First of all a heartbeat: it tells the other that this is a peer with the extension.
        self.links.beat(vec![link], cx);
        self.links.send_addresses(link, cx);
        true
    }

    /// Ends the link whose peer has been there for longest without a word, so that another can have its place; whether
    /// there is one.
    fn end_speechless_link(&mut self, cx: &mut Context) -> bool {
        let Some(link) = self.links.speechless(&cx.own.rules, cx.now.boot) else { return false };
        let why = "it never said a word, and another needs its place";
        cx.out.push(Action::Close { link, why });
        self.unlinked(link, why, cx);
        true
    }

    /// Ends the links on which no heartbeat came in time.
    pub(super) fn end_silent_links(&mut self, cx: &mut Context) {
        for link in self.links.silent(&cx.own.rules, cx.now.boot) {
            let why = "no heartbeat came in time";
            cx.out.push(Action::Close { link, why });
            cx.counts.silent_links += 1;
            self.unlinked(link, why, cx);
        }
    }

    /// A link has ended.
    pub(super) fn unlinked(&mut self, link: LinkId, why: &str, cx: &mut Context) {
        let Some(ended) = self.links.remove(link) else { return };
        cx.counts.lost_links += 1;
        self.links.book.lost(ended.peer, ended.has_spoken, cx.now.boot, &mut cx.draw);
        self.tree.replace_source(link, &mut self.links, cx);
        if let Some(endpoint) = ended.dialled.filter(|endpoint| cx.own.rules.peers.contains(endpoint))
            && !ended.has_spoken
            && self.links.book.failures(&endpoint) == TELLING_FAILURES
        {
            let why = format!("{why} before it said a word; it may have as many peers as it takes");
            cx.tell(Notice::Unreachable { endpoint, why });
        }
        if ended.has_spoken {
            cx.tell(Notice::Lost { peer: self.contact(ended.peer), why: why.to_owned() });
        }
    }

    /// A message came on a link. Returns the chat, which is not only for neighbours.
    pub(super) fn heard(
        &mut self,
        link: LinkId,
        message: MeshMessage,
        text_times: bool,
        history: &History,
        cx: &mut Context,
    ) -> Option<Entry> {
        // What was under way on a link that was closed is not lost: the link that took its place asks for it.
        let known = self.links.get_mut(link)?;
        cx.counts.received.add(Kind::of(&message.body), 1);
        known.pulse.heard_at = cx.now.boot;
        let (peer, remote) = (known.peer, known.remote);
        let is_own_word = message.sender == peer;
        if is_own_word {
            known.form.text_times |= text_times;
            let is_news = !std::mem::replace(&mut known.has_spoken, true);
            // With a chat it is taken in later.
            if message.name.is_some() && (is_news || !matches!(message.body, MessageBody::Chat(_))) {
                self.sender(peer, cx.now.boot).name.clone_from(&message.name);
            }
            if is_news {
                let dialled = self.links.get(link).and_then(|known| known.dialled.as_ref());
                let at = dialled.map_or_else(|| remote.to_string(), ToString::to_string);
                self.links.book.is_well(peer);
                cx.tell(Notice::Found { peer: self.contact(peer), at: Some(at) });
            }
        }
        match message.body {
            MessageBody::Chat(text) => {
                let MeshMessage { sender, number, said_at, name, .. } = message;
                Some(Entry { author: Author::Mesh(sender), name, number, said_at, text })
            }
            // All else is between neighbours, and counts only from the neighbour itself.
            body if is_own_word => {
                self.heard_neighbour(link, body, message.said_at, history, cx);
                None
            }
            _ => None,
        }
    }

    /// A neighbour tells this peer something.
    fn heard_neighbour(&mut self, link: LinkId, body: MessageBody, said_at: i64, history: &History, cx: &mut Context) {
        let Some(known) = self.links.get_mut(link) else { return };
        let (peer, remote) = (known.peer, known.remote);
        match body {
            MessageBody::Heartbeat { extension, listen } => {
                if let Some(listen) = listen {
                    self.links.book.learn(listen.seen_from(remote), Some(peer), cx.now.boot, &mut cx.draw);
                }
                self.heard_heartbeat(link, extension, cx);
            }
            MessageBody::PeerList(endpoints) => {
                for endpoint in endpoints {
                    self.links.book.learn(endpoint, None, cx.now.boot, &mut cx.draw);
                }
            }
            MessageBody::Direct { to, text } if to == cx.own.rules.id => {
                let from = self.contact(peer);
                cx.tell(Notice::Direct { from, text, said_at });
            }
            MessageBody::Profile(profile) => {
                let sender = self.sender(peer, cx.now.boot);
                if sender.profile.as_ref() != Some(&profile) {
                    sender.profile = Some(profile.clone());
                    cx.tell(Notice::Profile { from: self.contact(peer), profile, refused: None });
                }
            }
            MessageBody::HistoryRequest(have) => self.tree.answer_history(link, &have, history, &mut self.links, cx),
            MessageBody::Have(there) => self.tree.heard_what_is_there(link, there, &mut self.links, cx),
            MessageBody::Prune(author) => known.push.outgoing.is_pruned(author),
            MessageBody::HistoryEnd { more } => {
                // A neighbour that says "more" for ever and sends nothing new is not asked for ever.
                if known.push.incoming.is_answered(more) {
                    self.tree.ask_history(link, &mut self.links, cx);
                }
            }
            MessageBody::Chat(_) | MessageBody::Direct { .. } | MessageBody::Unknown => {}
        }
    }

    fn heard_heartbeat(&mut self, link: LinkId, extension: Option<u32>, cx: &mut Context) {
        let Some(known) = self.links.get_mut(link) else { return };
        known.pulse.beats = true;
        known.push.is_known = extension >= Some(LAZY_PUSH);
        if extension.is_none() || std::mem::replace(&mut known.form.extended, true) {
            return;
        }
        // When the link was made, those who came at the same moment had not told their addresses. By now the one that told its
        // own first is known, and the other learns of it.
        self.links.send_addresses(link, cx);
        self.tree.ask_history(link, &mut self.links, cx);
        if let Some(profile) = cx.own.profile.clone() {
            let message = cx.control(MessageBody::Profile(profile));
            self.links.send(vec![link], message, cx);
        }
    }

    /// Sends the person's chat to all neighbours; to how many.
    pub(super) fn post(&self, message: MeshMessage, cx: &mut Context) -> usize {
        let links: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        let count = links.len();
        self.warn_of_length(&message, cx);
        self.links.send(links, message, cx);
        count
    }

    /// Says so if some neighbours cannot take in a message this long.
    fn warn_of_length(&self, message: &MeshMessage, cx: &mut Context) {
        let plain = self.links.iter().filter(|(_, link)| !link.form.extended).count();
        if plain > 0 && message.write(MessageFormat::default()).is_none() {
            cx.refuse(format!("{plain} peers take no message this long; the others get it"));
        }
    }

    /// The person says something to one peer.
    pub(super) fn whisper(&self, to: PeerId, text: String, cx: &mut Context) {
        let link = self.links.link_to(to);
        let is_extended = |link: &LinkId| self.links.get(*link).is_some_and(|link| link.form.extended);
        let Some(link) = link.filter(is_extended) else {
            let uid = self.contact(to).uid;
            cx.refuse(format!(
                "{uid} is a peer that knows no direct messages, or has only just come; POST reaches all"
            ));
            return;
        };
        let message = cx.control(MessageBody::Direct { to, text });
        self.links.send(vec![link], message, cx);
        cx.tell(Notice::SentTo { to: self.contact(to) });
    }

    /// Sends the profile to each peer that knows profiles; to how many.
    pub(super) fn introduce(&self, profile: PeerProfile, cx: &mut Context) -> usize {
        let extended = self.links.iter().filter(|(_, link)| link.form.extended);
        let links: Vec<LinkId> = extended.map(|(id, _)| id).collect();
        let count = links.len();
        let message = cx.control(MessageBody::Profile(profile));
        self.links.send(links, message, cx);
        count
    }
}
