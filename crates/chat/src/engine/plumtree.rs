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

use super::chat_entry::{Author, ChatEntry};
use super::context::Context;
use super::counters::{Counters, MessageKind};
use super::event::{LinkId, Now};
use super::evicted_entries::EvictedEntries;
use super::history::History;
use super::lazy_push::{LazyReceive, REQUEST_DELAY_MS, to_ranges};
use super::mesh_authors::MeshAuthors;
use super::mesh_links::MeshLinks;
use super::notice::Contact;
use crate::mesh::{MeshMessage, MessageBody, SeqRanges};
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// What is here is told of within so long.
const HAVE_DELAY_MS: u64 = 20;

/// The trees of all authors, as far as this peer knows them: the source of each author's chat, and
/// what is still to be told.
#[derive(Clone, Debug)]
pub(super) struct Plumtree {
    pub(super) authors: MeshAuthors,
    /// What left the history lately.
    evicted: EvictedEntries,
    /// When neighbours are told of what they were spared.
    send_haves_at: BootMs,
}

impl Plumtree {
    /// Nobody was heard; at most `max_ranges` runs of numbers will be remembered of a sender.
    pub(super) fn new(max_ranges: usize) -> Self {
        Self { authors: MeshAuthors::new(max_ranges), evicted: EvictedEntries::default(), send_haves_at: BootMs::NEVER }
    }

    /// When neighbours are told of what they were spared.
    pub(super) fn next_deadline(&self) -> BootMs {
        self.send_haves_at
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, links: &mut MeshLinks, cx: &mut Context) {
        self.drop_expired_entries(links, cx.now);
        self.request_missing(links, cx);
        if self.send_haves_at <= cx.now.boot {
            self.send_haves(links, cx);
        }
    }

    /// Chat came on a link: how its author is shown, if it is new.
    pub(super) fn handle_chat(
        &mut self,
        link: LinkId,
        author: PeerId,
        entry: &ChatEntry,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) -> Option<Contact> {
        // Asked first: what makes room for a new sender must not be a repetition.
        if self.record_if_duplicate(link, author, entry.number, links, cx.now.boot, cx.counters) {
            self.update_parent(link, author, false, links, cx);
            return None;
        }
        let record = self.authors.entry(author, cx.now.boot, |peer| links.is_linked(peer));
        record.last_seen_at = cx.now.boot;
        record.received.insert(entry.number);
        if entry.name.is_some() {
            record.name.clone_from(&entry.name);
        }
        let from = record.contact(author);
        let is_parent = record.parent == Some(link);
        if let Some(link) = links.get_mut(link) {
            link.push.receive.has_progress = true;
        }
        if !is_parent {
            self.update_parent(link, author, true, links, cx);
        }
        Some(from)
    }

    /// Chat came of which only the sender and the number are known yet: takes it in, if it was heard before and tells
    /// nothing else.
    pub(super) fn handle_if_duplicate(
        &mut self,
        link: LinkId,
        author: PeerId,
        number: u64,
        links: &mut MeshLinks,
        now: BootMs,
        counters: &mut Counters,
    ) -> bool {
        if self.authors.get(author).is_some_and(|record| !record.received.contains(number)) {
            return false;
        }
        // What a neighbour says itself tells more of it.
        if links.get(link).is_none_or(|state| state.peer == author) {
            return false;
        }
        if !self.is_parent_settled(link, author, links)
            || !self.record_if_duplicate(link, author, number, links, now, counters)
        {
            return false;
        }
        if let Some(state) = links.get_mut(link) {
            state.heartbeats.last_seen_at = now;
        }
        counters.received.add(MessageKind::Chat, 1);
        true
    }

    /// Whether chat was heard before; then that is all that it tells, and it is noted.
    fn record_if_duplicate(
        &mut self,
        link: LinkId,
        author: PeerId,
        number: u64,
        links: &mut MeshLinks,
        now: BootMs,
        counters: &mut Counters,
    ) -> bool {
        if let Some(record) = self.authors.get_mut(author) {
            if !record.received.contains(number) {
                return false;
            }
            record.last_seen_at = now;
        } else if self.authors.evicted.has(author, number) {
            if let Some(state) = links.get_mut(link) {
                state.push.receive.record_repeat(author);
            }
        } else {
            return false;
        }
        counters.duplicates += 1;
        true
    }

    /// Passes new chat on to everybody but its author and those on the link that it came by.
    pub(super) fn forward(
        &mut self,
        from: LinkId,
        author: PeerId,
        entry: &ChatEntry,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) {
        // What could not be asked for later must not only be told of.
        let may_push_lazily = !self.evicted.is_full();
        let (mut eager, mut is_queue_full) = (Vec::new(), false);
        for (id, link) in links.iter_mut() {
            if id == from || link.peer == author {
                continue;
            }
            let send = &mut link.push.send;
            if may_push_lazily && send.is_lazy(author) {
                is_queue_full |= send.queue_have(author, entry.number);
                self.send_haves_at = self.send_haves_at.min(cx.now.boot.plus(HAVE_DELAY_MS));
            } else {
                eager.push(id);
            }
        }
        if !eager.is_empty()
            && let Some(message) = as_message(entry)
        {
            links.send(eager, message, cx);
        }
        if is_queue_full {
            self.send_haves(links, cx);
        }
    }

    /// Keeps what has left the history, if a neighbour may have been told of it.
    pub(super) fn retain_evicted(&mut self, evicted: Option<Arc<ChatEntry>>, links: &MeshLinks, now: Now) {
        let Some(evicted) = evicted else { return };
        if links.iter().any(|(_, link)| link.push.send.may_request_evicted(now.boot)) {
            self.evicted.add(evicted, now.boot);
        }
    }

    /// Keeps what this peer said itself and has left the history, if a neighbour is owed the rest of an answer.
    pub(super) fn retain_own_evicted(&mut self, evicted: Option<Arc<ChatEntry>>, links: &MeshLinks, now: Now) {
        if let Some(evicted) = evicted
            && is_any_answer_open(links, now)
        {
            self.evicted.add(evicted, now.boot);
        }
    }

    /// Drops what left the history long ago, if nobody is owed the rest of an answer.
    fn drop_expired_entries(&mut self, links: &MeshLinks, now: Now) {
        if !is_any_answer_open(links, now) {
            self.evicted.drop_expired(now.boot);
        }
    }

    /// Tells those who are spared what they were spared.
    fn send_haves(&mut self, links: &mut MeshLinks, cx: &mut Context) {
        self.send_haves_at = BootMs::NEVER;
        for (link, numbers) in take_pending_haves(links) {
            let message = cx.control_message(MessageBody::Have(to_ranges(numbers)));
            links.send(vec![link], message, cx);
        }
    }

    /// This peer leaves, and cannot be asked later: what it would have told of is sent.
    pub(super) fn push_pending(&mut self, history: &History, links: &mut MeshLinks, cx: &mut Context) {
        for (link, numbers) in take_pending_haves(links) {
            for (author, number) in numbers {
                let entry = history.get(author, number).or_else(|| self.evicted.get(author, number));
                if let Some(message) = entry.and_then(as_message) {
                    links.send(vec![link], message, cx);
                }
            }
        }
        self.send_haves_at = BootMs::NEVER;
    }

    /// Gives a neighbour the next part of what it has not heard.
    pub(super) fn answer_history_request(
        &self,
        link: LinkId,
        have: &BTreeMap<PeerId, SeqRanges>,
        history: &History,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) {
        let Some(state) = links.get_mut(link) else { return };
        state.push.send.reset_to_eager();
        let format = state.format;
        let (batch, more) = history.missing(have, self.evicted.missing(have));
        let messages: Vec<MeshMessage> = batch.into_iter().filter_map(as_message).collect();
        let mut bytes = 0;
        let fits = |message: &&MeshMessage| {
            let is_first = bytes == 0;
            bytes += message.write(format).map_or(0, |bytes| bytes.len());
            is_first || bytes <= cx.local.config.history_batch_bytes
        };
        let count = messages.iter().take_while(fits).count();
        let more = more || count < messages.len();
        for message in messages.into_iter().take(count) {
            links.send(vec![link], message, cx);
        }
        if let Some(state) = links.get_mut(link) {
            state.push.send.record_answer(more, cx.now.boot);
        }
        let end = cx.control_message(MessageBody::HistoryEnd { more });
        links.send(vec![link], end, cx);
    }

    /// Asks the neighbour for what this peer has not heard.
    pub(super) fn request_history(&self, link: LinkId, links: &mut MeshLinks, cx: &mut Context) {
        let receive = links.get(link).map(|link| &link.push.receive);
        let repeated_authors = receive.into_iter().flat_map(LazyReceive::repeated_authors);
        let missing = receive.map(LazyReceive::missing_authors).unwrap_or_default();
        let have = self.authors.history_request(repeated_authors, &missing);
        if let Some(state) = links.get_mut(link) {
            state.push.receive.has_progress = false;
            state.push.receive.start_request(cx.now.boot);
        }
        let message = cx.control_message(MessageBody::HistoryRequest(have));
        links.send(vec![link], message, cx);
    }

    /// A neighbour has this.
    pub(super) fn handle_have(
        &self,
        link: LinkId,
        have: BTreeMap<PeerId, SeqRanges>,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) {
        // Who only claims to have something is not asked time and again for nothing.
        let is_useful = links.get(link).is_some_and(|state| state.push.receive.has_progress);
        for (author, ranges) in have {
            let may_come = !is_useful || self.parent_of(author, links).is_some();
            let request_at = if may_come { cx.now.boot.plus(REQUEST_DELAY_MS) } else { cx.now.boot };
            for range in ranges {
                if !self.has_received(author, range, cx.local.config.id)
                    && let Some(state) = links.get_mut(link)
                {
                    state.push.receive.add_missing(author, range, request_at);
                }
            }
        }
    }

    /// Asks neighbours for what they have and this peer does not, after it was waited for.
    fn request_missing(&self, links: &mut MeshLinks, cx: &mut Context) {
        let due = links.iter().filter(|(_, link)| link.push.receive.next_deadline() <= cx.now.boot);
        let mut requested = BTreeSet::new();
        for link in due.map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(state) = links.get_mut(link) else { continue };
            let is_received = |author, range| self.has_received(author, range, cx.local.config.id);
            if let Some(mut authors) = state.push.receive.due_authors(cx.now.boot, &requested, is_received) {
                self.request_history(link, links, cx);
                requested.append(&mut authors);
            }
        }
    }

    /// Chat of an author came on a link, new or not: decides whether it is heard there from now on, or is to be spared.
    fn update_parent(&mut self, link: LinkId, author: PeerId, is_new: bool, links: &mut MeshLinks, cx: &mut Context) {
        let parent = self.parent_of(author, links);
        let (Some(state), Some(record)) = (links.get_mut(link), self.authors.get_mut(author)) else { return };
        let is_author_linked = state.peer == author;
        if parent.is_none() {
            record.parent = Some(link);
            if state.push.receive.is_pruned(author) {
                self.request_history(link, links, cx);
            }
        } else if is_new && (is_author_linked || state.push.receive.is_requested(author)) {
            // Nobody has it sooner; or where it was heard until now it did not come.
            record.parent = Some(link);
        } else if parent != Some(link) && !is_author_linked && state.push.can_prune(author) {
            if !state.push.receive.prune(author) {
                // Most of them have long been silent: both ends begin anew.
                self.request_history(link, links, cx);
                return;
            }
            let message = cx.control_message(MessageBody::Prune(author));
            links.send(vec![link], message, cx);
        }
    }

    /// Whether [`Plumtree::update_parent`] has nothing to do.
    fn is_parent_settled(&self, link: LinkId, author: PeerId, links: &MeshLinks) -> bool {
        // Nothing is chosen for those who are forgotten.
        if !self.authors.contains(author) {
            return true;
        }
        match self.parent_of(author, links) {
            Some(parent) if parent == link => true,
            Some(_) => links.get(link).is_none_or(|state| !state.push.can_prune(author)),
            None => false,
        }
    }

    /// Another link to the same peer has taken the place of one.
    pub(super) fn move_parents(&mut self, from: LinkId, to: LinkId) {
        for record in self.authors.iter_mut().filter(|record| record.parent == Some(from)) {
            record.parent = Some(to);
        }
    }

    /// A link has ended: whoever spared this peer what it brought is asked for it.
    pub(super) fn replace_parent(&self, ended: LinkId, links: &mut MeshLinks, cx: &mut Context) {
        let orphaned = self.authors.iter().filter(|(_, record)| record.parent == Some(ended)).map(|(author, _)| author);
        let lazy_link_of = |author| links.iter().find(|(_, link)| link.push.receive.is_pruned(author));
        let others: BTreeSet<LinkId> = orphaned.filter_map(lazy_link_of).map(|(id, _)| id).collect();
        for other in others {
            self.request_history(other, links, cx);
        }
    }

    /// The link by which the chat of an author comes.
    fn parent_of(&self, author: PeerId, links: &MeshLinks) -> Option<LinkId> {
        self.authors.get(author)?.parent.filter(|parent| links.contains(*parent))
    }

    /// Whether all of these numbers were heard, or count as heard.
    fn has_received(&self, author: PeerId, range: (u64, u64), me: PeerId) -> bool {
        author == me || self.authors.has_received(author, range)
    }
}

/// Whether a neighbour is owed the rest of an answer.
fn is_any_answer_open(links: &MeshLinks, now: Now) -> bool {
    links.iter().any(|(_, link)| link.push.send.has_open_answer(now.boot))
}

/// What each neighbour is still to be told of; it counts as told from now on.
fn take_pending_haves(links: &mut MeshLinks) -> Vec<(LinkId, Vec<(PeerId, u64)>)> {
    let pending = links.iter_mut().map(|(id, link)| (id, link.push.send.take_pending_haves()));
    pending.filter(|(_, numbers)| !numbers.is_empty()).collect()
}

fn as_message(entry: &ChatEntry) -> Option<MeshMessage> {
    let Author::Mesh(sender) = entry.author else { return None };
    let body = MessageBody::Chat(entry.text.clone());
    Some(MeshMessage { sender, number: entry.number, said_at: entry.said_at, name: entry.name.clone(), body })
}
