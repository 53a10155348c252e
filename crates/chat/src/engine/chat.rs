//! What is said to everybody, and to one: numbered, remembered, shown once, passed on to whom it did not come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::contacts::mesh_contact;
use super::entry::lan_number;
use super::entry::{Author, Entry};
use super::event::{Action, LinkId, Now};
use super::notice::Notice;
use super::{Actions, Engine};
use crate::mesh::{Body, Form, Message, Runs};
use crate::peer_id::PeerId;
use crate::profile::Profile;
use crate::text::MAX_TEXT_BYTES;
use rollcall_core::BootMs;

impl Engine {
    /// Chat of the mesh: flooded over the links, each message over each link at most once each way.
    pub(super) fn heard_chat(&mut self, link: LinkId, entry: Entry, now: Now, out: &mut Actions) {
        let Author::Mesh(id) = entry.author else { return };
        let number = entry.number;
        // Asked first: what makes room for a new sender must not be a repetition.
        if self.was_heard(link, id, number, now.boot) {
            self.choose_source(link, id, false, now, out);
            return;
        }
        let sender = self.sender(id, now.boot);
        sender.heard_at = now.boot;
        sender.seen.insert(number);
        if entry.name.is_some() {
            sender.name.clone_from(&entry.name);
        }
        let from = mesh_contact(id, Some((sender.name.as_ref(), sender.profile.as_ref())));
        let is_chosen = sender.source == Some(link);
        if let Some(link) = self.links.get_mut(&link) {
            link.learned = true;
        }
        if !is_chosen {
            self.choose_source(link, id, true, now, out);
        }
        // Only with a LAN, now or in an earlier run, can it have come by another way.
        let may_cross = self.neighbours.is_some() || self.crossing.has_lan();
        let first = may_cross.then(|| self.crossing.heard(entry.lan_number(), &entry.text, &entry.author)).flatten();
        if let (Some(Author::Lan(user)), Some(neighbours)) = (&first, &mut self.neighbours) {
            neighbours.is_peer(user, id);
        }
        if id == self.rules.id {
            // Said in an earlier run that kept nothing, or whose clock was ahead.
            self.has_said(number);
        } else if first.is_none() {
            self.counts.posts_in += 1;
            out.push(Action::Tell(Notice::Post {
                from,
                text: entry.text.clone(),
                said_at: entry.said_at,
                number: number.to_string(),
            }));
        } else {
            self.counts.duplicates += 1;
        }
        let entry = Arc::new(entry);
        let gone = self.add_to_history(Arc::clone(&entry), first);
        self.keep_for_late_questions(gone, now);
        self.pass_on(link, id, &entry, now, out);
        out.push(Action::Keep(entry));
    }

    /// Whether chat was heard before; then that is all that it tells, and it is noted.
    pub(super) fn was_heard(&mut self, link: LinkId, id: PeerId, number: u64, now: BootMs) -> bool {
        match self.senders.get_mut(&id) {
            Some(sender) if sender.seen.contains(number) => {
                sender.heard_at = now;
            }
            None if self.forgotten.has(id, number) => {
                if let Some(from) = self.links.get_mut(&link) {
                    from.repeats(id);
                }
            }
            _ => return false,
        }
        self.counts.duplicates += 1;
        true
    }

    /// The person says something to everybody.
    pub(super) fn post(&mut self, text: String, now: Now, out: &mut Actions) {
        if text.len() > MAX_TEXT_BYTES {
            out.push(refused(format!("a message of {} bytes is too long: at most {MAX_TEXT_BYTES}", text.len())));
            return;
        }
        self.counts.posts_out += 1;
        let (id, number) = (self.rules.id, self.next_chat);
        self.next_chat += 1;
        let name = Some(self.rules.name.clone());
        let author = Author::Mesh(id);
        self.sender(id, now.boot).seen.insert(number);
        let entry =
            Entry { author: author.clone(), name: name.clone(), number, said_at: now.unix_s, text: text.clone() };
        let entry = Arc::new(entry);
        let gone = self.history.add(Arc::clone(&entry));
        self.keep_own_for_late_questions(gone, now);
        let neighbours = if self.neighbours.is_some() {
            let lan_id = lan_number(id, number, &text);
            self.crossing.heard(lan_id, &text, &author);
            self.post_to_neighbours(&text, lan_id, now, out)
        } else {
            0
        };
        let message = Message { sender: id, number, said_at: now.unix_s, name, body: Body::Chat(text) };
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        let peers = links.len() + neighbours;
        self.warn_of_length(&message, out);
        self.send(links, message, out);
        out.push(Action::Keep(entry));
        out.push(Action::Tell(Notice::Sent { peers }));
    }

    /// Says so if some neighbours cannot take in a message this long.
    fn warn_of_length(&self, message: &Message, out: &mut Actions) {
        let plain = self.links.values().filter(|link| !link.form.extended).count();
        if plain > 0 && message.write(Form::default()).is_none() {
            out.push(refused(format!("{plain} peers take no message this long; the others get it")));
        }
    }

    /// The person says something to one peer of the mesh.
    pub(super) fn whisper_on_mesh(&mut self, to: PeerId, text: String, now: Now, out: &mut Actions) {
        let link = self.by_peer.get(&to).copied();
        let Some(link) = link.filter(|link| self.links.get(link).is_some_and(|link| link.form.extended)) else {
            let uid = self.contact(to).uid;
            out.push(refused(format!(
                "{uid} is a peer that knows no direct messages, or has only just come; POST reaches all"
            )));
            return;
        };
        let message = self.control(Body::Direct { to, text }, now);
        self.send(vec![link], message, out);
        out.push(Action::Tell(Notice::SentTo { to: self.contact(to) }));
    }

    /// The person says who this peer is.
    pub(super) fn introduce(&mut self, profile: Profile, now: Now, out: &mut Actions) {
        self.profile = Some(profile.clone());
        let neighbours = self.introduce_to_neighbours(&profile, now, out);
        let extended = self.links.iter().filter(|(_, link)| link.form.extended);
        let links: Vec<LinkId> = extended.map(|(id, _)| *id).collect();
        let peers = links.len() + neighbours;
        let message = self.control(Body::Profile(profile), now);
        self.send(links, message, out);
        out.push(Action::Tell(Notice::Sent { peers }));
    }

    /// Gives a neighbour the next part of what it has not heard.
    pub(super) fn answer_history(&mut self, link: LinkId, have: &BTreeMap<PeerId, Runs>, now: Now, out: &mut Actions) {
        let Some(known) = self.links.get_mut(&link) else { return };
        known.sparing.is_asked_for_all();
        let form = known.form;
        let (part, more) = self.history.missing(have, self.late.missing(have));
        let messages: Vec<Message> = part.into_iter().filter_map(as_message).collect();
        let mut bytes = 0;
        let is_in_room = |message: &&Message| {
            let is_first = bytes == 0;
            bytes += message.write(form).map_or(0, |bytes| bytes.len());
            is_first || bytes <= self.rules.answer_bytes
        };
        let count = messages.iter().take_while(is_in_room).count();
        let more = more || count < messages.len();
        for message in messages.into_iter().take(count) {
            self.send(vec![link], message, out);
        }
        if let Some(known) = self.links.get_mut(&link) {
            known.sparing.has_answered(more, now.boot);
        }
        let end = self.control(Body::HistoryEnd { more }, now);
        self.send(vec![link], end, out);
    }
}

pub(super) fn as_message(entry: &Entry) -> Option<Message> {
    let Author::Mesh(sender) = entry.author else { return None };
    let body = Body::Chat(entry.text.clone());
    Some(Message { sender, number: entry.number, said_at: entry.said_at, name: entry.name.clone(), body })
}

pub(super) fn refused(why: impl Into<String>) -> Action {
    Action::Tell(Notice::Refused { why: why.into() })
}
