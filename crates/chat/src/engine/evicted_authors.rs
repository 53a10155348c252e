//! Authors that were evicted from the author table: the highest received number of each.

use std::collections::{BTreeMap, VecDeque};

use super::deliverer::{Deliverer, ShareSizes};
use crate::peer_id::PeerId;

/// Largest number of evicted authors in the table. They use about two megabytes of memory.
pub(super) const MAX_EVICTED_AUTHORS: usize = 32 * 1024;

/// The highest received number of each evicted author.
///
/// Invariant: `shares` contain each key of `highest` exactly once, and `sizes` has their lengths;
/// at most [`MAX_EVICTED_AUTHORS`] authors.
#[derive(Clone, Debug, Default)]
pub(super) struct EvictedAuthors {
    /// The authors by deliverer, in the order of their eviction.
    shares: BTreeMap<Option<Deliverer>, VecDeque<PeerId>>,
    sizes: ShareSizes,
    highest: BTreeMap<PeerId, u64>,
}

impl EvictedAuthors {
    /// Adds an author with the highest number received from it. If the table is full, removes the
    /// author of the largest share that was added first.
    pub(super) fn insert(&mut self, author: PeerId, highest: u64, via: Option<Deliverer>) {
        if let Some(stored) = self.highest.get_mut(&author) {
            *stored = highest.max(*stored);
            return;
        }
        self.highest.insert(author, highest);
        self.shares.entry(via).or_default().push_back(author);
        self.sizes.add(via, 1);
        if self.highest.len() > MAX_EVICTED_AUTHORS {
            let largest = self.sizes.largest();
            let Some(share) = self.shares.get_mut(&largest) else { return };
            if let Some(oldest) = share.pop_front() {
                self.highest.remove(&oldest);
                self.sizes.subtract(largest, 1);
            }
            if share.is_empty() {
                self.shares.remove(&largest);
            }
        }
    }

    /// Whether the number counts as received. It does if it is not above the highest number
    /// received before the eviction.
    pub(super) fn has_received(&self, author: PeerId, number: u64) -> bool {
        self.highest(author).is_some_and(|highest| number <= highest)
    }

    /// The highest number received before the author was evicted.
    pub(super) fn highest(&self, author: PeerId) -> Option<u64> {
        self.highest.get(&author).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_of_each_evicted_author_is_kept_and_the_table_is_bounded() {
        let mut evicted = EvictedAuthors::default();
        for author in 0..=MAX_EVICTED_AUTHORS as u128 {
            evicted.insert(PeerId(author), 7, None);
            evicted.insert(PeerId(author), 5, None);
        }
        assert_eq!([0, 1, 2].map(|author| evicted.highest(PeerId(author))), [None, Some(7), Some(7)]);
        evicted.insert(PeerId(1), 9, None);
        assert_eq!(evicted.highest(PeerId(1)), Some(9));
        assert_eq!((evicted.shares[&None].len(), evicted.highest.len()), (MAX_EVICTED_AUTHORS, MAX_EVICTED_AUTHORS));
    }

    #[test]
    fn a_forger_displaces_only_the_evicted_authors_of_its_own_link() {
        let mut evicted = EvictedAuthors::default();
        let via = |host: &str| Some(Deliverer::link(host.parse().unwrap(), PeerId(1)));
        (0..100).for_each(|author| evicted.insert(PeerId(author), 7, via("10.0.0.1")));
        (1_000..100_000).for_each(|author| evicted.insert(PeerId(author), 7, via("10.0.0.66")));
        assert!((0..100).all(|author| evicted.has_received(PeerId(author), 7)));
        assert_eq!(evicted.highest.len(), MAX_EVICTED_AUTHORS);
    }
}
