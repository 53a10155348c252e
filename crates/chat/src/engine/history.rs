//! What was said: a bounded log for each author.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::entry::{Author, Entry};
use super::rules::{MAX_SENDERS, PART_BYTES, PART_MESSAGES};
use super::seen::is_in;
use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;

/// The log.
///
/// Invariant: at most `most` entries an author, at most `MAX_SENDERS` authors; each number of an author once, in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    most: usize,
    logs: BTreeMap<Author, VecDeque<Arc<Entry>>>,
}

impl History {
    /// An empty log that keeps at most `most` entries an author.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, logs: BTreeMap::new() }
    }

    /// Adds an entry; the oldest of its author goes if there are too many. Returns what went.
    pub fn add(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let Some(log) = self.logs.get_mut(&entry.author) else {
            if self.logs.len() >= MAX_SENDERS {
                self.forget_longest_silent();
            }
            self.logs.insert(entry.author.clone(), VecDeque::from([entry]));
            return None;
        };
        // Numbers of the LAN are drawn; there the order is that of their coming.
        let is_next = |last: &Arc<Entry>| matches!(entry.author, Author::Lan(_)) || last.number < entry.number;
        if log.back().is_none_or(is_next) {
            log.push_back(entry);
        } else {
            log.insert(log.partition_point(|before| before.number < entry.number), entry);
        }
        (log.len() > self.most).then(|| log.pop_front()).flatten()
    }

    /// Takes an entry out, if it is there.
    pub(super) fn remove(&mut self, author: &Author, number: u64) {
        let Some(log) = self.logs.get_mut(author) else { return };
        log.retain(|entry| entry.number != number);
        if log.is_empty() {
            self.logs.remove(author);
        }
    }

    /// The author whose last word is the oldest makes room.
    fn forget_longest_silent(&mut self) {
        let last = |log: &VecDeque<Arc<Entry>>| log.iter().map(|entry| entry.said_at).max();
        let silent = self.logs.iter().min_by_key(|(_, log)| last(log)).map(|(author, _)| author.clone());
        if let Some(author) = silent {
            self.logs.remove(&author);
        }
    }

    /// One entry of the mesh.
    pub(super) fn get(&self, author: PeerId, number: u64) -> Option<&Entry> {
        let log = self.logs.get(&Author::Mesh(author))?;
        let at = log.binary_search_by_key(&number, |entry| entry.number).ok()?;
        log.get(at).map(Arc::as_ref)
    }

    /// The next part of what is not in `have`, oldest first, and whether there is more. What stands elsewhere comes in
    /// `others`.
    pub(super) fn missing<'e>(
        &'e self,
        have: &BTreeMap<PeerId, SeqRanges>,
        others: impl Iterator<Item = &'e Entry>,
    ) -> (Vec<&'e Entry>, bool) {
        let mut missing: Vec<&Entry> = others.collect();
        for (author, log) in &self.logs {
            let Author::Mesh(sender) = author else { continue };
            let has = have.get(sender).map_or(&[][..], Vec::as_slice);
            missing.extend(log.iter().map(Arc::as_ref).filter(|entry| !is_in(has, entry.number)));
        }
        missing.sort_by_key(|entry| (entry.said_at, entry.number));
        let mut bytes = 0;
        let fits = missing.iter().take_while(|entry| {
            let before = bytes;
            bytes += entry.text.len();
            before < PART_BYTES
        });
        let part = fits.count().min(PART_MESSAGES);
        let more = part < missing.len();
        missing.truncate(part);
        (missing, more)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.logs.values().map(VecDeque::len).sum()
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Everything, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.logs.values().flatten().map(Arc::as_ref).collect();
        entries.sort_by_key(|entry| entry.said_at);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sender: u128, number: u64) -> Entry {
        let author = Author::Mesh(PeerId(sender));
        Entry { author, name: None, number, said_at: number.cast_signed(), text: "x".repeat(10) }
    }

    fn numbers(entries: &[&Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.number).collect()
    }

    #[test]
    fn the_oldest_of_an_author_makes_room_for_its_newest_only() {
        let mut history = History::new(2);
        for number in [5, 7, 6] {
            history.add(entry(1, number).into());
        }
        history.add(entry(2, 1).into());
        assert_eq!(numbers(&history.entries()), [1, 6, 7]);
        assert_eq!((history.len(), history.is_empty()), (3, false));
    }

    #[test]
    fn who_asks_gets_what_is_missing_in_parts() {
        let mut history = History::new(1000);
        let count = PART_MESSAGES as u64 + 10;
        for number in 1..=count {
            history.add(entry(1, number).into());
        }
        history.add(Entry { author: Author::Lan("a@1.2.3.4".into()), ..entry(0, 1) }.into());
        let have = |last| BTreeMap::from([(PeerId(1), vec![(1, last)])]);
        let (part, more) = history.missing(&BTreeMap::new(), [].into_iter());
        assert_eq!((part.len(), more), (PART_MESSAGES, true));
        let (part, more) = history.missing(&have(PART_MESSAGES as u64), [].into_iter());
        assert_eq!((part.len(), more), (10, false));
        assert_eq!(history.missing(&have(count), [].into_iter()), (vec![], false));
        let holes = BTreeMap::from([(PeerId(1), vec![(0, 3), (6, count)])]);
        assert_eq!(numbers(&history.missing(&holes, [].into_iter()).0), [4, 5]);
    }

    #[test]
    fn a_part_of_long_texts_is_shorter() {
        let mut history = History::new(1000);
        for number in 1..=40 {
            history.add(Entry { text: "x".repeat(8192), ..entry(1, number) }.into());
        }
        let (part, more) = history.missing(&BTreeMap::new(), [].into_iter());
        assert_eq!((part.len(), more), (PART_BYTES / 8192, true));
    }

    #[test]
    fn authors_are_bounded_too() {
        let mut history = History::new(5);
        for sender in 0..=MAX_SENDERS as u128 {
            history.add(entry(sender, u64::try_from(sender).unwrap() + 1).into());
        }
        let entries = history.entries();
        assert_eq!((entries.len(), entries[0].number), (MAX_SENDERS, 2));
    }
}
