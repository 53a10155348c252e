//! Set of received sequence numbers of one author, stored as ranges. An author
//! numbers the chat of one run consecutively, so a few ranges cover any number of messages.

use crate::mesh::SeqRanges;

/// Set of received sequence numbers.
///
/// Invariant: there are at most `max_ranges` ranges, in ascending order, and no two of them touch.
/// A number is never removed.
#[derive(Clone, Debug)]
pub struct ReceivedNumbers {
    ranges: SeqRanges,
    max_ranges: usize,
}

impl ReceivedNumbers {
    /// An empty set with at most `max_ranges` ranges.
    #[must_use]
    pub fn new(max_ranges: usize) -> Self {
        Self { ranges: Vec::new(), max_ranges: max_ranges.max(1) }
    }

    /// Adds a number. Returns whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        // The first range that does not end before the number.
        let at = self.ranges.partition_point(|(_, last)| *last < number);
        if self.ranges.get(at).is_some_and(|(first, _)| *first <= number) {
            return false;
        }
        let joins_previous = at > 0 && self.ranges[at - 1].1.checked_add(1) == Some(number);
        let joins_next = self.ranges.get(at).is_some_and(|(first, _)| number.checked_add(1) == Some(*first));
        match (joins_previous, joins_next) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = number,
            (false, true) => self.ranges[at].0 = number,
            (false, false) => self.ranges.insert(at, (number, number)),
        }
        if self.ranges.len() > self.max_ranges {
            self.close_oldest_gap();
        }
        true
    }

    /// Whether a number was received, or is so old that it counts as received.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < number);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// Whether all numbers from `first` to `last` were received or count as received.
    #[must_use]
    pub fn contains_range(&self, first: u64, last: u64) -> bool {
        let at = self.ranges.partition_point(|(_, end)| *end < last);
        self.ranges.get(at).is_some_and(|(start, _)| *start <= first)
    }

    /// Adds all numbers below `number`.
    pub fn mark_received_below(&mut self, number: u64) {
        let Some(last) = number.checked_sub(1) else { return };
        self.ranges.retain(|(_, end)| *end > last);
        match self.ranges.first_mut() {
            Some(first) if first.0 <= number => first.0 = 0,
            _ => self.ranges.insert(0, (0, last)),
        }
        if self.ranges.len() > self.max_ranges {
            self.close_oldest_gap();
        }
    }

    /// The newest ranges, at most `max_ranges`. If older ranges are left out, the first returned
    /// range begins at 0.
    #[must_use]
    pub fn newest_ranges(&self, max_ranges: usize) -> SeqRanges {
        let skipped = self.ranges.len().saturating_sub(max_ranges);
        let mut ranges = self.ranges[skipped..].to_vec();
        if let Some(first) = ranges.first_mut().filter(|_| skipped > 0) {
            first.0 = 0;
        }
        ranges
    }

    /// The highest number received.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.ranges.last().map(|(_, last)| *last)
    }

    /// Merges the two oldest ranges into one that begins at 0. A missing message that old then
    /// counts as received: it is most likely a duplicate.
    fn close_oldest_gap(&mut self) {
        let (_, last) = self.ranges.remove(0);
        match self.ranges.first_mut() {
            Some(first) => first.0 = 0,
            None => self.ranges.push((0, last)),
        }
    }
}

/// Whether a number is in one of the ranges. The ranges come from another peer and may be in any
/// order.
#[must_use]
pub(super) fn is_in_ranges(ranges: &[(u64, u64)], number: u64) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&number))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_million_messages_in_order_are_one_range() {
        let mut received = ReceivedNumbers::new(100);
        assert!((1..=1_000_000).all(|number| received.insert(number)));
        assert_eq!(received.ranges, [(1, 1_000_000)]);
        assert!(!received.insert(1) && !received.insert(1_000_000));
    }

    #[test]
    fn gaps_are_filled_and_the_oldest_gap_over_the_limit_counts_as_received() {
        let mut received = ReceivedNumbers::new(3);
        assert!([1, 3, 5].into_iter().all(|number| received.insert(number)));
        assert!(received.insert(2));
        assert_eq!(received.ranges, [(1, 3), (5, 5)]);
        assert!([7, 9].into_iter().all(|number| received.insert(number)));
        assert_eq!(received.ranges, [(0, 5), (7, 7), (9, 9)], "4 counts as received");
        assert!(!received.insert(4) && !received.insert(0));
        assert_eq!(received.newest_ranges(2), [(0, 7), (9, 9)]);
        assert_eq!(received.newest_ranges(9), received.ranges);
        let mut ends = ReceivedNumbers::new(3);
        assert!(ends.insert(u64::MAX) && ends.insert(0) && !ends.insert(u64::MAX));
    }

    #[test]
    fn all_numbers_below_a_given_one_can_be_marked_as_received() {
        let mut received = ReceivedNumbers::new(5);
        for number in [5, 6, 20] {
            received.insert(number);
        }
        received.mark_received_below(6);
        assert_eq!(received.ranges, [(0, 6), (20, 20)]);
        received.mark_received_below(10);
        assert_eq!(received.ranges, [(0, 9), (20, 20)]);
        let mut empty = ReceivedNumbers::new(5);
        empty.mark_received_below(0);
        assert_eq!(empty.ranges, []);
    }

    proptest! {
        #[test]
        fn no_number_is_new_twice_and_below_the_range_limit_each_is_new_once(
            numbers in prop::collection::vec(0u64..60, 0..80),
            max_ranges in 1usize..40,
        ) {
            let (mut received, mut model) = (ReceivedNumbers::new(max_ranges), BTreeSet::new());
            for number in numbers {
                let is_new = received.insert(number);
                prop_assert!(!is_new || !model.contains(&number), "{number} was new twice");
                if max_ranges > 30 {
                    prop_assert_eq!(is_new, !model.contains(&number));
                }
                model.insert(number);
                prop_assert!(model.iter().all(|number| received.contains(*number)));
                let all = |first, last| (first..=last).all(|number| received.contains(number));
                prop_assert_eq!(received.contains_range(number / 2, number), all(number / 2, number));
                prop_assert!(received.ranges.len() <= max_ranges);
                prop_assert!(received.ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", received.ranges);
            }
        }
    }
}
