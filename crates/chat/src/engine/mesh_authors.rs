//! Senders of chat: the received numbers, name and profile of each, and the highest numbers of
//! evicted ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::chat_entry::Author;
use super::event::LinkId;
use super::evicted_authors::EvictedAuthors;
use super::limits::{MAX_AUTHORS, MAX_RANGES_PER_AUTHOR, MAX_RANGES_PER_MISSING_AUTHOR, MAX_RANGES_PER_REQUEST};
use super::notice::{ChatTransport, Contact};
use super::received::ReceivedNumbers;
use crate::mesh::{MAX_ASKED, SeqRanges};
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

/// What is known of somebody who said something on the mesh, directly or not.
#[derive(Clone, Debug)]
pub(super) struct MeshAuthor {
    pub(super) received: ReceivedNumbers,
    pub(super) name: Option<Nickname>,
    pub(super) profile: Option<PeerProfile>,
    pub(super) last_seen_at: BootMs,
    /// The link by which its chat comes; the others spare this peer.
    pub(super) parent: Option<LinkId>,
}

impl MeshAuthor {
    /// How it is shown.
    pub(super) fn contact(&self, id: PeerId) -> Contact {
        Contact::on_mesh(id, self.name.as_ref(), self.profile.as_ref())
    }
}

/// The senders.
///
/// Invariant: at most [`MAX_AUTHORS`], unless all of them are linked.
#[derive(Clone, Debug)]
pub(super) struct MeshAuthors {
    authors: BTreeMap<PeerId, MeshAuthor>,
    /// Those who were among the senders and made room.
    pub(super) evicted: EvictedAuthors,
    /// How many runs of numbers are remembered of each.
    max_ranges: usize,
}

impl MeshAuthors {
    /// Nobody; at most `max_ranges` runs of numbers will be remembered of each.
    pub(super) fn new(max_ranges: usize) -> Self {
        Self { authors: BTreeMap::new(), evicted: EvictedAuthors::default(), max_ranges }
    }

    /// Whether this is one of them.
    pub(super) fn contains(&self, id: PeerId) -> bool {
        self.authors.contains_key(&id)
    }

    /// One of them.
    pub(super) fn get(&self, id: PeerId) -> Option<&MeshAuthor> {
        self.authors.get(&id)
    }

    /// One of them, to change it.
    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut MeshAuthor> {
        self.authors.get_mut(&id)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &MeshAuthor)> {
        self.authors.iter().map(|(id, author)| (*id, author))
    }

    /// All of them, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut MeshAuthor> {
        self.authors.values_mut()
    }

    /// The sender's entry. For a new one the sender that was silent longest is evicted; a linked one
    /// never is.
    pub(super) fn entry(&mut self, id: PeerId, now: BootMs, is_linked: impl Fn(PeerId) -> bool) -> &mut MeshAuthor {
        if !self.authors.contains_key(&id) && self.authors.len() >= MAX_AUTHORS {
            let idle = self.authors.iter().filter(|(id, _)| !is_linked(**id));
            if let Some(stalest) = idle.min_by_key(|(_, author)| author.last_seen_at).map(|(id, _)| *id) {
                let highest = self.authors.remove(&stalest).and_then(|author| author.received.highest());
                // Copies of what it said may be on their way still. Each would be new again, and with many senders make
                // room for itself and go round for ever.
                if let Some(highest) = highest {
                    self.evicted.insert(stalest, highest);
                }
            }
        }
        let received = || {
            let mut received = ReceivedNumbers::new(self.max_ranges);
            if let Some(highest) = self.evicted.highest(id) {
                received.mark_received_below(highest.saturating_add(1));
            }
            received
        };
        let new_author =
            || MeshAuthor { received: received(), name: None, profile: None, last_seen_at: now, parent: None };
        self.authors.entry(id).or_insert_with(new_author)
    }

    /// How a peer of the mesh is shown.
    pub(super) fn contact(&self, id: PeerId) -> Contact {
        self.get(id).map_or_else(|| Contact::on_mesh(id, None, None), |author| author.contact(id))
    }

    /// How somebody who said something is shown; `name` is what it was called then.
    pub(super) fn contact_of(&self, author: &Author, name: Option<&Nickname>) -> Contact {
        match author {
            Author::Mesh(id) => {
                let author = self.get(*id);
                let name = author.and_then(|author| author.name.as_ref()).or(name);
                Contact::on_mesh(*id, name, author.and_then(|author| author.profile.as_ref()))
            }
            Author::Lan(uid) => Contact { uid: uid.clone(), display_name: None, via: ChatTransport::Lan },
        }
    }

    /// Whether one of them has this name.
    pub(super) fn has_name(&self, wanted: &str) -> bool {
        let is_name = |name: &Nickname| name.as_str() == wanted;
        self.authors.values().any(|author| author.name.as_ref().is_some_and(is_name))
    }

    /// Whether all of these numbers were heard, or count as heard.
    pub(super) fn has_received(&self, author: PeerId, (first, last): (u64, u64)) -> bool {
        self.get(author).is_some_and(|author| author.received.contains_range(first, last))
            || self.evicted.has(author, last)
    }

    /// The received numbers, as a question for history names them: bounded, those of authors of whom
    /// something is `missing` first. Evicted senders are named if they are among `repeated_authors`.
    pub(super) fn history_request<'r>(
        &self,
        repeated_authors: impl Iterator<Item = &'r PeerId>,
        missing: &BTreeSet<PeerId>,
    ) -> BTreeMap<PeerId, SeqRanges> {
        let mut candidates: Vec<(&PeerId, &MeshAuthor)> = self.authors.iter().collect();
        candidates.retain(|(_, author)| author.received.highest().is_some());
        candidates.sort_by_key(|(_, author)| Reverse(author.last_seen_at));
        let evicted = repeated_authors.filter(|author| !self.authors.contains_key(author));
        let evicted = evicted.filter_map(|author| Some((*author, vec![(0, self.evicted.highest(*author)?)])));
        let mut have: BTreeMap<PeerId, SeqRanges> = evicted.collect();
        // With many senders there is room for their newest runs only. What is older counts as heard then: so those of whom
        // something is missing come first.
        candidates.sort_by_key(|(id, _)| !missing.contains(id));
        candidates.truncate(MAX_ASKED - have.len());
        let reserved = if missing.is_empty() { 0 } else { MAX_RANGES_PER_REQUEST - MAX_ASKED };
        let (mut free_ranges, max_ranges) = (reserved, (MAX_RANGES_PER_REQUEST - reserved) / candidates.len().max(1));
        have.extend(candidates.into_iter().map(|(id, author)| {
            let max_ranges = if missing.contains(id) {
                MAX_RANGES_PER_MISSING_AUTHOR.min(free_ranges)
            } else {
                max_ranges.min(MAX_RANGES_PER_AUTHOR)
            };
            let ranges = author.received.newest_ranges(max_ranges.max(1));
            free_ranges = free_ranges.saturating_sub(ranges.len());
            (*id, ranges)
        }));
        have
    }
}
