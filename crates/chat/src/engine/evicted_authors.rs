//! Authors that were evicted from the table: the highest received number of each.

use std::collections::{BTreeMap, VecDeque};

use crate::peer_id::PeerId;

/// The most senders of whom nothing is remembered but the highest number. Two megabytes when it is full.
pub(super) const MAX_EVICTED_AUTHORS: usize = 32 * 1024;

/// What is left of senders who made room for others: the highest number that was heard of each.
///
/// Invariant: `order` names whom `highest` knows, each once; at most [`MAX_EVICTED_AUTHORS`].
#[derive(Clone, Debug, Default)]
pub(super) struct EvictedAuthors {
    order: VecDeque<PeerId>,
    highest: BTreeMap<PeerId, u64>,
}

impl EvictedAuthors {
    /// Adds somebody of whom this number was heard, and maybe lower ones; whoever was forgotten first makes room.
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

    /// Whether the number was heard before the sender was forgotten, or is so low that it counts as heard.
    pub(super) fn has(&self, author: PeerId, number: u64) -> bool {
        self.highest(author).is_some_and(|highest| number <= highest)
    }

    /// The highest number that was heard before the sender was forgotten.
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
