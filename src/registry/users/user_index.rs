//! What is known of each user without asking the bucket. The bucket is the truth; this is derived from it.
//!
//! Rows only grow: nobody unregisters, and a profile does not change but for its password. That is not kept here, only which
//! one it is; see [`CredentialState`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::negative_cache::NegativeCache;
use super::replication_queue::ReplicationQueue;
use super::user_details::UserDetails;
use crate::registry::auth::credential_state::CredentialState;
use crate::registry::coverage::Coverage;
use crate::registry::replicated_rows::{ReplicatedUser, RowNo};
use rollcall_core::{Addr, BootMs, Page, Term, UserId, Username};

/// What the index knows of one name.
#[derive(Debug)]
pub(crate) enum IndexLookup {
    /// CompletedRegistration.
    Found(Arc<UserDetails>),
    /// Looked up in vain a moment ago.
    NotRegistered,
    /// Nobody asked yet.
    Unknown,
}

#[derive(Debug)]
struct IndexRow {
    details: Arc<UserDetails>,
    credential: CredentialState,
    /// Greater than that of every row that was put in or announced before.
    no: RowNo,
}

/// What a request that acts for a user asks of its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexEntry {
    pub(crate) id: UserId,
    pub(crate) addr: Option<Addr>,
    pub(crate) credential: CredentialState,
    /// Whether the credential is that of the latest password for certain.
    pub(crate) is_current: bool,
}

/// The index.
///
/// Invariant: numbers of rows are unique.
#[derive(Debug, Default)]
pub(crate) struct UserIndex {
    rows: BTreeMap<Username, IndexRow>,
    /// Rows that the other nodes are to be told of.
    replication_queue: ReplicationQueue,
    /// What a snapshot said of users whose names nobody has confirmed yet.
    unconfirmed: HashMap<Username, (UserDetails, CredentialState)>,
    negative_cache: NegativeCache,
    corrupt: HashSet<Username>,
    term: Term,
    /// How much of the users is here in the term that runs.
    coverage: Coverage,
    revision: u64,
}

impl UserIndex {
    /// The term that runs.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// Begins a new term: a name that nobody had may have been taken meanwhile. An older term is ignored.
    pub(crate) fn begin_term(&mut self, term: Term) {
        if term > self.term {
            (self.term, self.coverage) = (term, Coverage::Partial);
        }
        self.negative_cache.clear();
    }

    /// The details about a user, if it is known here.
    pub(crate) fn get(&self, name: &Username) -> Option<&UserDetails> {
        self.rows.get(name).map(|row| row.details.as_ref())
    }

    /// What a request that acts for a user asks of its row, if it is known here.
    pub(crate) fn entry(&self, name: &Username) -> Option<IndexEntry> {
        let IndexRow { details, credential, .. } = self.rows.get(name)?;
        let is_current = self.coverage.may_trust_passwords() || credential.term() == self.term;
        let is_current = is_current && credential.fingerprint().is_some();
        Some(IndexEntry { id: details.id, addr: details.addr, credential: *credential, is_current })
    }

    /// Notes that at least so much of the users is here in the term that runs.
    pub(crate) fn raise(&mut self, coverage: Coverage) {
        self.coverage = self.coverage.max(coverage);
    }

    /// What is known of a name at `now`.
    pub(crate) fn find(&mut self, name: &Username, now: BootMs) -> IndexLookup {
        match self.rows.get(name) {
            Some(row) => IndexLookup::Found(Arc::clone(&row.details)),
            None if self.negative_cache.contains(name, now) => IndexLookup::NotRegistered,
            None => IndexLookup::Unknown,
        }
    }

    /// Notes a profile that was just written to or read from the bucket, which is right in any case; of its password, what
    /// is merge.
    pub(crate) fn insert(
        &mut self,
        name: Username,
        details: UserDetails,
        credential: CredentialState,
    ) -> Arc<UserDetails> {
        if let Some(row) = self.rows.get(&name)
            && *row.details == details
        {
            let details = Arc::clone(&row.details);
            self.merge_credential(&name, credential);
            return details;
        }
        self.unconfirmed.remove(&name);
        let details = Arc::new(details);
        let no = self.replication_queue.enqueue(&name);
        let credential = self.rows.get(&name).map_or(credential, |row| row.credential.merge(credential));
        self.rows.insert(name, IndexRow { details: Arc::clone(&details), credential, no });
        self.revision += 1;
        details
    }

    /// Notes what is known of the password in a row, if it is merge.
    fn merge_credential(&mut self, name: &Username, credential: CredentialState) {
        let Some(row) = self.rows.get_mut(name) else { return };
        let merged = row.credential.merge(credential);
        if merged != row.credential {
            row.credential = merged;
            let no = self.replication_queue.enqueue(name);
            self.rows.get_mut(name).expect("it was there a moment ago").no = no;
        }
    }

    /// The number of a row that was given a number since `floor`; others are announced, that is get a new one.
    pub(crate) fn number_after(&mut self, floor: RowNo, name: &Username) -> Option<RowNo> {
        let no = self.rows.get(name)?.no;
        if no > floor {
            return Some(no);
        }
        let no = self.replication_queue.enqueue(name);
        self.rows.get_mut(name)?.no = no;
        Some(no)
    }

    /// Rows that are new since they were given last, of about `bytes`, and the number of the last one.
    pub(crate) fn take_pending(&mut self, bytes: usize) -> Option<(Vec<ReplicatedUser>, RowNo)> {
        let (mut rows, mut size, mut last) = (Vec::new(), 0, None);
        while size < bytes
            && let Some((no, name)) = self.replication_queue.pop()
        {
            last = Some(no);
            if let Some(row) = self.rows.get(&name) {
                let row = ReplicatedUser::new(name, &row.details, row.credential);
                size += row.size();
                rows.push(row);
            }
        }
        last.map(|last| (rows, last))
    }

    /// From now on, whether new rows are noted for the other nodes. The number of the last row.
    pub(crate) fn set_replication(&mut self, enabled: bool) -> RowNo {
        self.replication_queue.set_enabled(enabled)
    }

    /// The rows behind `after` in the order of names, of about `bytes`.
    pub(crate) fn rows_after(&self, after: Option<&Username>, bytes: usize) -> Vec<ReplicatedUser> {
        let start = after.map_or(Unbounded, Excluded);
        let (mut rows, mut size) = (Vec::new(), 0);
        for (name, row) in self.rows.range::<Username, _>((start, Unbounded)) {
            let row = ReplicatedUser::new(name.clone(), &row.details, row.credential);
            size += row.size();
            rows.push(row);
            if size >= bytes {
                break;
            }
        }
        rows
    }

    /// Takes in what another node knows, which is right in any case: it was read from the bucket or written to it. Only what
    /// it knows of the password may be older than what is known here.
    pub(crate) fn merge(&mut self, row: &ReplicatedUser) {
        if self.rows.contains_key(&row.username) {
            self.merge_credential(&row.username, row.credential());
        } else if let Some(details) = row.details() {
            self.insert(row.username.clone(), details, row.credential());
        }
    }

    /// Notes that the bucket had no profile of `name`, unless a new term began since it was asked in `asked_in`.
    pub(crate) fn note_missing(&mut self, name: &Username, asked_in: Term, now: BootMs) {
        if asked_in == self.term {
            self.negative_cache.insert(name, now);
        }
    }

    /// Notes that something stored of `name` cannot be read; whether that is news.
    pub(crate) fn found_corrupt(&mut self, name: &Username) -> bool {
        self.corrupt.insert(name.clone())
    }

    /// The first `max` rows on a page.
    pub(crate) fn part(&self, page: &Page, max: usize) -> Vec<(Username, Arc<UserDetails>)> {
        let limit = page.max_rows().min(max);
        page.scan(&self.rows).take(limit).map(|(name, row)| (name.clone(), Arc::clone(&row.details))).collect()
    }

    /// A number that is another one whenever a row came or was replaced.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Notes what a snapshot says of a user.
    pub(crate) fn add_unconfirmed(&mut self, row: &ReplicatedUser) {
        if !self.rows.contains_key(&row.username)
            && let Some(details) = row.details()
        {
            // It may be older than the last change.
            self.unconfirmed.insert(row.username.clone(), (details, row.credential().invalidated(Term::default())));
        }
    }

    /// Forgets what a snapshot said and nobody confirmed.
    pub(crate) fn drop_unconfirmed(&mut self) {
        self.unconfirmed = HashMap::new();
    }

    /// Those of `names`, which are in the bucket, that nothing is known of. Which password the others have is not certain from
    /// now on, unless it is: then each is read when it is asked for.
    pub(crate) fn reconcile(&mut self, names: impl Iterator<Item = Username>) -> Vec<Username> {
        let mut unknown = Vec::new();
        for name in names {
            if let Some(entry) = self.entry(&name) {
                if !entry.is_current {
                    self.merge_credential(&name, entry.credential.invalidated(self.term));
                }
                continue;
            }
            match self.unconfirmed.remove(&name) {
                Some((details, credential)) => {
                    self.insert(name, details, credential.invalidated(self.term));
                }
                None => unknown.push(name),
            }
        }
        unknown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::auth::credential_state::tests::credential;
    use crate::registry::testing::name;
    use rollcall_core::Metadata;

    fn row(credential: CredentialState) -> ReplicatedUser {
        let (id, metadata) = (UserId::nil(), Metadata::default());
        ReplicatedUser::new(
            name("alice"),
            &UserDetails { id, addr: None, registered_at: "".into(), metadata },
            credential,
        )
    }

    fn guard_after<'g>(guards: impl Iterator<Item = &'g CredentialState>) -> Option<CredentialState> {
        let mut index = UserIndex::default();
        guards.for_each(|credential| index.merge(&row(*credential)));
        index.entry(&name("alice")).map(|entry| entry.credential)
    }

    #[test]
    fn only_what_is_newer_of_a_password_is_told_on() {
        let mut index = UserIndex::default();
        index.set_replication(true);
        let [old, new] = [1, 2].map(|term| CredentialState::Unread { term: Term(term) });
        for (credential, told) in [(old, 1), (old, 0), (new, 1), (old, 0), (new, 0)] {
            index.merge(&row(credential));
            let pending = index.take_pending(1000).map(|(rows, _)| rows).unwrap_or_default();
            assert_eq!(pending.len(), told, "{credential:?}");
        }
    }

    proptest! {
        #[test]
        fn rows_that_come_late_twice_or_in_any_order_leave_the_same_guard(
            (guards, shuffled) in prop::collection::vec(credential(), 1..6)
                .prop_flat_map(|guards| (Just(guards.clone()), Just([guards.clone(), guards].concat()).prop_shuffle()))
        ) {
            prop_assert_eq!(guard_after(guards.iter()), guard_after(shuffled.iter()));
        }
    }
}
