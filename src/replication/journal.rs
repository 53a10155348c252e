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
}

impl Journal {
    /// Where this replica is; `None` if it does not have everything of any position.
    pub(super) fn position(&self) -> Option<Position> {
        self.entries.back().map(|(position, _)| *position).or(self.base)
    }

    /// Forgets everything: something is missing.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Starts at a position of which this replica has everything.
    pub(super) fn start(&mut self, base: Position) {
        *self = Self { base: Some(base), ..Self::default() };
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
            if !rows.is_empty() && rows.size() + batch.size() > Rows::MOST_BYTES {
                return Some((rows, Some(end)));
            }
            rows.extend(batch);
            end = *at;
        }
        Some((rows, None))
    }
}
