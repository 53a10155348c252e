//! What a replica needs of the node's own tables.

use crate::registry::{Coverage, RowNo, Rows};
use rollcall_core::{Term, Username};

/// What a replica reads and writes: the node's own tables.
pub(super) trait Store {
    /// Takes in rows.
    fn merge(&mut self, rows: &Rows);
    /// Some rows that changed since they were given last, and, if new users are among them, up to which all have been
    /// given; `None` if there are none.
    fn take_changes(&mut self) -> Option<(Rows, Option<RowNo>)>;
    /// Some rows of clients after a name, or from the first on; fewer than that only if there are no more.
    fn clients_after(&mut self, after: Option<&Username>) -> Rows;
    /// Some rows of users after a name, or from the first on; fewer than that only if there are no more.
    fn users_after(&mut self, after: Option<&Username>) -> Rows;
    /// Whether this node, since it was started, has once had every registration that was acknowledged until then.
    fn may_claim_complete(&self) -> bool;
    /// Notes that it has.
    fn note_complete(&mut self);
    /// How much of the users this node has in a term that it leads.
    fn users_in(&self, term: Term) -> Coverage;
}
