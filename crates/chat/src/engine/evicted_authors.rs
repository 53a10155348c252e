//! Authors that were evicted from the author table: the highest received number of each.

use std::collections::{BTreeMap, VecDeque};

use crate::peer_id::PeerId;

/// Largest number of evicted authors in the table. They use about two megabytes of memory.
pub(super) const MAX_EVICTED_AUTHORS: usize = 32 * 1024;

/// The highest received number of each evicted author.
///
/// Invariant: `order` contains each key of `highest` exactly once; at most [`MAX_EVICTED_AUTHORS`]
/// authors.
#[derive(Clone, Debug, Default)]
pub(super) struct EvictedAuthors {
    order: VecDeque<PeerId>,
    highest: BTreeMap<PeerId, u64>,
}

impl EvictedAuthors {
    /// Adds an author with the highest number received from it. If the table is full, removes the
    /// author that was added first.
    pub(super) fn insert(&mut self, author: PeerId, highest: u64) {
        if let Some(stored) = self.highest.get_mut(&author) {
            *stored = highest.max(*stored);
            return;
        }
        self.highest.insert(author, highest);
        self.order.push_back(author);
        if self.order.len() > MAX_EVICTED_AUTHORS
            && let Some(oldest) = self.order.pop_front()
        {
            self.highest.remove(&oldest);
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
            evicted.insert(PeerId(author), 7);
            evicted.insert(PeerId(author), 5);
        }
        assert_eq!([0, 1, 2].map(|author| evicted.highest(PeerId(author))), [None, Some(7), Some(7)]);
        evicted.insert(PeerId(1), 9);
        assert_eq!(evicted.highest(PeerId(1)), Some(9));
        assert_eq!((evicted.order.len(), evicted.highest.len()), (MAX_EVICTED_AUTHORS, MAX_EVICTED_AUTHORS));
    }
}
