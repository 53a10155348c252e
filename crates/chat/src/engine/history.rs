//! Chat history: a bounded log per author.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::chat_entry::{Author, ChatEntry};
use super::limits::{MAX_AUTHORS, MAX_BATCH_BYTES, MAX_BATCH_MESSAGES};
use super::received::is_in_ranges;
use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;

/// The chat entries in memory: one log per author.
///
/// Invariant: at most `max_per_author` entries per author and at most `MAX_AUTHORS` authors. In the
/// log of a mesh author each number occurs once, in ascending order.
#[derive(Clone, Debug, Default)]
pub struct History {
    max_per_author: usize,
    logs: BTreeMap<Author, VecDeque<Arc<ChatEntry>>>,
}

impl History {
    /// An empty history that keeps at most `max_per_author` entries per author.
    #[must_use]
    pub fn new(max_per_author: usize) -> Self {
        Self { max_per_author, logs: BTreeMap::new() }
    }

    /// Adds an entry, which must not be in the history yet. If the author's log is then too long,
    /// removes and returns its first entry, which can be the new one.
    pub fn add(&mut self, entry: Arc<ChatEntry>) -> Option<Arc<ChatEntry>> {
        let Some(log) = self.logs.get_mut(&entry.author) else {
            if self.logs.len() >= MAX_AUTHORS {
                self.evict_stalest_author();
            }
            self.logs.insert(entry.author.clone(), VecDeque::from([entry]));
            return None;
        };
        // LAN message ids are not in sequence, so the entries of a LAN author stay in the order of
        // arrival.
        let is_next = |last: &Arc<ChatEntry>| matches!(entry.author, Author::Lan(_)) || last.number < entry.number;
        if log.back().is_none_or(is_next) {
            log.push_back(entry);
        } else {
            log.insert(log.partition_point(|before| before.number < entry.number), entry);
        }
        (log.len() > self.max_per_author).then(|| log.pop_front()).flatten()
    }

    /// Removes the entry of an author with this number, if there is one.
    pub(super) fn remove(&mut self, author: &Author, number: u64) {
        let Some(log) = self.logs.get_mut(author) else { return };
        log.retain(|entry| entry.number != number);
        if log.is_empty() {
            self.logs.remove(author);
        }
    }

    /// Evicts the author that has been silent for the longest time, by the timestamps of its
    /// entries.
    fn evict_stalest_author(&mut self) {
        let last = |log: &VecDeque<Arc<ChatEntry>>| log.iter().map(|entry| entry.said_at).max();
        let stalest = self.logs.iter().min_by_key(|(_, log)| last(log)).map(|(author, _)| author.clone());
        if let Some(author) = stalest {
            self.logs.remove(&author);
        }
    }

    /// The entry of a mesh author with this number.
    pub(super) fn get(&self, author: PeerId, number: u64) -> Option<&ChatEntry> {
        let log = self.logs.get(&Author::Mesh(author))?;
        let at = log.binary_search_by_key(&number, |entry| entry.number).ok()?;
        log.get(at).map(Arc::as_ref)
    }

    /// The next batch of mesh entries that are not in `have`, oldest first. The flag is true if
    /// more are left. `evicted` are entries that the history no longer contains; they are
    /// candidates, too.
    pub(super) fn missing<'e>(
        &'e self,
        have: &BTreeMap<PeerId, SeqRanges>,
        evicted: impl Iterator<Item = &'e ChatEntry>,
    ) -> (Vec<&'e ChatEntry>, bool) {
        let mut missing: Vec<&ChatEntry> = evicted.collect();
        for (author, log) in &self.logs {
            let Author::Mesh(id) = author else { continue };
            let has = have.get(id).map_or(&[][..], Vec::as_slice);
            missing.extend(log.iter().map(Arc::as_ref).filter(|entry| !is_in_ranges(has, entry.number)));
        }
        missing.sort_by_key(|entry| (entry.said_at, entry.number));
        let mut bytes = 0;
        let fits = missing.iter().take_while(|entry| {
            let before = bytes;
            bytes += entry.text.len();
            before < MAX_BATCH_BYTES
        });
        let batch = fits.count().min(MAX_BATCH_MESSAGES);
        let more = batch < missing.len();
        missing.truncate(batch);
        (missing, more)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.logs.values().map(VecDeque::len).sum()
    }

    /// Whether the history has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<&ChatEntry> {
        let mut entries: Vec<&ChatEntry> = self.logs.values().flatten().map(Arc::as_ref).collect();
        entries.sort_by_key(|entry| entry.said_at);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(author_id: u128, number: u64) -> ChatEntry {
        let author = Author::Mesh(PeerId(author_id));
        ChatEntry { author, name: None, number, said_at: number.cast_signed(), text: "x".repeat(10) }
    }

    fn numbers(entries: &[&ChatEntry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.number).collect()
    }

    #[test]
    fn the_oldest_entry_of_an_author_is_evicted_when_the_log_of_the_author_is_full() {
        let mut history = History::new(2);
        for number in [5, 7, 6] {
            history.add(entry(1, number).into());
        }
        history.add(entry(2, 1).into());
        assert_eq!(numbers(&history.entries()), [1, 6, 7]);
        assert_eq!((history.len(), history.is_empty()), (3, false));
    }

    #[test]
    fn missing_entries_are_returned_in_batches() {
        let mut history = History::new(1000);
        let count = MAX_BATCH_MESSAGES as u64 + 10;
        for number in 1..=count {
            history.add(entry(1, number).into());
        }
        history.add(ChatEntry { author: Author::Lan("a@1.2.3.4".into()), ..entry(0, 1) }.into());
        let have = |last| BTreeMap::from([(PeerId(1), vec![(1, last)])]);
        let (batch, more) = history.missing(&BTreeMap::new(), [].into_iter());
        assert_eq!((batch.len(), more), (MAX_BATCH_MESSAGES, true));
        let (batch, more) = history.missing(&have(MAX_BATCH_MESSAGES as u64), [].into_iter());
        assert_eq!((batch.len(), more), (10, false));
        assert_eq!(history.missing(&have(count), [].into_iter()), (vec![], false));
        let holes = BTreeMap::from([(PeerId(1), vec![(0, 3), (6, count)])]);
        assert_eq!(numbers(&history.missing(&holes, [].into_iter()).0), [4, 5]);
    }

    #[test]
    fn a_batch_of_long_texts_has_fewer_entries() {
        let mut history = History::new(1000);
        for number in 1..=40 {
            history.add(ChatEntry { text: "x".repeat(8192), ..entry(1, number) }.into());
        }
        let (batch, more) = history.missing(&BTreeMap::new(), [].into_iter());
        assert_eq!((batch.len(), more), (MAX_BATCH_BYTES / 8192, true));
    }

    #[test]
    fn the_number_of_authors_is_bounded() {
        let mut history = History::new(5);
        for author_id in 0..=MAX_AUTHORS as u128 {
            history.add(entry(author_id, u64::try_from(author_id).unwrap() + 1).into());
        }
        let entries = history.entries();
        assert_eq!((entries.len(), entries[0].number), (MAX_AUTHORS, 2));
    }
}
