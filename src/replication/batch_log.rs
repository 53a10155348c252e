//! Log of the latest batches, for followers that missed a few.

use std::collections::VecDeque;

use super::message::LogPosition;
use crate::registry::Rows;

/// Largest number of rows in the log. That is a few megabytes: the heartbeats of 100 000 clients
/// for some seconds.
const MAX_ROWS: usize = 32 * 1024;

/// Batches in the order in which this replica received or made them.
///
/// Invariant: if there is a `base`, this replica has all rows known at that position, and `batches`
/// holds every later batch in order.
#[derive(Debug, Default)]
pub(super) struct BatchLog {
    base: Option<LogPosition>,
    batches: VecDeque<(LogPosition, Rows)>,
    row_count: usize,
    /// The last complete position when the latest gap was marked.
    gap_after: Option<LogPosition>,
}

impl BatchLog {
    /// The last position at which this replica has all rows. `None` if there is none.
    pub(super) fn position(&self) -> Option<LogPosition> {
        self.batches.back().map(|(position, _)| *position).or(self.base)
    }

    /// The last position at which this replica had all rows, even if it has missed batches since.
    pub(super) fn last_complete_position(&self) -> Option<LogPosition> {
        self.position().or(self.gap_after)
    }

    /// Clears the log after a missed batch, and keeps only the last complete position.
    pub(super) fn mark_gap(&mut self) {
        *self = Self { gap_after: self.last_complete_position(), ..Self::default() };
    }

    /// Clears the log and the last complete position.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Starts the log at a position at which this replica has all rows.
    pub(super) fn start_at(&mut self, base: LogPosition) {
        *self = Self { base: Some(base), gap_after: self.gap_after, ..Self::default() };
    }

    /// Appends the next batch. Does nothing while the log has no base.
    pub(super) fn push(&mut self, position: LogPosition, rows: &Rows) {
        if self.base.is_none() {
            return;
        }
        self.row_count += rows.len();
        self.batches.push_back((position, rows.clone()));
        while self.row_count > MAX_ROWS
            && let Some((position, rows)) = self.batches.pop_front()
        {
            self.row_count -= rows.len();
            self.base = Some(position);
        }
    }

    /// The batches after `position`, merged into one message, and the position to continue from if
    /// more follow. `None` if the log does not have every batch after `position`.
    pub(super) fn batches_after(&self, position: LogPosition) -> Option<(Rows, Option<LogPosition>)> {
        let base = self.base?;
        // The log can answer only for positions from its base on, in terms of which it has batches.
        let has_term = base.term == position.term || self.batches.iter().any(|(at, _)| at.term == position.term);
        if position < base || !has_term {
            return None;
        }
        let first = self.batches.partition_point(|(at, _)| *at <= position);
        let (mut rows, mut end) = (Rows::default(), position);
        for (at, batch) in self.batches.iter().skip(first) {
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

    fn at(number: u64) -> LogPosition {
        LogPosition { term: Term(1), number }
    }

    /// A batch with a hundredth of the rows that the log keeps.
    fn batch() -> Rows {
        let row = Rows::of_user(Username::parse("alice").unwrap());
        let mut rows = Rows::default();
        (0..MAX_ROWS / 100).for_each(|_| rows.extend(&row));
        rows
    }

    #[test]
    fn the_log_never_answers_for_batches_that_it_has_dropped() {
        let (mut log, batch) = (BatchLog::default(), batch());
        log.push(at(1), &batch);
        assert_eq!(log.position(), None, "without a base nothing is kept");
        log.start_at(at(1));
        (2..=101).for_each(|number| log.push(at(number), &batch));
        assert!(log.batches_after(at(1)).is_some(), "the log is exactly full");
        assert!(log.batches_after(at(0)).is_none());
        // Each further batch drops an old one.
        (102..=111).for_each(|number| log.push(at(number), &batch));
        assert_eq!(log.position(), Some(at(111)));
        for dropped in 1..=10 {
            assert!(log.batches_after(at(dropped)).is_none(), "batches after {dropped} are missing");
        }
        // One message holds a bounded number of rows.
        let fit = (Rows::MAX_BYTES / batch.size()).max(1);
        let (rows, end) = log.batches_after(at(11)).expect("the log has every later batch");
        assert_eq!((rows.len(), end), (fit * batch.len(), Some(at(11 + fit as u64))));
        let (rows, end) = log.batches_after(at(110)).expect("the log has the last batch");
        assert_eq!((rows.len(), end), (batch.len(), None));
    }
}
