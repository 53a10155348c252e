//! Chat history: a bounded log per author, and one bound in bytes for all authors together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::chat_entry::{Author, ChatEntry};
use super::history_shares::HistoryShares;
use super::limits::{MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, MAX_HISTORY_BYTES};
use super::received::is_in_ranges;
use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;

/// The chat entries in memory: one log per author.
///
/// Invariant: at most `max_per_author` entries per author, and at most `MAX_HISTORY_BYTES` of
/// memory. In the log of a mesh author each number occurs once, in ascending order. No log is
/// empty. `shares` has exactly the entries of the logs.
#[derive(Clone, Debug, Default)]
pub struct History {
    max_per_author: usize,
    logs: BTreeMap<Author, VecDeque<LoggedEntry>>,
    shares: HistoryShares,
    next_arrival: u64,
}

/// An entry in the log of its author, with the number of its arrival.
#[derive(Clone, Debug)]
struct LoggedEntry {
    arrival: u64,
    entry: Arc<ChatEntry>,
}

impl History {
    /// An empty history that keeps at most `max_per_author` entries per author.
    #[must_use]
    pub fn new(max_per_author: usize) -> Self {
        Self { max_per_author, ..Self::default() }
    }

    /// Adds an entry, which must not be in the history yet. Returns the entries that were evicted
    /// for it: the first one of the author's log if the log is too long, and the oldest ones of the
    /// largest share if the history takes too much memory. The new entry can be one of them.
    pub fn add(&mut self, entry: Arc<ChatEntry>) -> Vec<Arc<ChatEntry>> {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        self.shares.insert(arrival, Arc::clone(&entry));
        // LAN message ids are not in sequence, so the entries of a LAN author stay in the order of
        // arrival.
        let is_next = |last: &LoggedEntry| matches!(entry.author, Author::Lan(_)) || last.entry.number < entry.number;
        let log = self.logs.entry(entry.author.clone()).or_default();
        let at = if log.back().is_none_or(is_next) {
            log.len()
        } else {
            log.partition_point(|before| before.entry.number < entry.number)
        };
        log.insert(at, LoggedEntry { arrival, entry });
        let mut evicted = Vec::new();
        if log.len() > self.max_per_author
            && let Some(first) = log.pop_front()
        {
            self.shares.remove(first.arrival, first.entry.via);
            evicted.push(first.entry);
        }
        while self.shares.bytes() > MAX_HISTORY_BYTES
            && let Some((arrival, oldest)) = self.shares.oldest_of_largest()
        {
            let oldest = Arc::clone(oldest);
            self.remove_where(&oldest.author, |logged| logged.arrival == arrival);
            evicted.push(oldest);
        }
        evicted
    }

    /// Removes the entry of an author with this number, if there is one.
    pub(super) fn remove(&mut self, author: &Author, number: u64) {
        self.remove_where(author, |logged| logged.entry.number == number);
    }

    fn remove_where(&mut self, author: &Author, is_removed: impl Fn(&LoggedEntry) -> bool) {
        let Some(log) = self.logs.get_mut(author) else { return };
        log.retain(|logged| {
            let is_kept = !is_removed(logged);
            if !is_kept {
                self.shares.remove(logged.arrival, logged.entry.via);
            }
            is_kept
        });
        if log.is_empty() {
            self.logs.remove(author);
        }
    }

    /// The entry of a mesh author with this number.
    pub(super) fn get(&self, author: PeerId, number: u64) -> Option<&ChatEntry> {
        let log = self.logs.get(&Author::Mesh(author))?;
        let at = log.binary_search_by_key(&number, |logged| logged.entry.number).ok()?;
        log.get(at).map(|logged| logged.entry.as_ref())
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
            let entries = log.iter().map(|logged| logged.entry.as_ref());
            missing.extend(entries.filter(|entry| !is_in_ranges(has, entry.number)));
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
        let mut entries: Vec<&ChatEntry> = self.logs.values().flatten().map(|logged| logged.entry.as_ref()).collect();
        entries.sort_by_key(|entry| entry.said_at);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::super::deliverer::Deliverer;
    use super::*;

    fn entry(author_id: u128, number: u64) -> ChatEntry {
        let author = Author::Mesh(PeerId(author_id));
        ChatEntry { author, name: None, number, said_at: number.cast_signed(), text: "x".repeat(10), via: None }
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

    fn delivered(author_id: u128, number: u64, host: &str) -> Arc<ChatEntry> {
        let via = Some(Deliverer::link(host.parse().unwrap(), PeerId(7)));
        Arc::new(ChatEntry { via, text: "x".repeat(8192), ..entry(author_id, number) })
    }

    #[test]
    fn a_forger_with_many_names_displaces_only_what_came_by_its_own_link() {
        let mut history = History::new(5);
        for number in 1..=5 {
            history.add(delivered(1, number, "10.0.0.1"));
            // The clock of a forger can say anything, and an honest author may have said nothing
            // for long.
            history.add(ChatEntry { said_at: -1, ..entry(2, number) }.into());
        }
        let mut evicted = Vec::new();
        for author_id in 1_000..11_000 {
            evicted.extend(history.add(delivered(author_id, u64::MAX, "10.0.0.66")));
        }
        assert!(evicted.iter().all(|entry| entry.number == u64::MAX), "only the entries of the forger");
        assert_eq!(evicted.len() + history.len(), 10 + 10_000);
        assert!(history.shares.bytes() <= MAX_HISTORY_BYTES && history.len() > 1_000, "{}", history.len());
        assert!((1..=5).all(|number| [1, 2].iter().all(|id| history.get(PeerId(*id), number).is_some())));
    }

    /// Each of tens of thousands of shares would be looked at for each message, if the shares were
    /// not ranked.
    #[test]
    fn a_forger_with_a_new_link_for_each_message_displaces_only_its_own() {
        let mut history = History::new(5);
        (1..=5).for_each(|number| drop(history.add(delivered(1, number, "10.0.0.1"))));
        let (mut evicted, messages) = (0, 200_000);
        for peer in 0..messages {
            let via = Some(Deliverer::link("10.0.0.66".parse().unwrap(), PeerId(peer)));
            evicted += history.add(ChatEntry { via, ..entry(1_000 + peer, 1) }.into()).len();
        }
        assert_eq!(evicted + history.len(), 5 + 200_000);
        assert!(history.len() > 20_000 && history.shares.bytes() <= MAX_HISTORY_BYTES, "{}", history.len());
        assert!((1..=5).all(|number| history.get(PeerId(1), number).is_some()));
    }

    #[test]
    fn the_bound_in_bytes_holds_for_texts_of_any_length_and_for_any_number_of_authors() {
        for (length, authors) in [(0, 100_000), (8192, 4_000), (8192, 1)] {
            let mut history = History::new(10_000);
            for number in 0..100_000_u64.min(800_000_000 / (length + 1) / 8) {
                let text = "x".repeat(usize::try_from(length).unwrap());
                history.add(ChatEntry { text, ..entry(u128::from(number % authors), number) }.into());
                assert!(history.shares.bytes() <= MAX_HISTORY_BYTES);
            }
            let bytes: usize = history.entries().iter().map(|entry| entry.memory_bytes()).sum();
            assert_eq!(history.shares.bytes(), bytes);
            assert!(bytes > MAX_HISTORY_BYTES / 2, "{length}, {authors}: {bytes}");
        }
    }
}
