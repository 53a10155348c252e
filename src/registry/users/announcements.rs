//! The rows that other nodes are to be told of, in the order of their numbers.

use std::collections::VecDeque;

use super::rows::RowNo;
use rollcall_core::Username;

/// Numbers rows, and queues those that other nodes are to be told of.
///
/// Invariant: numbers are unique, and those in `fresh` grow.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// The number of the row that was put in or announced last.
    last: RowNo,
    /// Kept only while there is somebody to tell.
    fresh: Option<VecDeque<(RowNo, Username)>>,
}

impl Announcements {
    /// Draws the next number for a row, which the other nodes are to be told of.
    pub(super) fn number(&mut self, name: &Username) -> RowNo {
        self.last = self.last.next();
        if let Some(fresh) = &mut self.fresh {
            fresh.push_back((self.last, name.clone()));
        }
        self.last
    }

    /// From now on, whether new rows are noted for the other nodes. The number of the last row.
    pub(super) fn track(&mut self, tracked: bool) -> RowNo {
        // What was noted and not told yet is to be told still.
        if tracked != self.fresh.is_some() {
            self.fresh = tracked.then(VecDeque::new);
        }
        self.last
    }

    /// The oldest row that was not taken yet.
    pub(super) fn take(&mut self) -> Option<(RowNo, Username)> {
        self.fresh.as_mut()?.pop_front()
    }
}
