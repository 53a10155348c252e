//! Which numbers of a sender were heard. Numbers of one run of a program follow each other, so what was heard is a few
//! runs of them, however many messages there were.

use std::collections::{BTreeMap, VecDeque};

use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;

/// The most senders of whom nothing is remembered but the highest number. Two megabytes when it is full.
pub(super) const MAX_FORGOTTEN: usize = 32 * 1024;

/// The numbers that were heard of one sender.
///
/// Invariant: the runs are in order, do not touch, and are at most `most`; what was heard stays heard.
#[derive(Clone, Debug)]
pub struct Seen {
    runs: SeqRanges,
    most: usize,
}

impl Seen {
    /// Nothing was heard; at most `most` runs will be remembered.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { runs: Vec::new(), most: most.max(1) }
    }

    /// Adds a number; whether it was not heard before.
    pub fn insert(&mut self, number: u64) -> bool {
        // The first run that does not end before the number.
        let at = self.runs.partition_point(|(_, last)| *last < number);
        if self.runs.get(at).is_some_and(|(first, _)| *first <= number) {
            return false;
        }
        let joins_previous = at > 0 && self.runs[at - 1].1.checked_add(1) == Some(number);
        let joins_next = self.runs.get(at).is_some_and(|(first, _)| number.checked_add(1) == Some(*first));
        match (joins_previous, joins_next) {
            (true, true) => {
                self.runs[at - 1].1 = self.runs[at].1;
                self.runs.remove(at);
            }
            (true, false) => self.runs[at - 1].1 = number,
            (false, true) => self.runs[at].0 = number,
            (false, false) => self.runs.insert(at, (number, number)),
        }
        if self.runs.len() > self.most {
            self.forget_oldest_gap();
        }
        true
    }

    /// Whether a number was heard, or is so old that it counts as heard.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let at = self.runs.partition_point(|(_, last)| *last < number);
        self.runs.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// Whether all numbers from the first to the last were heard, or count as heard.
    #[must_use]
    pub fn contains_run(&self, first: u64, last: u64) -> bool {
        let at = self.runs.partition_point(|(_, end)| *end < last);
        self.runs.get(at).is_some_and(|(start, _)| *start <= first)
    }

    /// Whatever is lower than `number` counts as heard from now on.
    pub fn forget_below(&mut self, number: u64) {
        let Some(last) = number.checked_sub(1) else { return };
        self.runs.retain(|(_, end)| *end > last);
        match self.runs.first_mut() {
            Some(first) if first.0 <= number => first.0 = 0,
            _ => self.runs.insert(0, (0, last)),
        }
        if self.runs.len() > self.most {
            self.forget_oldest_gap();
        }
    }

    /// The newest runs, at most `most`; what is older counts as heard in them.
    #[must_use]
    pub fn newest_runs(&self, most: usize) -> SeqRanges {
        let skipped = self.runs.len().saturating_sub(most);
        let mut runs = self.runs[skipped..].to_vec();
        if let Some(first) = runs.first_mut().filter(|_| skipped > 0) {
            first.0 = 0;
        }
        runs
    }

    /// The highest number heard.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.runs.last().map(|(_, last)| *last)
    }

    /// What is missing between the two oldest runs, and before, counts as heard: a number that late is a repetition.
    fn forget_oldest_gap(&mut self) {
        let (_, last) = self.runs.remove(0);
        match self.runs.first_mut() {
            Some(first) => first.0 = 0,
            None => self.runs.push((0, last)),
        }
    }
}

/// What is left of senders who made room for others: the highest number that was heard of each.
///
/// Invariant: `order` names whom `highest` knows, each once; at most [`MAX_FORGOTTEN`].
#[derive(Clone, Debug, Default)]
pub(super) struct Forgotten {
    order: VecDeque<PeerId>,
    highest: BTreeMap<PeerId, u64>,
}

impl Forgotten {
    /// Adds somebody of whom this number was heard, and maybe lower ones; whoever was forgotten first makes room.
    pub(super) fn insert(&mut self, sender: PeerId, highest: u64) {
        if let Some(known) = self.highest.get_mut(&sender) {
            *known = highest.max(*known);
            return;
        }
        self.highest.insert(sender, highest);
        self.order.push_back(sender);
        if self.order.len() > MAX_FORGOTTEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.highest.remove(&oldest);
        }
    }

    /// Whether the number was heard before the sender was forgotten, or is so low that it counts as heard.
    pub(super) fn has(&self, sender: PeerId, number: u64) -> bool {
        self.highest(sender).is_some_and(|highest| number <= highest)
    }

    /// The highest number that was heard before the sender was forgotten.
    pub(super) fn highest(&self, sender: PeerId) -> Option<u64> {
        self.highest.get(&sender).copied()
    }
}

/// Whether a number is in one of the runs that somebody else named.
#[must_use]
pub(super) fn is_in(runs: &[(u64, u64)], number: u64) -> bool {
    runs.iter().any(|(first, last)| (*first..=*last).contains(&number))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_the_forgotten_the_highest_number_is_known_and_the_memory_is_bounded() {
        let mut forgotten = Forgotten::default();
        for sender in 0..=MAX_FORGOTTEN as u128 {
            forgotten.insert(PeerId(sender), 7);
            forgotten.insert(PeerId(sender), 5);
        }
        assert_eq!([0, 1, 2].map(|sender| forgotten.highest(PeerId(sender))), [None, Some(7), Some(7)]);
        forgotten.insert(PeerId(1), 9);
        assert_eq!(forgotten.highest(PeerId(1)), Some(9));
        assert_eq!((forgotten.order.len(), forgotten.highest.len()), (MAX_FORGOTTEN, MAX_FORGOTTEN));
    }

    #[test]
    fn a_million_messages_in_order_are_one_run() {
        let mut seen = Seen::new(100);
        assert!((1..=1_000_000).all(|number| seen.insert(number)));
        assert_eq!(seen.runs, [(1, 1_000_000)]);
        assert!(!seen.insert(1) && !seen.insert(1_000_000));
    }

    #[test]
    fn gaps_are_filled_and_the_oldest_one_too_many_counts_as_heard() {
        let mut seen = Seen::new(3);
        assert!([1, 3, 5].into_iter().all(|number| seen.insert(number)));
        assert!(seen.insert(2));
        assert_eq!(seen.runs, [(1, 3), (5, 5)]);
        assert!([7, 9].into_iter().all(|number| seen.insert(number)));
        assert_eq!(seen.runs, [(0, 5), (7, 7), (9, 9)], "4 is given up");
        assert!(!seen.insert(4) && !seen.insert(0));
        assert_eq!(seen.newest_runs(2), [(0, 7), (9, 9)]);
        assert_eq!(seen.newest_runs(9), seen.runs);
        let mut ends = Seen::new(3);
        assert!(ends.insert(u64::MAX) && ends.insert(0) && !ends.insert(u64::MAX));
    }

    #[test]
    fn what_is_below_a_number_can_be_forgotten() {
        let mut seen = Seen::new(5);
        for number in [5, 6, 20] {
            seen.insert(number);
        }
        seen.forget_below(6);
        assert_eq!(seen.runs, [(0, 6), (20, 20)]);
        seen.forget_below(10);
        assert_eq!(seen.runs, [(0, 9), (20, 20)]);
        let mut empty = Seen::new(5);
        empty.forget_below(0);
        assert_eq!(empty.runs, []);
    }

    proptest! {
        #[test]
        fn nothing_is_new_twice_and_with_room_everything_is_new_once(
            numbers in prop::collection::vec(0u64..60, 0..80),
            most in 1usize..40,
        ) {
            let (mut seen, mut model) = (Seen::new(most), BTreeSet::new());
            for number in numbers {
                let is_new = seen.insert(number);
                prop_assert!(!is_new || !model.contains(&number), "{number} was new twice");
                if most > 30 {
                    prop_assert_eq!(is_new, !model.contains(&number));
                }
                model.insert(number);
                prop_assert!(model.iter().all(|number| seen.contains(*number)));
                let all = |first, last| (first..=last).all(|number| seen.contains(number));
                prop_assert_eq!(seen.contains_run(number / 2, number), all(number / 2, number));
                prop_assert!(seen.runs.len() <= most);
                prop_assert!(seen.runs.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", seen.runs);
            }
        }
    }
}
