//! Plumtree: eager and lazy push of chat.
//!
//! In a mesh where all are linked with all, everybody has every message from its author, and whatever else comes of it is
//! read to be thrown away. So a peer that gets an author's chat on one link asks the others to spare it. They tell it every
//! few milliseconds which numbers they have, and it asks for what has not come. Whoever did not ask to be spared gets
//! everything at once. This is the lazy push of Plumtree (Leitão, Pereira and Rodrigues, *Epidemic Broadcast Trees*, 2007),
//! with a tree for each author; `prune` and `have` are its names.
//!
//! The receiver alone decides, since it alone knows its other ways: it keeps one link for each author that spares it
//! nothing. A question for history ends all that its sender is spared, at both ends of the link.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::context::Context;
use super::counts::{Counts, Kind};
use super::entry::{Author, Entry};
use super::event::{LinkId, Now};
use super::history::History;
use super::late::Late;
use super::lazy_push::{ASKED_AFTER_MS, Incoming, in_runs};
use super::mesh_links::MeshLinks;
use super::notice::Contact;
use super::senders::Senders;
use crate::mesh::{MeshMessage, MessageBody, SeqRanges};
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// What is here is told of within so long.
const TOLD_AFTER_MS: u64 = 20;

/// The trees of all authors, as far as this peer knows them: the source of each author's chat, and
/// what is still to be told.
#[derive(Clone, Debug)]
pub(super) struct Plumtree {
    pub(super) senders: Senders,
    /// What left the history lately.
    late: Late,
    /// When neighbours are told of what they were spared.
    told_at: BootMs,
}

impl Plumtree {
    /// Nobody was heard; at most `most_runs` runs of numbers will be remembered of a sender.
    pub(super) fn new(most_runs: usize) -> Self {
        Self { senders: Senders::new(most_runs), late: Late::default(), told_at: BootMs::NEVER }
    }

    /// When neighbours are told of what they were spared.
    pub(super) fn next_at(&self) -> BootMs {
        self.told_at
    }

    /// Does what is due.
    pub(super) fn pass_time(&mut self, links: &mut MeshLinks, cx: &mut Context) {
        self.forget_what_is_late(links, cx.now);
        self.ask_for_what_is_missing(links, cx);
        if self.told_at <= cx.now.boot {
            self.tell_what_is_here(links, cx);
        }
    }

    /// Chat came on a link: how its author is shown, if it is new.
    pub(super) fn heard(
        &mut self,
        link: LinkId,
        author: PeerId,
        entry: &Entry,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) -> Option<Contact> {
        // Asked first: what makes room for a new sender must not be a repetition.
        if self.was_heard(link, author, entry.number, links, cx.now.boot, cx.counts) {
            self.choose_source(link, author, false, links, cx);
            return None;
        }
        let sender = self.senders.entry(author, cx.now.boot, |peer| links.is_linked(peer));
        sender.heard_at = cx.now.boot;
        sender.seen.insert(entry.number);
        if entry.name.is_some() {
            sender.name.clone_from(&entry.name);
        }
        let from = sender.contact(author);
        let is_chosen = sender.source == Some(link);
        if let Some(link) = links.get_mut(link) {
            link.push.incoming.learned = true;
        }
        if !is_chosen {
            self.choose_source(link, author, true, links, cx);
        }
        Some(from)
    }

    /// Chat came of which only the sender and the number are known yet: takes it in, if it was heard before and tells
    /// nothing else.
    pub(super) fn hears_again(
        &mut self,
        link: LinkId,
        sender: PeerId,
        number: u64,
        links: &mut MeshLinks,
        now: BootMs,
        counts: &mut Counts,
    ) -> bool {
        if self.senders.get(sender).is_some_and(|known| !known.seen.contains(number)) {
            return false;
        }
        // What a neighbour says itself tells more of it.
        if links.get(link).is_none_or(|known| known.peer == sender) {
            return false;
        }
        if !self.is_source_chosen(link, sender, links) || !self.was_heard(link, sender, number, links, now, counts) {
            return false;
        }
        if let Some(known) = links.get_mut(link) {
            known.pulse.heard_at = now;
        }
        counts.received.add(Kind::Chat, 1);
        true
    }

    /// Whether chat was heard before; then that is all that it tells, and it is noted.
    fn was_heard(
        &mut self,
        link: LinkId,
        id: PeerId,
        number: u64,
        links: &mut MeshLinks,
        now: BootMs,
        counts: &mut Counts,
    ) -> bool {
        if let Some(sender) = self.senders.get_mut(id) {
            if !sender.seen.contains(number) {
                return false;
            }
            sender.heard_at = now;
        } else if self.senders.forgotten.has(id, number) {
            if let Some(from) = links.get_mut(link) {
                from.push.incoming.repeats(id);
            }
        } else {
            return false;
        }
        counts.duplicates += 1;
        true
    }

    /// Passes new chat on to everybody but its author and those on the link that it came by.
    pub(super) fn pass_on(
        &mut self,
        from: LinkId,
        author: PeerId,
        entry: &Entry,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) {
        // What could not be asked for later must not only be told of.
        let may_spare = !self.late.is_full();
        let (mut at_once, mut is_full) = (Vec::new(), false);
        for (id, link) in links.iter_mut() {
            if id == from || link.peer == author {
                continue;
            }
            let outgoing = &mut link.push.outgoing;
            if may_spare && outgoing.spares(author) {
                is_full |= outgoing.tell_later(author, entry.number);
                self.told_at = self.told_at.min(cx.now.boot.plus(TOLD_AFTER_MS));
            } else {
                at_once.push(id);
            }
        }
        if !at_once.is_empty()
            && let Some(message) = as_message(entry)
        {
            links.send(at_once, message, cx);
        }
        if is_full {
            self.tell_what_is_here(links, cx);
        }
    }

    /// Keeps what has left the history, if a neighbour may have been told of it.
    pub(super) fn keep_for_late_questions(&mut self, gone: Option<Arc<Entry>>, links: &MeshLinks, now: Now) {
        let Some(gone) = gone else { return };
        if links.iter().any(|(_, link)| link.push.outgoing.may_ask(now.boot)) {
            self.late.add(gone, now.boot);
        }
    }

    /// Keeps what this peer said itself and has left the history, if a neighbour is owed the rest of an answer.
    pub(super) fn keep_own_for_late_questions(&mut self, gone: Option<Arc<Entry>>, links: &MeshLinks, now: Now) {
        if let Some(gone) = gone
            && is_anybody_owed(links, now)
        {
            self.late.add(gone, now.boot);
        }
    }

    /// Drops what left the history long ago, if nobody is owed the rest of an answer.
    fn forget_what_is_late(&mut self, links: &MeshLinks, now: Now) {
        if !is_anybody_owed(links, now) {
            self.late.forget_old(now.boot);
        }
    }

    /// Tells those who are spared what they were spared.
    fn tell_what_is_here(&mut self, links: &mut MeshLinks, cx: &mut Context) {
        self.told_at = BootMs::NEVER;
        for (link, numbers) in take_untold(links) {
            let message = cx.control(MessageBody::Have(in_runs(numbers)));
            links.send(vec![link], message, cx);
        }
    }

    /// This peer leaves, and cannot be asked later: what it would have told of is sent.
    pub(super) fn send_what_is_untold(&mut self, history: &History, links: &mut MeshLinks, cx: &mut Context) {
        for (link, numbers) in take_untold(links) {
            for (author, number) in numbers {
                let entry = history.get(author, number).or_else(|| self.late.get(author, number));
                if let Some(message) = entry.and_then(as_message) {
                    links.send(vec![link], message, cx);
                }
            }
        }
        self.told_at = BootMs::NEVER;
    }

    /// Gives a neighbour the next part of what it has not heard.
    pub(super) fn answer_history(
        &self,
        link: LinkId,
        have: &BTreeMap<PeerId, SeqRanges>,
        history: &History,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) {
        let Some(known) = links.get_mut(link) else { return };
        known.push.outgoing.is_asked_for_all();
        let form = known.form;
        let (part, more) = history.missing(have, self.late.missing(have));
        let messages: Vec<MeshMessage> = part.into_iter().filter_map(as_message).collect();
        let mut bytes = 0;
        let is_in_room = |message: &&MeshMessage| {
            let is_first = bytes == 0;
            bytes += message.write(form).map_or(0, |bytes| bytes.len());
            is_first || bytes <= cx.own.rules.answer_bytes
        };
        let count = messages.iter().take_while(is_in_room).count();
        let more = more || count < messages.len();
        for message in messages.into_iter().take(count) {
            links.send(vec![link], message, cx);
        }
        if let Some(known) = links.get_mut(link) {
            known.push.outgoing.has_answered(more, cx.now.boot);
        }
        let end = cx.control(MessageBody::HistoryEnd { more });
        links.send(vec![link], end, cx);
    }

    /// Asks the neighbour for what this peer has not heard.
    pub(super) fn ask_history(&self, link: LinkId, links: &mut MeshLinks, cx: &mut Context) {
        let incoming = links.get(link).map(|link| &link.push.incoming);
        let repeated = incoming.into_iter().flat_map(Incoming::repeated);
        let missing = incoming.map(Incoming::missing_authors).unwrap_or_default();
        let have = self.senders.question(repeated, &missing);
        if let Some(known) = links.get_mut(link) {
            known.push.incoming.learned = false;
            known.push.incoming.asks_for_all(cx.now.boot);
        }
        let message = cx.control(MessageBody::HistoryRequest(have));
        links.send(vec![link], message, cx);
    }

    /// A neighbour has this.
    pub(super) fn heard_what_is_there(
        &self,
        link: LinkId,
        there: BTreeMap<PeerId, SeqRanges>,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) {
        // Who only claims to have something is not asked time and again for nothing.
        let is_useful = links.get(link).is_some_and(|known| known.push.incoming.learned);
        for (author, runs) in there {
            let may_come = !is_useful || self.source_of(author, links).is_some();
            let asked_at = if may_come { cx.now.boot.plus(ASKED_AFTER_MS) } else { cx.now.boot };
            for run in runs {
                if !self.has_heard(author, run, cx.own.rules.id)
                    && let Some(known) = links.get_mut(link)
                {
                    known.push.incoming.waits_for(author, run, asked_at);
                }
            }
        }
    }

    /// Asks neighbours for what they have and this peer does not, after it was waited for.
    fn ask_for_what_is_missing(&self, links: &mut MeshLinks, cx: &mut Context) {
        let due = links.iter().filter(|(_, link)| link.push.incoming.next_at() <= cx.now.boot);
        let mut asked = BTreeSet::new();
        for link in due.map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(known) = links.get_mut(link) else { continue };
            let is_heard = |author, run| self.has_heard(author, run, cx.own.rules.id);
            if let Some(mut authors) = known.push.incoming.due(cx.now.boot, &asked, is_heard) {
                self.ask_history(link, links, cx);
                asked.append(&mut authors);
            }
        }
    }

    /// Chat of an author came on a link, new or not: decides whether it is heard there from now on, or is to be spared.
    fn choose_source(&mut self, link: LinkId, author: PeerId, is_new: bool, links: &mut MeshLinks, cx: &mut Context) {
        let source = self.source_of(author, links);
        let (Some(known), Some(sender)) = (links.get_mut(link), self.senders.get_mut(author)) else { return };
        let is_authors = known.peer == author;
        if source.is_none() {
            sender.source = Some(link);
            if known.push.incoming.is_spared(author) {
                self.ask_history(link, links, cx);
            }
        } else if is_new && (is_authors || known.push.incoming.was_asked_for(author)) {
            // Nobody has it sooner; or where it was heard until now it did not come.
            sender.source = Some(link);
        } else if source != Some(link) && !is_authors && known.push.could_spare(author) {
            if !known.push.incoming.prune(author) {
                // Most of them have long been silent: both ends begin anew.
                self.ask_history(link, links, cx);
                return;
            }
            let message = cx.control(MessageBody::Prune(author));
            links.send(vec![link], message, cx);
        }
    }

    /// Whether [`Plumtree::choose_source`] has nothing to do.
    fn is_source_chosen(&self, link: LinkId, author: PeerId, links: &MeshLinks) -> bool {
        // Nothing is chosen for those who are forgotten.
        if !self.senders.contains(author) {
            return true;
        }
        match self.source_of(author, links) {
            Some(source) if source == link => true,
            Some(_) => links.get(link).is_none_or(|known| !known.push.could_spare(author)),
            None => false,
        }
    }

    /// Another link to the same peer has taken the place of one.
    pub(super) fn move_sources(&mut self, from: LinkId, to: LinkId) {
        for sender in self.senders.iter_mut().filter(|sender| sender.source == Some(from)) {
            sender.source = Some(to);
        }
    }

    /// A link has ended: whoever spared this peer what it brought is asked for it.
    pub(super) fn replace_source(&self, ended: LinkId, links: &mut MeshLinks, cx: &mut Context) {
        let lost = self.senders.iter().filter(|(_, sender)| sender.source == Some(ended)).map(|(author, _)| author);
        let spares = |author| links.iter().find(|(_, link)| link.push.incoming.is_spared(author));
        let others: BTreeSet<LinkId> = lost.filter_map(spares).map(|(id, _)| id).collect();
        for other in others {
            self.ask_history(other, links, cx);
        }
    }

    /// The link by which the chat of an author comes.
    fn source_of(&self, author: PeerId, links: &MeshLinks) -> Option<LinkId> {
        self.senders.get(author)?.source.filter(|source| links.contains(*source))
    }

    /// Whether all of these numbers were heard, or count as heard.
    fn has_heard(&self, author: PeerId, run: (u64, u64), me: PeerId) -> bool {
        author == me || self.senders.has_heard(author, run)
    }
}

/// Whether a neighbour is owed the rest of an answer.
fn is_anybody_owed(links: &MeshLinks, now: Now) -> bool {
    links.iter().any(|(_, link)| link.push.outgoing.is_owed(now.boot))
}

/// What each neighbour is still to be told of; it counts as told from now on.
fn take_untold(links: &mut MeshLinks) -> Vec<(LinkId, Vec<(PeerId, u64)>)> {
    let untold = links.iter_mut().map(|(id, link)| (id, link.push.outgoing.take_untold()));
    untold.filter(|(_, numbers)| !numbers.is_empty()).collect()
}

fn as_message(entry: &Entry) -> Option<MeshMessage> {
    let Author::Mesh(sender) = entry.author else { return None };
    let body = MessageBody::Chat(entry.text.clone());
    Some(MeshMessage { sender, number: entry.number, said_at: entry.said_at, name: entry.name.clone(), body })
}
