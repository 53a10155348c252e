//! Index of users: the registered users that a node can look up without reading the bucket.
//!
//! The bucket is authoritative; the index is derived from it. Rows are never removed, because users
//! cannot unregister. Only the password of a profile can change. The index keeps a fingerprint
//! instead of the password; see [`CredentialState`].

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

/// Result of looking up a name in the index.
#[derive(Debug)]
pub(crate) enum IndexLookup {
    /// The name is registered.
    Found(Arc<UserDetails>),
    /// A recent read of the bucket found no profile.
    NotRegistered,
    /// The index has no information about the name. The bucket must be read.
    Unknown,
}

/// A user in the index.
#[derive(Debug)]
struct IndexRow {
    details: Arc<UserDetails>,
    credential: CredentialState,
    /// Assigned when the row was inserted or last queued for replication.
    row_no: RowNo,
}

/// Copy of a row for authorization.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexEntry {
    pub(crate) id: UserId,
    pub(crate) addr: Option<Addr>,
    pub(crate) credential: CredentialState,
    /// Whether `credential` certainly has the fingerprint of the latest password.
    pub(crate) is_current: bool,
}

/// The index, with the queue of rows to replicate.
///
/// Invariant: row numbers are unique.
#[derive(Debug, Default)]
pub(crate) struct UserIndex {
    rows: BTreeMap<Username, IndexRow>,
    /// Rows to send to the other nodes.
    replication_queue: ReplicationQueue,
    /// Users from a snapshot whose names were not yet found in the bucket.
    unconfirmed: HashMap<Username, (UserDetails, CredentialState)>,
    negative_cache: NegativeCache,
    /// Names with an unreadable object. Each is reported once.
    corrupt: HashSet<Username>,
    term: Term,
    /// Coverage of the users in the current term.
    coverage: Coverage,
    revision: u64,
}

impl UserIndex {
    /// The current term.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// Begins a term. Earlier leaders may have registered names, so the negative cache is cleared.
    /// An older term only clears the cache.
    pub(crate) fn begin_term(&mut self, term: Term) {
        if term > self.term {
            (self.term, self.coverage) = (term, Coverage::Partial);
        }
        self.negative_cache.clear();
    }

    /// The details of a user, if the index has them.
    pub(crate) fn get(&self, name: &Username) -> Option<&UserDetails> {
        self.rows.get(name).map(|row| row.details.as_ref())
    }

    /// A copy of a row for authorization, if the index has it.
    pub(crate) fn entry(&self, name: &Username) -> Option<IndexEntry> {
        let IndexRow { details, credential, .. } = self.rows.get(name)?;
        let is_trusted = self.coverage.may_trust_passwords() || credential.term() == self.term;
        let is_current = is_trusted && credential.fingerprint().is_some();
        Some(IndexEntry { id: details.id, addr: details.addr, credential: *credential, is_current })
    }

    /// Whether the index has all users.
    pub(crate) fn is_complete(&self) -> bool {
        self.coverage.may_list_users()
    }

    /// Raises the coverage in the current term; it never falls.
    pub(crate) fn raise(&mut self, coverage: Coverage) {
        self.coverage = self.coverage.max(coverage);
    }

    /// Looks up a name at `now`.
    pub(crate) fn find(&mut self, name: &Username, now: BootMs) -> IndexLookup {
        match self.rows.get(name) {
            Some(row) => IndexLookup::Found(Arc::clone(&row.details)),
            None if self.negative_cache.contains(name, now) => IndexLookup::NotRegistered,
            None => IndexLookup::Unknown,
        }
    }

    /// Inserts a profile that was read from or written to the bucket. Its details replace those in
    /// the index. Of the two credential states, the newer one is kept.
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
        let row_no = self.replication_queue.enqueue(&name);
        let credential = self.rows.get(&name).map_or(credential, |row| row.credential.merge(credential));
        self.rows.insert(name, IndexRow { details: Arc::clone(&details), credential, row_no });
        self.revision += 1;
        details
    }

    /// Merges a credential state into a row. If the state is newer, the row is queued for
    /// replication.
    fn merge_credential(&mut self, name: &Username, credential: CredentialState) {
        let Some(row) = self.rows.get_mut(name) else { return };
        let merged = row.credential.merge(credential);
        if merged != row.credential {
            row.credential = merged;
            let row_no = self.replication_queue.enqueue(name);
            self.rows.get_mut(name).expect("the row was found above").row_no = row_no;
        }
    }

    /// The number of a row, if it is greater than `floor`. Otherwise the row is queued for
    /// replication again and gets a new number.
    pub(crate) fn number_after(&mut self, floor: RowNo, name: &Username) -> Option<RowNo> {
        let row_no = self.rows.get(name)?.row_no;
        if row_no > floor {
            return Some(row_no);
        }
        let row_no = self.replication_queue.enqueue(name);
        self.rows.get_mut(name)?.row_no = row_no;
        Some(row_no)
    }

    /// Takes rows of about `bytes` bytes from the replication queue. Also returns the number of the
    /// last one.
    pub(crate) fn take_pending(&mut self, bytes: usize) -> Option<(Vec<ReplicatedUser>, RowNo)> {
        let (mut rows, mut size, mut last) = (Vec::new(), 0, None);
        while size < bytes
            && let Some((row_no, name)) = self.replication_queue.pop()
        {
            last = Some(row_no);
            if let Some(row) = self.rows.get(&name) {
                let row = ReplicatedUser::new(name, &row.details, row.credential);
                size += row.size();
                rows.push(row);
            }
        }
        last.map(|last| (rows, last))
    }

    /// Turns replication on or off. Returns the last row number assigned.
    pub(crate) fn set_replication(&mut self, enabled: bool) -> RowNo {
        self.replication_queue.set_enabled(enabled)
    }

    /// Rows with names after `after`, sorted by name, of about `bytes` bytes.
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

    /// Merges a row of another node. Details never change after the registration, so those of a row
    /// in the index are kept. Of the two credential states, the newer one is kept.
    pub(crate) fn merge(&mut self, row: &ReplicatedUser) {
        if self.rows.contains_key(&row.username) {
            self.merge_credential(&row.username, row.credential());
        } else if let Some(details) = row.details() {
            self.insert(row.username.clone(), details, row.credential());
        }
    }

    /// Records that the bucket had no profile of `name`. `read_in`: the term in which the bucket
    /// was read. Ignored if a later term has begun since.
    pub(crate) fn note_missing(&mut self, name: &Username, read_in: Term, now: BootMs) {
        if read_in == self.term {
            self.negative_cache.insert(name, now);
        }
    }

    /// Records that an object of `name` is unreadable. Returns whether this is new.
    pub(crate) fn found_corrupt(&mut self, name: &Username) -> bool {
        self.corrupt.insert(name.clone())
    }

    /// The first `max` rows of a page.
    pub(crate) fn part(&self, page: &Page, max: usize) -> Vec<(Username, Arc<UserDetails>)> {
        let limit = page.max_rows().min(max);
        page.scan(&self.rows).take(limit).map(|(name, row)| (name.clone(), Arc::clone(&row.details))).collect()
    }

    /// A version that changes whenever a row is inserted or replaced.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a user from a snapshot. It joins the index once its name is found in the bucket.
    pub(crate) fn add_unconfirmed(&mut self, row: &ReplicatedUser) {
        if !self.rows.contains_key(&row.username)
            && let Some(details) = row.details()
        {
            // The snapshot may be older than the last password change.
            self.unconfirmed.insert(row.username.clone(), (details, row.credential().invalidated(Term::default())));
        }
    }

    /// Drops users from a snapshot whose names were not found in the bucket.
    pub(crate) fn drop_unconfirmed(&mut self) {
        self.unconfirmed = HashMap::new();
    }

    /// Compares the index with `names`, all of which are in the bucket, and returns those that are
    /// missing in the index. Credential states that are not current are invalidated, so that the
    /// next check of such a password reads the bucket.
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
    use crate::registry::auth::credential_state::tests::credential_state;
    use crate::registry::testing::name;
    use rollcall_core::Metadata;

    fn row(credential: CredentialState) -> ReplicatedUser {
        let (id, metadata) = (UserId::nil(), Metadata::default());
        ReplicatedUser::new(
            name("alice"),
            &UserDetails { id, addr: None, registered_at: "".into(), last_seen: None, metadata },
            credential,
        )
    }

    fn credential_after<'g>(states: impl Iterator<Item = &'g CredentialState>) -> Option<CredentialState> {
        let mut index = UserIndex::default();
        states.for_each(|credential| index.merge(&row(*credential)));
        index.entry(&name("alice")).map(|entry| entry.credential)
    }

    #[test]
    fn only_a_newer_credential_state_is_replicated() {
        let mut index = UserIndex::default();
        index.set_replication(true);
        let [old, new] = [1, 2].map(|term| CredentialState::Unread { term: Term(term) });
        for (credential, count) in [(old, 1), (old, 0), (new, 1), (old, 0), (new, 0)] {
            index.merge(&row(credential));
            let pending = index.take_pending(1000).map(|(rows, _)| rows).unwrap_or_default();
            assert_eq!(pending.len(), count, "{credential:?}");
        }
    }

    proptest! {
        #[test]
        fn rows_in_any_order_and_repeated_lead_to_the_same_credential_state(
            (states, shuffled) in prop::collection::vec(credential_state(), 1..6)
                .prop_flat_map(|states| (Just(states.clone()), Just([states.clone(), states].concat()).prop_shuffle()))
        ) {
            prop_assert_eq!(credential_after(states.iter()), credential_after(shuffled.iter()));
        }
    }
}
