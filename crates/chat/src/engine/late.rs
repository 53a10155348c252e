//! What has just left the history. Neighbours may have been told that it is here and ask for it, however few messages the
//! history keeps, and however far away they are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::entry::{Author, Entry};
use super::seen::is_in;
use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// It stays for so long at least: longer than a neighbour nearby waits before it asks.
const LEAST_MS: u64 = 250;
/// And for so long while there is little of it, for those that are far away.
const LONGEST_MS: u64 = 5_000;
/// So many bytes are little.
const FEW_BYTES: usize = 512 * 1024;
/// With more bytes than these nobody is only told of anything.
const MANY_BYTES: usize = 2 * 1024 * 1024;
/// With more than these the oldest go, whoever may ask for them.
const MOST_BYTES: usize = 2 * MANY_BYTES;
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
    /// Adds what has just left.
    pub(super) fn add(&mut self, entry: Arc<Entry>, now: BootMs) {
        while self.bytes > MOST_BYTES {
            self.forget_first();
        }
        self.bytes += occupied(&entry);
        self.entries.push_back((now, entry));
    }

    /// Drops what left long ago.
    pub(super) fn forget_old(&mut self, now: BootMs) {
        while let Some((left_at, _)) = self.entries.front() {
            let stays_ms = if self.bytes > FEW_BYTES { LEAST_MS } else { LONGEST_MS };
            if now < left_at.plus(stays_ms) {
                return;
            }
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, entry)) = self.entries.pop_front() {
            self.bytes -= occupied(&entry);
        }
    }

    /// Whether more leaves the history than stays here.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > MANY_BYTES
    }

    /// What is not in `have`, oldest first.
    pub(super) fn missing(&self, have: &BTreeMap<PeerId, SeqRanges>) -> impl Iterator<Item = &Entry> {
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
    fn what_left_is_there_for_some_seconds_and_for_less_if_there_is_much() {
        let mut late = Late::default();
        late.add(entry(1, 10), BootMs(100));
        late.add(entry(2, 10), BootMs(200));
        late.forget_old(BootMs(5_099));
        let have = BTreeMap::from([(PeerId(1), vec![(2, 2)])]);
        assert_eq!(late.missing(&have).map(|entry| entry.number).collect::<Vec<_>>(), [1]);
        assert_eq!(late.missing(&BTreeMap::new()).count(), 2);
        late.forget_old(BootMs(5_100));
        assert_eq!((late.get(PeerId(1), 1), late.get(PeerId(1), 2).is_some()), (None, true));
        late.forget_old(BootMs(5_200));
        assert_eq!((late.entries.len(), late.bytes), (0, 0));
        for number in 0..10 {
            late.add(entry(number, 100_000), BootMs(6_000 + number));
        }
        late.forget_old(BootMs(6_249));
        assert_eq!(late.entries.len(), 10);
        late.forget_old(BootMs(6_260));
        assert_eq!(late.entries.len(), 5);
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
        assert!(late.bytes <= MOST_BYTES + 2000, "{}", late.bytes);
    }
}
