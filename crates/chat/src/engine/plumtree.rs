//! Plumtree: broadcast trees with eager and lazy push of chat, one tree per author (Leitão, Pereira
//! and Rodrigues, *Epidemic Broadcast Trees*, 2007).
//!
//! If all peers are linked with each other, each message arrives once from its author, and every
//! further copy is useless. So a peer that receives an author's chat on one link sends `prune` for
//! this author on the other links. A pruned link is lazy: the other peer sends only the numbers of
//! its new messages, some milliseconds later (`have`, the paper's IHAVE). This peer requests the
//! messages that do not arrive by its other links. A link that was not pruned is eager: it gets
//! each message at once.
//!
//! Only the receiver decides, because only the receiver knows its other links. Two links of an
//! author are not pruned: the parent, by which new messages arrive, and a link to the author
//! itself. A link to a peer without lazy push is never pruned either. A history request makes all
//! authors eager again on its link, at both ends. It takes the place of the paper's GRAFT.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chat_entry::{Author, ChatEntry};
use super::context::Context;
use super::counters::{Counters, MessageKind};
use super::event::{LinkId, Now};
use super::evicted_entries::EvictedEntries;
use super::history::History;
use super::lazy_push::{LazyReceive, REQUEST_DELAY_MS, to_ranges};
use super::link_state::LinkState;
use super::mesh_authors::MeshAuthors;
use super::mesh_links::MeshLinks;
use super::notice::Contact;
use crate::mesh::{MeshMessage, MessageBody, SeqRanges};
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// Largest delay of a `have` message, in milliseconds.
const HAVE_DELAY_MS: u64 = 20;

/// The part of the broadcast trees that this peer knows: the parent link of each author, and the
/// time of the next `have` messages.
#[derive(Clone, Debug)]
pub(super) struct Plumtree {
    pub(super) authors: MeshAuthors,
    /// Entries that were recently evicted from the history, for requests of linked peers.
    evicted: EvictedEntries,
    /// Time at which the pending `have` messages of all links are sent.
    send_haves_at: BootMs,
}

impl Plumtree {
    /// Trees without authors. At most `max_ranges` ranges of received numbers are kept per author.
    pub(super) fn new(max_ranges: usize) -> Self {
        Self { authors: MeshAuthors::new(max_ranges), evicted: EvictedEntries::default(), send_haves_at: BootMs::NEVER }
    }

    /// Time of the next `have` messages. The links have the deadlines of the requests for missing
    /// ranges.
    pub(super) fn next_deadline(&self) -> BootMs {
        self.send_haves_at
    }

    /// Drops expired evicted entries, and sends the history requests and `have` messages that are
    /// due.
    pub(super) fn handle_timeout(&mut self, links: &mut MeshLinks, cx: &mut Context) {
        self.drop_expired_entries(links, cx.now);
        self.request_missing(links, cx);
        if self.send_haves_at <= cx.now.boot {
            self.send_haves(links, cx);
        }
    }

    /// Records a chat message that arrived on a link. Returns its author as shown to the user if
    /// the message is new.
    pub(super) fn handle_chat(
        &mut self,
        link: LinkId,
        author: PeerId,
        entry: &ChatEntry,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) -> Option<Contact> {
        // This check is first: a duplicate must not add an author to the table and evict another.
        if self.record_if_duplicate(link, author, entry.number, links, cx.now.boot, cx.counters) {
            self.update_parent(link, author, false, links, cx);
            return None;
        }
        let record = self.authors.entry(author, entry.via, cx.now.boot, |peer| links.is_linked(peer));
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

    /// Duplicate check from the message header alone. Returns `true`, and records the duplicate,
    /// only if the message has no other effect.
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
        // A message of the linked peer itself also confirms the link, so it is parsed in full.
        if links.get(link).is_none_or(|state| state.peer == author) {
            return false;
        }
        if !self.is_parent_settled(link, author, links)
            || !self.record_if_duplicate(link, author, number, links, now, counters)
        {
            return false;
        }
        links.mark_seen(link, now);
        counters.received.add(MessageKind::Chat, 1);
        true
    }

    /// Records the message if it is a duplicate. Returns whether it is one.
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
        } else if self.authors.evicted.has_received(author, number) {
            if let Some(state) = links.get_mut(link) {
                state.push.receive.record_repeat(author);
            }
        } else {
            return false;
        }
        counters.duplicates += 1;
        true
    }

    /// Forwards a new message to all linked peers except the one that delivered it and its author.
    pub(super) fn forward(
        &mut self,
        from: LinkId,
        author: PeerId,
        entry: &ChatEntry,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) {
        // If the buffer of evicted entries is full, a lazy peer could not request the message
        // later.
        let may_push_lazily = !self.evicted.is_full();
        let deliverer = links.get(from).map(|link| link.peer);
        // A foreign peer gets no history: it remembers few numbers, so it would show the chat from
        // before its link again and send it to everybody.
        let is_history = links.get(from).is_some_and(|link| link.push.receive.has_open_request());
        let is_old_for = |link: &LinkState| is_history && link.is_foreign() && entry.said_at < link.opened_unix_s;
        let (mut eager, mut is_queue_full) = (Vec::new(), false);
        for (id, link) in links.iter_mut() {
            if Some(link.peer) == deliverer || link.peer == author || is_old_for(link) {
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

    /// Keeps entries that the history has evicted, if a linked peer may still request them.
    pub(super) fn retain_evicted(&mut self, evicted: Vec<Arc<ChatEntry>>, links: &MeshLinks, now: Now) {
        if !evicted.is_empty() && links.iter().any(|(_, link)| link.push.send.may_request_evicted(now.boot)) {
            for entry in evicted {
                self.evicted.add(entry, now.boot);
            }
        }
    }

    /// Keeps entries that the history has evicted for one of this peer, if a linked peer may
    /// request the next batch of an answer.
    pub(super) fn retain_own_evicted(&mut self, evicted: Vec<Arc<ChatEntry>>, links: &MeshLinks, now: Now) {
        if !evicted.is_empty() && is_any_answer_open(links, now) {
            for entry in evicted {
                self.evicted.add(entry, now.boot);
            }
        }
    }

    /// Drops the evicted entries whose retention has ended, unless a linked peer may request the
    /// next batch of an answer.
    fn drop_expired_entries(&mut self, links: &MeshLinks, now: Now) {
        if !is_any_answer_open(links, now) {
            self.evicted.drop_expired(now.boot);
        }
    }

    /// Sends the pending `have` messages.
    fn send_haves(&mut self, links: &mut MeshLinks, cx: &mut Context) {
        self.send_haves_at = BootMs::NEVER;
        for (link, numbers) in take_pending_haves(links) {
            let message = cx.control_message(MessageBody::Have(to_ranges(numbers)));
            links.send(vec![link], message, cx);
        }
    }

    /// Sends the messages themselves instead of the pending `have` messages. After the shutdown of
    /// this peer, no peer could request the messages from it.
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

    /// Answers a history request with the next batch, and makes all authors eager on the link.
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

    /// Sends a history request on a link. The other peer answers with chat that this peer has not
    /// received.
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

    /// Handles a `have` message: notes the announced ranges that have not been received.
    pub(super) fn handle_have(
        &self,
        link: LinkId,
        have: BTreeMap<PeerId, SeqRanges>,
        links: &mut MeshLinks,
        cx: &mut Context,
    ) {
        let has_progress = links.get(link).is_some_and(|state| state.push.receive.has_progress);
        for (author, ranges) in have {
            // The request waits if the chat may still arrive by the parent link. It also waits if
            // this link has delivered no new chat since the last request: otherwise a peer with
            // false announcements would cause requests without pause.
            let must_wait = !has_progress || self.parent_of(author, links).is_some();
            let request_at = if must_wait { cx.now.boot.plus(REQUEST_DELAY_MS) } else { cx.now.boot };
            for range in ranges {
                if !self.has_received(author, range, cx.local.config.id)
                    && let Some(state) = links.get_mut(link)
                {
                    state.push.receive.add_missing(author, range, request_at);
                }
            }
        }
    }

    /// Requests the announced ranges whose delay has ended.
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

    /// Decides whether the link becomes the author's parent or is pruned, after a new or a
    /// duplicate message of the author arrived on it.
    fn update_parent(&mut self, link: LinkId, author: PeerId, is_new: bool, links: &mut MeshLinks, cx: &mut Context) {
        let parent = self.parent_of(author, links);
        let (Some(state), Some(record)) = (links.get_mut(link), self.authors.get_mut(author)) else { return };
        let is_link_to_author = state.peer == author;
        if parent.is_none() {
            record.parent = Some(link);
            if state.push.receive.is_pruned(author) {
                self.request_history(link, links, cx);
            }
        } else if is_new && (is_link_to_author || state.push.receive.is_requested(author)) {
            // This is either the link to the author itself, which is the shortest path, or a link
            // that delivered chat that the present parent had not delivered.
            record.parent = Some(link);
        } else if parent != Some(link) && !is_link_to_author && state.push.can_prune(author) {
            if !state.push.receive.prune(author) {
                // The table of pruned authors is full, and most of these authors no longer send
                // chat. A history request empties it at both ends.
                self.request_history(link, links, cx);
                return;
            }
            let message = cx.control_message(MessageBody::Prune(author));
            links.send(vec![link], message, cx);
        }
    }

    /// Whether [`Plumtree::update_parent`] would change nothing for a duplicate. The link must not
    /// be the link to the author itself.
    fn is_parent_settled(&self, link: LinkId, author: PeerId, links: &MeshLinks) -> bool {
        // Evicted authors have no parent.
        if !self.authors.contains(author) {
            return true;
        }
        match self.parent_of(author, links) {
            Some(parent) if parent == link => true,
            Some(_) => links.get(link).is_none_or(|state| !state.push.can_prune(author)),
            None => false,
        }
    }

    /// Handles a replaced link: authors whose parent was `from` get the parent `to`.
    pub(super) fn move_parents(&mut self, from: LinkId, to: LinkId) {
        for record in self.authors.iter_mut().filter(|record| record.parent == Some(from)) {
            record.parent = Some(to);
        }
    }

    /// Handles a closed link: for each author whose parent it was, requests the history on one link
    /// that this peer pruned for the author. The request makes that link eager again.
    pub(super) fn replace_parent(&self, ended: LinkId, links: &mut MeshLinks, cx: &mut Context) {
        let orphaned = self.authors.iter().filter(|(_, record)| record.parent == Some(ended)).map(|(author, _)| author);
        let lazy_link_of = |author| links.iter().find(|(_, link)| link.push.receive.is_pruned(author));
        let others: BTreeSet<LinkId> = orphaned.filter_map(lazy_link_of).map(|(id, _)| id).collect();
        for other in others {
            self.request_history(other, links, cx);
        }
    }

    /// The author's parent link, if it is still open.
    fn parent_of(&self, author: PeerId, links: &MeshLinks) -> Option<LinkId> {
        self.authors.get(author)?.parent.filter(|parent| links.contains(*parent))
    }

    /// Whether all numbers of the range were received or count as received. This peer has all its
    /// own messages.
    fn has_received(&self, author: PeerId, range: (u64, u64), me: PeerId) -> bool {
        author == me || self.authors.has_received(author, range)
    }
}

/// Whether a linked peer may request the next batch of an answer.
fn is_any_answer_open(links: &MeshLinks, now: Now) -> bool {
    links.iter().any(|(_, link)| link.push.send.has_open_answer(now.boot))
}

/// Takes the pending `have` numbers of each link.
fn take_pending_haves(links: &mut MeshLinks) -> Vec<(LinkId, Vec<(PeerId, u64)>)> {
    let pending = links.iter_mut().map(|(id, link)| (id, link.push.send.take_pending_haves()));
    pending.filter(|(_, numbers)| !numbers.is_empty()).collect()
}

/// The chat message of an entry; `None` for an entry of the LAN.
fn as_message(entry: &ChatEntry) -> Option<MeshMessage> {
    let Author::Mesh(sender) = entry.author else { return None };
    let body = MessageBody::Chat(entry.text.clone());
    Some(MeshMessage { sender, number: entry.number, said_at: entry.said_at, name: entry.name.clone(), body })
}
