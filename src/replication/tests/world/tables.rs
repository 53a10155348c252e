//! Tables of a simulated node.

use std::collections::BTreeMap;

use crate::registry::{Coverage, CredentialState, RowNo, Rows};
use crate::replication::local_tables::LocalTables;
use rollcall_core::{Term, Username};

/// The users of a node, with the states of their passwords. There are no clients.
#[derive(Default)]
pub(in crate::replication::tests) struct Tables {
    pub(in crate::replication::tests) users: BTreeMap<Username, (RowNo, CredentialState)>,
    /// Changes that no batch has carried yet.
    pub(super) unsent: Vec<(RowNo, Username)>,
    /// Whether changes are recorded in `unsent`, as on a leader.
    pub(super) tracked: bool,
    /// The number of the newest row.
    last: RowNo,
    pub(in crate::replication::tests) is_complete: bool,
    /// The term in which this node read the list of users from the bucket.
    pub(super) listed: Option<Term>,
}

impl Tables {
    /// Inserts a user, or the newer one of two states of its password. Returns the number of the
    /// row.
    pub(super) fn insert(&mut self, name: &Username, credential: CredentialState) -> RowNo {
        let known = self.users.get(name);
        let merged = known.map_or(credential, |(_, known)| known.merge(credential));
        if let Some((no, known)) = known
            && *known == merged
        {
            return *no;
        }
        self.last = RowNo::after(self.last);
        self.users.insert(name.clone(), (self.last, merged));
        if self.tracked {
            self.unsent.push((self.last, name.clone()));
        }
        self.last
    }

    fn row(&self, name: &Username) -> Rows {
        Rows::of_user_with(name.clone(), self.users[name].1)
    }
}

impl LocalTables for Tables {
    fn merge(&mut self, rows: &Rows) {
        for row in &rows.users {
            self.insert(&row.username, row.credential());
        }
    }

    fn take_changes(&mut self) -> Option<(Rows, Option<RowNo>)> {
        // One row per batch, so that there are many messages that can be lost.
        (!self.unsent.is_empty()).then(|| self.unsent.remove(0)).map(|(no, name)| (self.row(&name), Some(no)))
    }

    fn clients_after(&mut self, _: Option<&Username>) -> Rows {
        Rows::default()
    }

    fn users_after(&mut self, after: Option<&Username>) -> Rows {
        let next = self.users.keys().find(|name| after.is_none_or(|after| *name > after));
        next.map(|name| self.row(name)).unwrap_or_default()
    }

    fn may_claim_complete(&self) -> bool {
        self.is_complete
    }

    fn note_complete(&mut self) {
        self.is_complete = true;
    }

    fn users_in(&self, term: Term) -> Coverage {
        if self.listed == Some(term) { Coverage::Complete } else { Coverage::Partial }
    }
}
