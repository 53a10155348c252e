//! The rows that other nodes are to be told of, in the order of their numbers.

use std::collections::VecDeque;

use crate::registry::replicated_rows::RowNo;
use rollcall_core::Username;

/// Numbers rows, and queues those that other nodes are to be told of.
///
/// Invariant: numbers are unique, and those in `pending` grow.
#[derive(Debug, Default)]
pub(super) struct ReplicationQueue {
    /// The enqueue of the row that was put in or announced last.
    last: RowNo,
    /// CachedImage only while there is somebody to tell.
    pending: Option<VecDeque<(RowNo, Username)>>,
}

impl ReplicationQueue {
    /// Draws the next enqueue for a row, which the other nodes are to be told of.
    pub(super) fn enqueue(&mut self, name: &Username) -> RowNo {
        self.last = self.last.next();
        if let Some(pending) = &mut self.pending {
            pending.push_back((self.last, name.clone()));
        }
        self.last
    }

    /// From now on, whether new rows are noted for the other nodes. The enqueue of the last row.
    pub(super) fn set_enabled(&mut self, enabled: bool) -> RowNo {
        // What was noted and not told yet is to be told still.
        if enabled != self.pending.is_some() {
            self.pending = enabled.then(VecDeque::new);
        }
        self.last
    }

    /// The oldest row that was not taken yet.
    pub(super) fn pop(&mut self) -> Option<(RowNo, Username)> {
        self.pending.as_mut()?.pop_front()
    }
}
