//! Buffer of entries that were recently evicted from the history. A linked peer may know an entry
//! only from a `have` message, and request it after the history has evicted it. That happens with a
//! short history or a distant peer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::chat_entry::{Author, ChatEntry};
use super::received::is_in_ranges;
use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// Shortest retention, in milliseconds. Longer than the delay before a nearby peer requests an
/// entry.
const MIN_RETENTION_MS: u64 = 250;
/// Retention while the buffer is small, in milliseconds. Long enough for requests of distant peers.
const MAX_RETENTION_MS: u64 = 5_000;
/// Buffer size in bytes up to which the long retention applies.
const LONG_RETENTION_BYTES: usize = 512 * 1024;
/// Buffer size in bytes above which chat is pushed eagerly to all links.
const FULL_BYTES: usize = 2 * 1024 * 1024;
/// Buffer size in bytes above which the oldest entries are dropped before their retention ends.
const MAX_BYTES: usize = 2 * FULL_BYTES;
/// Approximate memory of an entry without its text, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// Evicted entries of the mesh, in the order of their eviction.
///
/// Invariant: `bytes` is the sum of [`memory_bytes`] of all `entries`.
#[derive(Clone, Debug, Default)]
pub(super) struct EvictedEntries {
    entries: VecDeque<(BootMs, Arc<ChatEntry>)>,
    bytes: usize,
}

impl EvictedEntries {
    /// Adds an entry that was just evicted.
    pub(super) fn add(&mut self, entry: Arc<ChatEntry>, now: BootMs) {
        while self.bytes > MAX_BYTES {
            self.pop_oldest();
        }
        self.bytes += memory_bytes(&entry);
        self.entries.push_back((now, entry));
    }

    /// Drops the entries whose retention has ended. Not called while a linked peer may request the
    /// next batch of an answer, so an entry can stay longer.
    pub(super) fn drop_expired(&mut self, now: BootMs) {
        while let Some((evicted_at, _)) = self.entries.front() {
            let retention_ms = if self.bytes > LONG_RETENTION_BYTES { MIN_RETENTION_MS } else { MAX_RETENTION_MS };
            if now < evicted_at.plus(retention_ms) {
                return;
            }
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some((_, entry)) = self.entries.pop_front() {
            self.bytes -= memory_bytes(&entry);
        }
    }

    /// Whether the buffer is so large that chat must be pushed eagerly: entries are evicted faster
    /// than their retention ends.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > FULL_BYTES
    }

    /// The entries that are not in `have`, oldest first.
    pub(super) fn missing(&self, have: &BTreeMap<PeerId, SeqRanges>) -> impl Iterator<Item = &ChatEntry> {
        let is_missing = |entry: &&ChatEntry| match &entry.author {
            Author::Mesh(author) => !have.get(author).is_some_and(|ranges| is_in_ranges(ranges, entry.number)),
            Author::Lan(_) => false,
        };
        self.entries.iter().map(|(_, entry)| entry.as_ref()).filter(is_missing)
    }

    /// The entry of an author with this number.
    pub(super) fn get(&self, author: PeerId, number: u64) -> Option<&ChatEntry> {
        let author = Author::Mesh(author);
        let is_wanted = |entry: &&ChatEntry| entry.number == number && entry.author == author;
        self.entries.iter().map(|(_, entry)| entry.as_ref()).find(is_wanted)
    }
}

fn memory_bytes(entry: &ChatEntry) -> usize {
    entry.text.len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, bytes: usize) -> Arc<ChatEntry> {
        Arc::new(ChatEntry {
            author: Author::Mesh(PeerId(1)),
            name: None,
            number,
            said_at: 5,
            text: "x".repeat(bytes),
            via: None,
        })
    }

    #[test]
    fn evicted_entries_are_kept_for_seconds_and_for_less_time_if_there_are_many() {
        let mut evicted = EvictedEntries::default();
        evicted.add(entry(1, 10), BootMs(100));
        evicted.add(entry(2, 10), BootMs(200));
        evicted.drop_expired(BootMs(5_099));
        let have = BTreeMap::from([(PeerId(1), vec![(2, 2)])]);
        assert_eq!(evicted.missing(&have).map(|entry| entry.number).collect::<Vec<_>>(), [1]);
        assert_eq!(evicted.missing(&BTreeMap::new()).count(), 2);
        evicted.drop_expired(BootMs(5_100));
        assert_eq!((evicted.get(PeerId(1), 1), evicted.get(PeerId(1), 2).is_some()), (None, true));
        evicted.drop_expired(BootMs(5_200));
        assert_eq!((evicted.entries.len(), evicted.bytes), (0, 0));
        for number in 0..10 {
            evicted.add(entry(number, 100_000), BootMs(6_000 + number));
        }
        evicted.drop_expired(BootMs(6_249));
        assert_eq!(evicted.entries.len(), 10);
        evicted.drop_expired(BootMs(6_260));
        assert_eq!(evicted.entries.len(), 5);
    }

    #[test]
    fn the_buffer_reports_full_before_it_drops_an_entry_too_early() {
        let mut evicted = EvictedEntries::default();
        let mut count = 0;
        while !evicted.is_full() {
            count += 1;
            evicted.add(entry(count, 1000), BootMs(0));
        }
        assert!(evicted.get(PeerId(1), 1).is_some());
        for number in 0..10_000 {
            evicted.add(entry(number, 1000), BootMs(0));
        }
        assert!(evicted.bytes <= MAX_BYTES + 2000, "{}", evicted.bytes);
    }
}
