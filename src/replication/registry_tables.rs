//! The registry's tables, as the replica reads and writes them.

use super::local_tables::LocalTables;
use crate::registry::{Coverage, Registry, RowNo, Rows};
use rollcall_core::{BootMs, Term, Username};

/// The registry's tables at one moment.
pub(super) struct RegistryTables<'r> {
    pub(super) registry: &'r Registry,
    pub(super) now: BootMs,
}

impl LocalTables for RegistryTables<'_> {
    fn merge(&mut self, rows: &Rows) {
        self.registry.merge(rows, self.now);
    }

    fn take_changes(&mut self) -> Option<(Rows, Option<RowNo>)> {
        self.registry.take_changes(self.now)
    }

    fn clients_after(&mut self, after: Option<&Username>) -> Rows {
        self.registry.clients_after(after, self.now)
    }

    fn users_after(&mut self, after: Option<&Username>) -> Rows {
        self.registry.users_after(after)
    }

    fn may_claim_complete(&self) -> bool {
        self.registry.coverage().borrow().may_claim_complete()
    }

    fn note_complete(&mut self) {
        self.registry.note_complete();
    }

    fn users_in(&self, term: Term) -> Coverage {
        self.registry.coverage().borrow().users_in(term)
    }
}
