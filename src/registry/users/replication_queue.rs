//! Queue of the user rows to send to the other nodes, ordered by row number.

use std::collections::VecDeque;

use crate::registry::replicated_rows::RowNo;
use rollcall_core::Username;

/// Assigns row numbers and queues the numbered rows for the other nodes.
///
/// Invariant: row numbers are unique. They increase along `pending`.
#[derive(Debug, Default)]
pub(super) struct ReplicationQueue {
    /// The last number assigned.
    last: RowNo,
    /// Rows not yet taken; `None` if replication is off.
    pending: Option<VecDeque<(RowNo, Username)>>,
}

impl ReplicationQueue {
    /// Assigns the next number to a row, and queues the row if replication is on.
    pub(super) fn enqueue(&mut self, name: &Username) -> RowNo {
        self.last = self.last.next();
        if let Some(pending) = &mut self.pending {
            pending.push_back((self.last, name.clone()));
        }
        self.last
    }

    /// Turns replication on or off. Turning it off drops the queued rows. Returns the last number
    /// assigned.
    pub(super) fn set_enabled(&mut self, enabled: bool) -> RowNo {
        // If replication is on already, the queued rows stay queued.
        if enabled != self.pending.is_some() {
            self.pending = enabled.then(VecDeque::new);
        }
        self.last
    }

    /// Removes the oldest row from the queue.
    pub(super) fn pop(&mut self) -> Option<(RowNo, Username)> {
        self.pending.as_mut()?.pop_front()
    }
}
