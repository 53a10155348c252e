//! The links of the mesh: who is let in, which of two is kept, heartbeats, and what neighbours tell each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::contacts::mesh_contact;
use super::counts::Kind;
use super::draw::Draw;
use super::entry::{Author, Entry};
use super::event::{Action, LinkId, Now};
use super::notice::Notice;
use super::passing::Sparing;
use super::rules::{ASKED_RUNS, ASKED_RUNS_IN_ALL, MAX_REPEATED, MISSING_RUNS, Rules};
use super::{Actions, Engine, Sender};
use crate::endpoint::Endpoint;
use crate::mesh::{Body, Form, LAZY_PUSH, MAX_ASKED, Message, Runs};
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// When somebody who accepts links and ends them at once has done so as often in a row, the person is told. Once may be two
/// that dialled each other at the same moment.
const TELLING_FAILURES: u32 = 2;

/// One link.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    dialled: Option<Endpoint>,
    pub(super) remote: IpAddr,
    pub(super) form: Form,
    pub(super) heard_at: BootMs,
    /// Whether the peer itself said something, here or on the link whose place this took: then its name is known, and the
    /// person was told of it.
    has_spoken: bool,
    /// Whether the other end sends heartbeats; of one that never did, silence tells nothing.
    beats: bool,
    next_beat: BootMs,
    /// Whether chat came that was new since the last question for history.
    pub(super) learned: bool,
    /// Forgotten senders whose chat came again here: the next question names them.
    repeated: BTreeSet<PeerId>,
    pub(super) sparing: Sparing,
}

impl Link {
    pub(super) fn new(peer: PeerId, dialled: Option<Endpoint>, remote: IpAddr, now: BootMs) -> Self {
        Self {
            peer,
            dialled,
            remote,
            form: Form::default(),
            heard_at: now,
            has_spoken: false,
            beats: false,
            next_beat: now,
            learned: false,
            repeated: BTreeSet::new(),
            sparing: Sparing::default(),
        }
    }

    /// Chat of a forgotten sender came again. An answer that has nothing else is no reason to stop asking, since the next
    /// question leaves that out.
    pub(super) fn repeats(&mut self, sender: PeerId) {
        if self.repeated.len() < MAX_REPEATED && self.repeated.insert(sender) {
            self.learned = true;
        }
    }

    fn silent_at(&self, rules: &Rules) -> BootMs {
        if self.beats { self.heard_at.plus(rules.patience_ms()) } else { BootMs::NEVER }
    }

    pub(super) fn next_at(&self, rules: &Rules) -> BootMs {
        self.next_beat.min(self.silent_at(rules)).min(self.sparing.next_at())
    }
}

impl Engine {
    pub(super) fn linked(&mut self, link: LinkId, mut new: Link, now: Now, draw: &mut Draw, out: &mut Actions) {
        if let Some(endpoint) = &new.dialled {
            self.book.reached(endpoint, new.peer);
        }
        if new.peer == self.rules.id {
            if let Some(endpoint) = &new.dialled {
                self.book.is_mine(endpoint);
            }
            out.push(Action::Close { link, why: "it leads to this program itself" });
            return;
        }
        let replaced = self.by_peer.get(&new.peer).copied();
        if let Some(old) = replaced {
            if !self.wins_over(&new, old) {
                out.push(Action::Close { link, why: "there is a link to this peer already" });
                return;
            }
            new.has_spoken = self.links.remove(&old).is_some_and(|old| old.has_spoken);
            self.move_sources(old, link);
            out.push(Action::Close { link: old, why: "another link to this peer took its place" });
        } else if self.links.len() >= self.rules.max_connections && !self.end_speechless_link(now, draw, out) {
            self.book.lost(new.peer, false, now.boot, draw);
            out.push(Action::Close { link, why: "max_connections is reached" });
            return;
        }
        let peer = new.peer;
        self.by_peer.insert(peer, link);
        self.links.insert(link, new);
        self.look_for_announcement(peer);
        self.sender(peer, now.boot);
        // First of all a heartbeat: it tells the other that this is a peer with the extension.
        self.beat(vec![link], now, out);
        self.send_addresses(link, now, out);
    }

    /// Ends the link whose peer has been there for longest without a word, so that another can have its place; whether
    /// there is one. Until it had time for a heartbeat, nobody's silence tells anything.
    fn end_speechless_link(&mut self, now: Now, draw: &mut Draw, out: &mut Actions) -> bool {
        let patience_ms = self.rules.patience_ms();
        let is_useless = |link: &Link| !link.has_spoken && link.heard_at.plus(patience_ms) <= now.boot;
        let useless = self.links.iter().filter(|(_, link)| is_useless(link));
        let Some(link) = useless.min_by_key(|(_, link)| link.heard_at).map(|(id, _)| *id) else { return false };
        let why = "it never said a word, and another needs its place";
        out.push(Action::Close { link, why });
        self.unlinked(link, why, now, draw, out);
        true
    }

    /// Which of two links to one peer is kept. Both ends must come to the same end: of two that were dialled from opposite
    /// ends, the one dialled by the lower id; of two dialled from one end the newer, because who dialled knows that it lost
    /// the older.
    fn wins_over(&self, new: &Link, old: LinkId) -> bool {
        let Some(old) = self.links.get(&old) else { return true };
        let i_dialled = new.dialled.is_some();
        i_dialled == old.dialled.is_some() || i_dialled == (self.rules.id < new.peer)
    }

    pub(super) fn dial_failed(
        &mut self,
        endpoint: Endpoint,
        why: String,
        now: Now,
        draw: &mut Draw,
        out: &mut Actions,
    ) {
        self.counts.failed_dials += 1;
        if self.book.failed(&endpoint, now.boot, draw) == 1 && self.rules.peers.contains(&endpoint) {
            out.push(Action::Tell(Notice::Unreachable { endpoint, why }));
        }
    }

    pub(super) fn unlinked(&mut self, link: LinkId, why: &str, now: Now, draw: &mut Draw, out: &mut Actions) {
        let Some(ended) = self.links.remove(&link) else { return };
        self.counts.lost_links += 1;
        self.by_peer.remove(&ended.peer);
        self.book.lost(ended.peer, ended.has_spoken, now.boot, draw);
        self.replace_source(link, now, out);
        if let Some(endpoint) = ended.dialled.filter(|endpoint| self.rules.peers.contains(endpoint))
            && !ended.has_spoken
            && self.book.failures(&endpoint) == TELLING_FAILURES
        {
            let why = format!("{why} before it said a word; it may have as many peers as it takes");
            out.push(Action::Tell(Notice::Unreachable { endpoint, why }));
        }
        if ended.has_spoken {
            out.push(Action::Tell(Notice::Lost { peer: self.contact(ended.peer), why: why.to_owned() }));
        }
    }

    /// Messages of the mesh, from whatever link.
    pub(super) fn heard(
        &mut self,
        link: LinkId,
        message: Message,
        text_times: bool,
        now: Now,
        draw: &mut Draw,
        out: &mut Actions,
    ) {
        // What was under way on a link that was closed is not lost: the link that took its place asks for it.
        let Some(known) = self.links.get_mut(&link) else { return };
        self.counts.received.add(Kind::of(&message.body), 1);
        known.heard_at = now.boot;
        let (peer, remote) = (known.peer, known.remote);
        let is_own_word = message.sender == peer;
        if is_own_word {
            known.form.text_times |= text_times;
            let is_news = !std::mem::replace(&mut known.has_spoken, true);
            // With a chat it is taken in later.
            if message.name.is_some() && (is_news || !matches!(message.body, Body::Chat(_))) {
                self.sender(peer, now.boot).name.clone_from(&message.name);
            }
            if is_news {
                let dialled = self.links.get(&link).and_then(|known| known.dialled.as_ref());
                let at = dialled.map_or_else(|| remote.to_string(), ToString::to_string);
                self.book.is_well(peer);
                out.push(Action::Tell(Notice::Found { peer: self.contact(peer), at: Some(at) }));
            }
        }
        match message.body {
            Body::Chat(text) => {
                let Message { sender, number, said_at, name, .. } = message;
                self.heard_chat(link, Entry { author: Author::Mesh(sender), name, number, said_at, text }, now, out);
            }
            // All else is between neighbours, and counts only from the neighbour itself.
            _ if !is_own_word => {}
            Body::Heartbeat { extension, listen } => {
                if let Some(listen) = listen {
                    self.book.learn(listen.seen_from(remote), Some(peer), now.boot, draw);
                }
                self.heard_heartbeat(link, extension, now, out);
            }
            Body::PeerList(endpoints) => {
                for endpoint in endpoints {
                    self.book.learn(endpoint, None, now.boot, draw);
                }
            }
            Body::Direct { to, text } if to == self.rules.id => {
                let from = self.contact(peer);
                out.push(Action::Tell(Notice::Direct { from, text, said_at: message.said_at }));
            }
            Body::Profile(profile) => {
                let sender = self.sender(peer, now.boot);
                if sender.profile.as_ref() != Some(&profile) {
                    sender.profile = Some(profile.clone());
                    out.push(Action::Tell(Notice::Profile { from: self.contact(peer), profile, refused: None }));
                }
            }
            Body::HistoryRequest(have) => self.answer_history(link, &have, now, out),
            Body::Have(there) => self.heard_what_is_there(link, there, now),
            Body::Prune(author) => {
                if let Some(known) = self.links.get_mut(&link) {
                    known.sparing.is_pruned(author);
                }
            }
            Body::HistoryEnd { more } => {
                // A neighbour that says "more" for ever and sends nothing new is not asked for ever.
                let Some(known) = self.links.get_mut(&link) else { return };
                let is_new = known.learned;
                if known.sparing.is_answered(is_new, more) {
                    self.ask_history(link, now, out);
                }
            }
            Body::Direct { .. } | Body::Unknown => {}
        }
    }

    fn heard_heartbeat(&mut self, link: LinkId, extension: Option<u32>, now: Now, out: &mut Actions) {
        let Some(known) = self.links.get_mut(&link) else { return };
        known.beats = true;
        known.sparing.is_known = extension >= Some(LAZY_PUSH);
        if extension.is_none() || std::mem::replace(&mut known.form.extended, true) {
            return;
        }
        // When the link was made, those who came at the same moment had not told their addresses. By now the one that told its
        // own first is known, and the other learns of it.
        self.send_addresses(link, now, out);
        self.ask_history(link, now, out);
        if let Some(profile) = self.profile.clone() {
            let message = self.control(Body::Profile(profile), now);
            self.send(vec![link], message, out);
        }
    }

    /// Asks the neighbour for what this peer has not heard.
    pub(super) fn ask_history(&mut self, link: LinkId, now: Now, out: &mut Actions) {
        let mut heard: Vec<(&PeerId, &Sender)> = self.senders.iter().collect();
        heard.retain(|(_, sender)| sender.seen.highest().is_some());
        heard.sort_by_key(|(_, sender)| Reverse(sender.heard_at));
        let repeated = self.links.get(&link).into_iter().flat_map(|link| &link.repeated);
        let forgotten = repeated.filter(|sender| !self.senders.contains_key(sender));
        let forgotten = forgotten.filter_map(|sender| Some((*sender, vec![(0, self.forgotten.highest(*sender)?)])));
        let mut have: BTreeMap<PeerId, Runs> = forgotten.collect();
        // With many senders there is room for their newest runs only. What is older counts as heard then: so those of whom
        // something is missing come first.
        let missing = self.links.get(&link).map(|link| link.sparing.missing_authors()).unwrap_or_default();
        heard.sort_by_key(|(id, _)| !missing.contains(id));
        heard.truncate(MAX_ASKED - have.len());
        let reserved = if missing.is_empty() { 0 } else { ASKED_RUNS_IN_ALL - MAX_ASKED };
        let (mut room, most) = (reserved, (ASKED_RUNS_IN_ALL - reserved) / heard.len().max(1));
        have.extend(heard.into_iter().map(|(id, sender)| {
            let most = if missing.contains(id) { MISSING_RUNS.min(room) } else { most.min(ASKED_RUNS) };
            let runs = sender.seen.newest_runs(most.max(1));
            room = room.saturating_sub(runs.len());
            (*id, runs)
        }));
        if let Some(known) = self.links.get_mut(&link) {
            known.learned = false;
            known.sparing.asks_for_all(now.boot);
        }
        let message = self.control(Body::HistoryRequest(have), now);
        self.send(vec![link], message, out);
    }

    /// Tells a new neighbour where others can be dialled.
    fn send_addresses(&mut self, link: LinkId, now: Now, out: &mut Actions) {
        let Some(known) = self.links.get(&link) else { return };
        let (to, is_here) = (known.peer, known.remote.is_loopback());
        let mut endpoints = self.book.addresses_of(|peer| peer != to && self.by_peer.contains_key(&peer));
        // What is only good on this machine is of no use elsewhere.
        endpoints.retain(|endpoint| is_here || !is_loopback(endpoint));
        let message = self.control(Body::PeerList(endpoints), now);
        self.send(vec![link], message, out);
    }

    pub(super) fn send_heartbeats(&mut self, now: Now, out: &mut Actions) {
        let due: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.next_beat <= now.boot).map(|(id, _)| *id).collect();
        if !due.is_empty() {
            self.beat(due, now, out);
        }
    }

    fn beat(&mut self, links: Vec<LinkId>, now: Now, out: &mut Actions) {
        for link in &links {
            if let Some(link) = self.links.get_mut(link) {
                link.next_beat = now.boot.plus(self.rules.heartbeat_interval_ms);
            }
        }
        let message = self.control(Body::heartbeat(self.rules.listen.clone()), now);
        self.send(links, message, out);
    }

    pub(super) fn end_silent_links(&mut self, now: Now, draw: &mut Draw, out: &mut Actions) {
        let is_silent = |link: &Link| link.silent_at(&self.rules) <= now.boot;
        let silent: Vec<LinkId> = self.links.iter().filter(|(_, link)| is_silent(link)).map(|(id, _)| *id).collect();
        for link in silent {
            let why = "no heartbeat came in time";
            out.push(Action::Close { link, why });
            self.counts.silent_links += 1;
            self.unlinked(link, why, now, draw, out);
        }
    }

    pub(super) fn dial_due(&mut self, now: Now, out: &mut Actions) {
        let room = self.rules.max_connections.saturating_sub(self.links.len() + self.book.dialling());
        let due = self.book.due(now.boot, room, |peer| self.by_peer.contains_key(&peer));
        self.counts.dials += due.len() as u64;
        self.counts.redials += due.iter().filter(|endpoint| self.book.was_tried(endpoint)).count() as u64;
        out.extend(due.into_iter().map(Action::Dial));
    }

    /// One message to some links, each in the form it wants.
    pub(super) fn send(&mut self, mut links: Vec<LinkId>, message: Message, out: &mut Actions) {
        links.retain(|id| self.links.contains_key(id));
        self.counts.sent.add(Kind::of(&message.body), links.len());
        let form_of = |id: &LinkId| self.links.get(id).map(|link| link.form).unwrap_or_default();
        // Mostly all want the same.
        while let Some(form) = links.first().map(form_of) {
            let others: Vec<LinkId> = links.extract_if(.., |id| form_of(id) != form).collect();
            if others.is_empty() {
                out.push(Action::Send { links, message, form });
                return;
            }
            out.push(Action::Send { links: std::mem::replace(&mut links, others), message: message.clone(), form });
        }
    }

    pub(super) fn contact(&self, peer: PeerId) -> super::Contact {
        mesh_contact(peer, self.senders.get(&peer).map(|sender| (sender.name.as_ref(), sender.profile.as_ref())))
    }
}

fn is_loopback(endpoint: &Endpoint) -> bool {
    endpoint.host() == "localhost" || endpoint.host().parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
