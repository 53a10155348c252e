//! Author table of the mesh: the received numbers, the name and the profile of each author, and the
//! highest number of each evicted author.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::chat_entry::Author;
use super::deliverer::{Deliverer, largest_share};
use super::event::LinkId;
use super::evicted_authors::EvictedAuthors;
use super::known_profile::KnownProfile;
use super::limits::{MAX_AUTHORS, MAX_RANGES_PER_AUTHOR, MAX_RANGES_PER_MISSING_AUTHOR, MAX_RANGES_PER_REQUEST};
use super::notice::{ChatTransport, Contact};
use super::received::ReceivedNumbers;
use crate::mesh::{MAX_ASKED, SeqRanges};
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// State of one author. An author is a linked peer, or a peer whose chat has arrived over any
/// number of hops.
#[derive(Clone, Debug)]
pub(super) struct MeshAuthor {
    pub(super) received: ReceivedNumbers,
    pub(super) name: Option<Nickname>,
    pub(super) profile: Option<KnownProfile>,
    pub(super) last_seen_at: BootMs,
    /// The link by which this author's chat is pushed eagerly: the parent in the author's broadcast
    /// tree. The other links are pruned.
    pub(super) parent: Option<LinkId>,
    /// The link by which the author became known, or its own link.
    pub(super) via: Option<Deliverer>,
}

impl MeshAuthor {
    /// The author as shown to the user.
    pub(super) fn contact(&self, id: PeerId) -> Contact {
        Contact::on_mesh(id, self.name.as_ref(), self.profile.as_ref())
    }
}

/// The author table.
///
/// Invariant: at most [`MAX_AUTHORS`], unless all of them are linked.
#[derive(Clone, Debug)]
pub(super) struct MeshAuthors {
    authors: BTreeMap<PeerId, MeshAuthor>,
    /// Authors that were evicted from the table.
    pub(super) evicted: EvictedAuthors,
    /// Largest number of ranges of received numbers per author.
    max_ranges: usize,
}

impl MeshAuthors {
    /// An empty table with at most `max_ranges` ranges of received numbers per author.
    pub(super) fn new(max_ranges: usize) -> Self {
        Self { authors: BTreeMap::new(), evicted: EvictedAuthors::default(), max_ranges }
    }

    /// Whether the author is in the table.
    pub(super) fn contains(&self, id: PeerId) -> bool {
        self.authors.contains_key(&id)
    }

    /// The state of an author.
    pub(super) fn get(&self, id: PeerId) -> Option<&MeshAuthor> {
        self.authors.get(&id)
    }

    /// The state of an author, mutable.
    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut MeshAuthor> {
        self.authors.get_mut(&id)
    }

    /// All authors.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &MeshAuthor)> {
        self.authors.iter().map(|(id, author)| (*id, author))
    }

    /// All authors, mutable.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut MeshAuthor> {
        self.authors.values_mut()
    }

    /// The state of an author. Adds the author if it is new. If the table is full, first evicts an
    /// author without a link: of the deliverer with most of them, the one from which nothing has
    /// arrived for the longest time.
    pub(super) fn entry(
        &mut self,
        id: PeerId,
        via: Option<Deliverer>,
        now: BootMs,
        is_linked: impl Fn(PeerId) -> bool,
    ) -> &mut MeshAuthor {
        if !self.authors.contains_key(&id) && self.authors.len() >= MAX_AUTHORS {
            let idle = || self.authors.iter().filter(|(id, _)| !is_linked(**id));
            let largest = largest_share(idle().map(|(_, author)| (author.via, 1)));
            let of_largest = idle().filter(|(_, author)| author.via == largest);
            if let Some(stalest) = of_largest.min_by_key(|(_, author)| author.last_seen_at).map(|(id, _)| *id) {
                let evicted = self.authors.remove(&stalest);
                let highest = evicted.and_then(|author| author.received.highest());
                // Copies of the evicted author's messages may still arrive. Without its highest
                // number, each copy would count as new and be forwarded. With more authors than the
                // table holds, the authors would evict each other, and the copies would circulate
                // forever.
                if let Some(highest) = highest {
                    self.evicted.insert(stalest, highest, largest);
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
            || MeshAuthor { received: received(), name: None, profile: None, last_seen_at: now, parent: None, via };
        self.authors.entry(id).or_insert_with(new_author)
    }

    /// A mesh peer as shown to the user.
    pub(super) fn contact(&self, id: PeerId) -> Contact {
        self.get(id).map_or_else(|| Contact::on_mesh(id, None, None), |author| author.contact(id))
    }

    /// The author of a message as shown to the user. `name` is the author's name at the time of the
    /// message.
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

    /// Whether an author has this nickname.
    pub(super) fn has_name(&self, wanted: &str) -> bool {
        let is_name = |name: &Nickname| name.as_str() == wanted;
        self.authors.values().any(|author| author.name.as_ref().is_some_and(is_name))
    }

    /// Whether each number of the range was received or counts as received.
    pub(super) fn has_received(&self, author: PeerId, (first, last): (u64, u64)) -> bool {
        self.get(author).is_some_and(|author| author.received.contains_range(first, last))
            || self.evicted.has_received(author, last)
    }

    /// The received numbers to send in a history request, as ranges per author. The total number of
    /// ranges is bounded, so the authors in `missing` come first. Of the evicted authors, only
    /// those in `repeated_authors` are included.
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
        // With many authors, the request has room only for the newest ranges of each author. The
        // older numbers then count as received and are not sent again. So authors with missing
        // ranges come first.
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
