//! One peer's part in the chat, on all its links, as a pure state machine: an event, the time and a draw in, actions out.
//!
//! It decides who is dialled, who stays linked, what is passed on to whom, what was heard before and what the person is
//! told. It knows no sockets, bytes, files, clocks or threads; a link knows those, and nothing of this.

mod book;
mod chat;
mod contacts;
mod counts;
mod crossing;
mod draw;
mod entry;
mod event;
mod history;
mod late;
mod limit;
mod links;
mod neighbours;
mod notice;
mod passing;
mod rules;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::mesh::{Body, Message};
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::profile::Profile;
use rollcall_core::BootMs;

pub use contacts::Known;
pub use counts::{Counts, Kind, Kinds};
pub use draw::Draw;
pub use entry::{Author, Entry, lan_number};
pub use event::{Action, Event, LinkId, Now};
pub use history::History;
pub use notice::{Contact, Notice, Via};
pub use rules::{LAN_PORT, LanRules, Rules};
pub use seen::Seen;

use seen::Forgotten;

use book::Book;
use crossing::Crossing;
use late::Late;
use links::Link;
use neighbours::Neighbours;
use rules::MAX_SENDERS;

type Actions = Vec<Action>;

/// Numbers of what is no chat stand above this bit, so that the numbers of a run's chat follow each other without gaps.
/// Numbers stay below 2^53, which every JSON reader keeps exactly.
const CONTROL_NUMBERS: u64 = 1 << 52;

/// Chat of this peer's own is numbered below this, with room for whatever it will say. A higher number under its id was made
/// up by somebody.
const HIGHEST_CHAT: u64 = CONTROL_NUMBERS - (1 << 40);

/// One peer.
///
/// Invariant: `by_peer` names exactly one link of each linked peer, and every link is named.
#[derive(Clone, Debug)]
pub struct Engine {
    rules: Rules,
    profile: Option<Profile>,
    next_chat: u64,
    next_control: u64,
    senders: BTreeMap<PeerId, Sender>,
    /// Those who were among the senders and made room.
    forgotten: Forgotten,
    history: History,
    crossing: Crossing,
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<PeerId, LinkId>,
    book: Book,
    neighbours: Option<Neighbours>,
    /// What left the history lately.
    late: Late,
    /// When neighbours are told of what they were spared.
    told_at: BootMs,
    counts: Counts,
    wake_at: BootMs,
}

/// What is known of somebody who said something on the mesh, directly or not.
#[derive(Clone, Debug)]
struct Sender {
    seen: Seen,
    name: Option<Nickname>,
    profile: Option<Profile>,
    heard_at: BootMs,
    /// The link by which its chat comes; the others spare this peer.
    source: Option<LinkId>,
}

impl Engine {
    /// A peer that starts now, with what it kept of earlier runs, oldest first. Feed it [`Event::Woke`] at once.
    #[must_use]
    pub fn new(rules: Rules, kept: Vec<Entry>, now: Now) -> Self {
        // Microseconds: nobody says as much in a second. So the numbers of the next run are above those of this one.
        let clock = u64::try_from(now.unix_s).unwrap_or(0).saturating_mul(1_000_000) % CONTROL_NUMBERS;
        let mut book = Book::default();
        for endpoint in &rules.peers {
            book.keep(endpoint.clone(), now.boot);
        }
        let mut engine = Self {
            profile: None,
            next_chat: clock + 1,
            next_control: CONTROL_NUMBERS | clock,
            senders: BTreeMap::new(),
            forgotten: Forgotten::default(),
            history: History::new(rules.history_size),
            crossing: Crossing::default(),
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            book,
            neighbours: rules.lan.clone().map(|lan| Neighbours::new(lan, now.boot)),
            late: Late::default(),
            told_at: BootMs::NEVER,
            counts: Counts::default(),
            wake_at: now.boot,
            rules,
        };
        for entry in kept {
            engine.remember(entry, now.boot);
        }
        engine
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: Event, now: Now, mut draw: Draw) -> Vec<Action> {
        let mut out = Actions::new();
        let is_chat = match &event {
            Event::Heard { message, .. } => matches!(message.body, Body::Chat(_)),
            Event::Posted(_) => true,
            _ => false,
        };
        match event {
            Event::Woke => {}
            Event::Linked { link, peer, dialled, remote } => {
                self.linked(link, Link::new(peer, dialled, remote, now.boot), now, &mut draw, &mut out);
            }
            Event::DialFailed { endpoint, why } => self.dial_failed(endpoint, why, now, &mut draw, &mut out),
            Event::Unlinked { link, why } => self.unlinked(link, &why, now, &mut draw, &mut out),
            Event::Heard { link, message, text_times } => {
                self.heard(link, message, text_times, now, &mut draw, &mut out);
            }
            Event::Told(endpoints) => {
                for endpoint in endpoints {
                    self.book.learn(endpoint, None, now.boot, &mut draw);
                }
            }
            Event::HeardDatagram { from, shared, datagram, dialect } => {
                self.heard_datagram(from, shared, datagram, dialect, now, &mut out);
            }
            Event::Posted(text) => self.post(text, now, &mut out),
            Event::Whispered { to, text } => self.whisper(&to, text, now, &mut out),
            Event::Introduced(profile) => self.introduce(profile, now, &mut out),
            Event::Listed => self.ask_neighbours(now, &mut out),
            Event::Left => self.send_what_is_untold(&mut out),
        }
        // A chat moves no deadline but its own, and that of its link's silence, which moves away: waking early does no harm.
        if !is_chat || now.boot >= self.wake_at {
            self.pass_time(now, &mut draw, &mut out);
        }
        out
    }

    /// Chat came of which only the sender and the number are known yet: takes it in, if it was heard before and tells
    /// nothing else. Otherwise it must be read and fed as [`Event::Heard`]. Either way the engine comes to the same.
    #[must_use]
    pub fn hears_again(&mut self, link: LinkId, sender: PeerId, number: u64, now: BootMs) -> bool {
        let is_new = |known: &Sender| !known.seen.contains(number);
        if self.senders.get(&sender).is_some_and(is_new) {
            return false;
        }
        // What a neighbour says itself tells more of it.
        if self.links.get(&link).is_none_or(|known| known.peer == sender) {
            return false;
        }
        if !self.is_source_chosen(link, sender) || !self.was_heard(link, sender, number, now) {
            return false;
        }
        if let Some(known) = self.links.get_mut(&link) {
            known.heard_at = now;
        }
        self.counts.received.add(Kind::Chat, 1);
        true
    }

    /// When [`Event::Woke`] is due. An earlier one does no harm.
    #[must_use]
    pub fn wake_at(&self) -> BootMs {
        self.wake_at
    }

    /// Who this peer is.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What was said to everybody, as far as it is remembered.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What happened how often since the start.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many peers of the mesh are linked.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// How many peers of the LAN are there; `None` if this one takes no part in it.
    #[must_use]
    pub fn lan_count(&self) -> Option<usize> {
        self.neighbours.as_ref().map(|lan| lan.peers.len())
    }

    /// How many addresses of the mesh are remembered.
    #[must_use]
    pub fn address_count(&self) -> usize {
        self.book.len()
    }

    /// Whether somebody should be at the address: it is configured, or somebody was there or said to be.
    #[must_use]
    pub fn expects(&self, endpoint: &Endpoint) -> bool {
        self.book.expects(endpoint)
    }

    /// Does what is due, and finds out when something is due next.
    fn pass_time(&mut self, now: Now, draw: &mut Draw, out: &mut Actions) {
        self.end_silent_links(now, draw, out);
        self.send_heartbeats(now, out);
        self.dial_due(now, out);
        self.pass_lan_time(now, out);
        self.forget_what_is_late(now);
        self.ask_for_what_is_missing(now, out);
        if self.told_at <= now.boot {
            self.tell_what_is_here(now, out);
        }
        let links = self.links.values().map(|link| link.next_at(&self.rules)).min().unwrap_or(BootMs::NEVER);
        let room = self.links.len() + self.book.dialling() < self.rules.max_connections;
        let dials = if room { self.book.next_at(|peer| self.by_peer.contains_key(&peer)) } else { BootMs::NEVER };
        let lan = self.neighbours.as_ref().map_or(BootMs::NEVER, Neighbours::next_at);
        self.wake_at = links.min(dials).min(lan).min(self.told_at);
    }

    /// A message of this peer that is no chat.
    fn control(&mut self, body: Body, now: Now) -> Message {
        self.next_control += 1;
        let name = Some(self.rules.name.clone());
        Message { sender: self.rules.id, number: self.next_control, said_at: now.unix_s, name, body }
    }

    /// This peer has said something with this number, in an earlier run.
    fn has_said(&mut self, number: u64) {
        if number < HIGHEST_CHAT {
            self.next_chat = self.next_chat.max(number + 1);
        }
    }

    /// The sender's entry; whoever was silent longest makes room for somebody new.
    fn sender(&mut self, id: PeerId, now: BootMs) -> &mut Sender {
        if !self.senders.contains_key(&id) && self.senders.len() >= MAX_SENDERS {
            let idle = self.senders.iter().filter(|(id, _)| !self.by_peer.contains_key(id));
            if let Some(oldest) = idle.min_by_key(|(_, sender)| sender.heard_at).map(|(id, _)| *id) {
                let highest = self.senders.remove(&oldest).and_then(|sender| sender.seen.highest());
                // Copies of what it said may be on their way still. Each would be new again, and with many senders make
                // room for itself and go round for ever.
                if let Some(highest) = highest {
                    self.forgotten.insert(oldest, highest);
                }
            }
        }
        let seen = || {
            let mut seen = Seen::new(self.rules.dedup_cache_size);
            if let Some(highest) = self.forgotten.highest(id) {
                seen.forget_below(highest.saturating_add(1));
            }
            seen
        };
        let fresh = || Sender { seen: seen(), name: None, profile: None, heard_at: now, source: None };
        self.senders.entry(id).or_insert_with(fresh)
    }

    /// Adds what was said to the history; `first` if it was there already as somebody else's on the other link. It stays
    /// once, as the mesh's, whose number neighbours know it by. Returns what made room.
    fn add_to_history(&mut self, entry: Arc<Entry>, first: Option<Author>) -> Option<Arc<Entry>> {
        match (&entry.author, first) {
            (Author::Lan(_), Some(Author::Mesh(_))) => return None,
            (Author::Mesh(_), Some(lan @ Author::Lan(_))) => self.history.remove(&lan, entry.lan_number()),
            _ => {}
        }
        self.history.add(entry)
    }

    /// Takes in what an earlier run kept.
    fn remember(&mut self, entry: Entry, now: BootMs) {
        let first = self.crossing.heard(entry.lan_number(), &entry.text, &entry.author);
        if let Author::Mesh(sender) = entry.author {
            let known = self.sender(sender, now);
            known.seen.insert(entry.number);
            known.name = entry.name.clone().or(known.name.take());
            if sender == self.rules.id {
                self.has_said(entry.number);
            }
        }
        if let Some(gone) = self.add_to_history(entry.into(), first)
            && let Author::Mesh(sender) = gone.author
        {
            // What was kept and made room was heard: others may have it still.
            self.sender(sender, now).seen.forget_below(gone.number.saturating_add(1));
        }
    }
}
