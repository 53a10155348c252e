//! The latest batches, kept for those who missed a few.

use std::collections::VecDeque;

use super::message::Position;
use crate::registry::Rows;

/// The most rows that are kept: some seconds of a hundred thousand clients, a few megabytes.
const MOST_ROWS: usize = 32 * 1024;

/// Batches in the order in which this replica got or made them.
///
/// Invariant: if there is a `base`, this replica has everything that was known there, and `entries` are all that came
/// since, in order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    base: Option<Position>,
    entries: VecDeque<(Position, Rows)>,
    rows: usize,
    /// Where it ended when something was missed.
    interrupted_at: Option<Position>,
}

impl Journal {
    /// Where this replica is; `None` if it does not have everything of any position.
    pub(super) fn position(&self) -> Option<Position> {
        self.entries.back().map(|(position, _)| *position).or(self.base)
    }

    /// The last position at which this replica had everything, even if something was missed since.
    pub(super) fn last_position(&self) -> Option<Position> {
        self.position().or(self.interrupted_at)
    }

    /// Forgets everything but the last position: something is missing.
    pub(super) fn interrupt(&mut self) {
        *self = Self { interrupted_at: self.last_position(), ..Self::default() };
    }

    /// Forgets everything, and the last position too.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Starts at a position of which this replica has everything.
    pub(super) fn start(&mut self, base: Position) {
        *self = Self { base: Some(base), interrupted_at: self.interrupted_at, ..Self::default() };
    }

    /// Notes a batch that follows everything here. Without a base it is of no use.
    pub(super) fn push(&mut self, position: Position, rows: &Rows) {
        if self.base.is_none() {
            return;
        }
        self.rows += rows.len();
        self.entries.push_back((position, rows.clone()));
        while self.rows > MOST_ROWS
            && let Some((position, rows)) = self.entries.pop_front()
        {
            self.rows -= rows.len();
            self.base = Some(position);
        }
    }

    /// Batches after `position`, as one, and where they end if there are more; `None` if nobody can say.
    pub(super) fn after(&self, position: Position) -> Option<(Rows, Option<Position>)> {
        let base = self.base?;
        // Of a term in which this replica was not, it cannot say what was known there; nor of what lies before its base.
        let was_there = base.term == position.term || self.entries.iter().any(|(at, _)| at.term == position.term);
        if position < base || !was_there {
            return None;
        }
        let place = self.entries.partition_point(|(at, _)| *at <= position);
        let (mut rows, mut end) = (Rows::default(), position);
        for (at, batch) in self.entries.iter().skip(place) {
            if !rows.is_empty() && rows.size() + batch.size() > Rows::MAX_BYTES {
                return Some((rows, Some(end)));
            }
            rows.extend(batch);
            end = *at;
        }
        Some((rows, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_core::{Term, Username};

    fn at(number: u64) -> Position {
        Position { term: Term(1), number }
    }

    /// As many rows as are kept in a hundred batches.
    fn batch() -> Rows {
        let row = Rows::of_user(Username::parse("alice").unwrap());
        let mut rows = Rows::default();
        (0..MOST_ROWS / 100).for_each(|_| rows.extend(&row));
        rows
    }

    #[test]
    fn of_what_was_dropped_nobody_is_told_that_it_was_nothing() {
        let (mut journal, batch) = (Journal::default(), batch());
        journal.push(at(1), &batch);
        assert_eq!(journal.position(), None, "without a base it is of no use");
        journal.start(at(1));
        (2..=101).for_each(|number| journal.push(at(number), &batch));
        assert!(journal.after(at(1)).is_some(), "as many as are kept");
        assert!(journal.after(at(0)).is_none());
        // Each pushes out another one.
        (102..=111).for_each(|number| journal.push(at(number), &batch));
        assert_eq!(journal.position(), Some(at(111)));
        for dropped in 1..=10 {
            assert!(journal.after(at(dropped)).is_none(), "what came after {dropped} is not all there");
        }
        // No more than go into one message.
        let fit = (Rows::MAX_BYTES / batch.size()).max(1);
        let (rows, end) = journal.after(at(11)).expect("all that came since");
        assert_eq!((rows.len(), end), (fit * batch.len(), Some(at(11 + fit as u64))));
        let (rows, end) = journal.after(at(110)).expect("the last one");
        assert_eq!((rows.len(), end), (batch.len(), None));
    }
}
