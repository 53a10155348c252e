//! What has just left the history. Neighbours may have been told that it is here and ask for it, however few messages the
//! history keeps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::history::{Author, Entry};
use super::seen::is_in;
use crate::domain::BootMs;
use crate::peer::mesh::Runs;
use crate::peer::peer_id::PeerId;

/// It stays for so long: longer than a neighbour waits before it asks, and its question takes.
const LATE_MS: u64 = 250;
/// The most bytes of it; while there are more, nobody is only told of anything.
const MAX_LATE_BYTES: usize = 2 * 1024 * 1024;
/// What an entry occupies beside its text, about.
const ENTRY_BYTES: usize = 160;

/// Entries of the mesh, in the order in which they left.
///
/// Invariant: `bytes` is the sum over `entries`.
#[derive(Clone, Debug, Default)]
pub(super) struct Late {
    entries: VecDeque<(BootMs, Arc<Entry>)>,
    bytes: usize,
}

impl Late {
    /// Adds what has just left, and drops what left long ago.
    pub(super) fn add(&mut self, entry: Arc<Entry>, now: BootMs) {
        self.forget_old(now);
        self.bytes += occupied(&entry);
        self.entries.push_back((now, entry));
    }

    /// Drops what left long ago.
    pub(super) fn forget_old(&mut self, now: BootMs) {
        while let Some((left_at, entry)) = self.entries.front()
            && (left_at.plus(LATE_MS) <= now || self.bytes > 2 * MAX_LATE_BYTES)
        {
            self.bytes -= occupied(entry);
            self.entries.pop_front();
        }
    }

    /// Whether more leaves the history than stays here.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > MAX_LATE_BYTES
    }

    /// What is not in `have`, oldest first.
    pub(super) fn missing(&self, have: &BTreeMap<PeerId, Runs>) -> impl Iterator<Item = &Entry> {
        let is_missing = |entry: &&Entry| match &entry.author {
            Author::Mesh(author) => !have.get(author).is_some_and(|runs| is_in(runs, entry.number)),
            Author::Lan(_) => false,
        };
        self.entries.iter().map(|(_, entry)| entry.as_ref()).filter(is_missing)
    }

    /// One entry.
    pub(super) fn get(&self, author: PeerId, number: u64) -> Option<&Entry> {
        let author = Author::Mesh(author);
        let is_it = |entry: &&Entry| entry.number == number && entry.author == author;
        self.entries.iter().map(|(_, entry)| entry.as_ref()).find(is_it)
    }
}

fn occupied(entry: &Entry) -> usize {
    entry.text.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, bytes: usize) -> Arc<Entry> {
        Arc::new(Entry { author: Author::Mesh(PeerId(1)), name: None, number, said_at: 5, text: "x".repeat(bytes) })
    }

    #[test]
    fn what_left_is_there_for_a_quarter_of_a_second() {
        let mut late = Late::default();
        late.add(entry(1, 10), BootMs(100));
        late.add(entry(2, 10), BootMs(200));
        late.forget_old(BootMs(349));
        let have = BTreeMap::from([(PeerId(1), vec![(2, 2)])]);
        assert_eq!(late.missing(&have).map(|entry| entry.number).collect::<Vec<_>>(), [1]);
        assert_eq!(late.missing(&BTreeMap::new()).count(), 2);
        late.forget_old(BootMs(350));
        assert_eq!((late.get(PeerId(1), 1), late.get(PeerId(1), 2).is_some()), (None, true));
        late.forget_old(BootMs(450));
        assert_eq!((late.entries.len(), late.bytes), (0, 0));
    }

    #[test]
    fn it_is_full_before_anything_is_dropped_too_early() {
        let mut late = Late::default();
        let mut count = 0;
        while !late.is_full() {
            count += 1;
            late.add(entry(count, 1000), BootMs(0));
        }
        assert!(late.get(PeerId(1), 1).is_some());
        for number in 0..10_000 {
            late.add(entry(number, 1000), BootMs(0));
        }
        assert!(late.bytes <= 2 * MAX_LATE_BYTES + 2000, "{}", late.bytes);
    }
}
