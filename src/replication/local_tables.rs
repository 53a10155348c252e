//! Interface of the replica to the node's own tables.

use crate::registry::{Coverage, RowNo, Rows};
use rollcall_core::{Term, Username};

/// The node's own tables, as the replica reads and writes them.
pub(super) trait LocalTables {
    /// Merges rows of another node.
    fn merge(&mut self, rows: &Rows);
    /// Takes some of the rows that changed since the last call. If new users are among them, also
    /// returns the row number up to which all new users have been taken. `None` if no row changed.
    fn take_changes(&mut self) -> Option<(Rows, Option<RowNo>)>;
    /// The next clients after the name `after`, or the first clients if it is `None`. Empty only
    /// after the last client.
    fn clients_after(&mut self, after: Option<&Username>) -> Rows;
    /// The next users after the name `after`, or the first users if it is `None`. Empty only after
    /// the last user.
    fn users_after(&mut self, after: Option<&Username>) -> Rows;
    /// Whether this node is complete: whether it had, at some moment since its start, every
    /// registration acknowledged before that moment.
    fn may_claim_complete(&self) -> bool;
    /// Records that this node is complete: it has every registration acknowledged until now.
    fn note_complete(&mut self);
    /// This node's coverage of the users, as the leader of `term`.
    fn users_in(&self, term: Term) -> Coverage;
}
