//! What is known of each user without asking the bucket. The bucket is the truth; this is derived from it.
//!
//! Rows only grow: nobody unregisters, and a profile does not change but for its password. That is not kept here, only which
//! one it is; see [`Guard`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::announcements::Announcements;
use super::facts::Facts;
use super::negative_cache::NegativeCache;
use super::rows::{RowNo, UserFacts};
use crate::registry::auth::credential_state::Guard;
use crate::registry::coverage::Coverage;
use rollcall_core::{Addr, BootMs, Page, Term, UserId, Username};

/// What the index knows of one name.
#[derive(Debug)]
pub(crate) enum Known {
    /// Registered.
    User(Arc<Facts>),
    /// Looked up in vain a moment ago.
    Missing,
    /// Nobody asked yet.
    Unknown,
}

#[derive(Debug)]
struct Row {
    facts: Arc<Facts>,
    guard: Guard,
    /// Greater than that of every row that was put in or announced before.
    no: RowNo,
}

/// What a request that acts for a user asks of its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: UserId,
    pub(crate) addr: Option<Addr>,
    pub(crate) guard: Guard,
    /// Whether the guard is that of the latest password for certain.
    pub(crate) is_certain: bool,
}

/// The index.
///
/// Invariant: numbers of rows are unique.
#[derive(Debug, Default)]
pub(crate) struct Index {
    rows: BTreeMap<Username, Row>,
    /// Rows that the other nodes are to be told of.
    announcements: Announcements,
    /// What a snapshot said of users whose names nobody has confirmed yet.
    remembered: HashMap<Username, (Facts, Guard)>,
    misses: NegativeCache,
    corrupt: HashSet<Username>,
    epoch: Term,
    /// How much of the users is here in the epoch that runs.
    coverage: Coverage,
    revision: u64,
}

impl Index {
    /// The epoch that runs.
    pub(crate) fn epoch(&self) -> Term {
        self.epoch
    }

    /// Begins a new epoch: a name that nobody had may have been taken meanwhile. An older epoch is ignored.
    pub(crate) fn begin(&mut self, epoch: Term) {
        if epoch > self.epoch {
            (self.epoch, self.coverage) = (epoch, Coverage::Partial);
        }
        self.misses.clear();
    }

    /// The facts about a user, if it is known here.
    pub(crate) fn get(&self, name: &Username) -> Option<&Facts> {
        self.rows.get(name).map(|row| row.facts.as_ref())
    }

    /// What a request that acts for a user asks of its row, if it is known here.
    pub(crate) fn entry(&self, name: &Username) -> Option<Entry> {
        let Row { facts, guard, .. } = self.rows.get(name)?;
        let is_current = self.coverage.may_trust_passwords() || guard.epoch() == self.epoch;
        let is_certain = is_current && guard.mark().is_some();
        Some(Entry { id: facts.id, addr: facts.addr, guard: *guard, is_certain })
    }

    /// Notes that at least so much of the users is here in the epoch that runs.
    pub(crate) fn raise(&mut self, coverage: Coverage) {
        self.coverage = self.coverage.max(coverage);
    }

    /// What is known of a name at `now`.
    pub(crate) fn find(&mut self, name: &Username, now: BootMs) -> Known {
        match self.rows.get(name) {
            Some(row) => Known::User(Arc::clone(&row.facts)),
            None if self.misses.contains(name, now) => Known::Missing,
            None => Known::Unknown,
        }
    }

    /// Notes a profile that was just written to or read from the bucket, which is right in any case; of its password, what
    /// is newer.
    pub(crate) fn insert(&mut self, name: Username, facts: Facts, guard: Guard) -> Arc<Facts> {
        if let Some(row) = self.rows.get(&name)
            && *row.facts == facts
        {
            let facts = Arc::clone(&row.facts);
            self.guard(&name, guard);
            return facts;
        }
        self.remembered.remove(&name);
        let facts = Arc::new(facts);
        let no = self.announcements.number(&name);
        let guard = self.rows.get(&name).map_or(guard, |row| row.guard.newer(guard));
        self.rows.insert(name, Row { facts: Arc::clone(&facts), guard, no });
        self.revision += 1;
        facts
    }

    /// Notes what is known of the password in a row, if it is newer.
    fn guard(&mut self, name: &Username, guard: Guard) {
        let Some(row) = self.rows.get_mut(name) else { return };
        let newer = row.guard.newer(guard);
        if newer != row.guard {
            row.guard = newer;
            let no = self.announcements.number(name);
            self.rows.get_mut(name).expect("it was there a moment ago").no = no;
        }
    }

    /// The number of a row that was given a number since `floor`; others are announced, that is get a new one.
    pub(crate) fn number_since(&mut self, floor: RowNo, name: &Username) -> Option<RowNo> {
        let no = self.rows.get(name)?.no;
        if no > floor {
            return Some(no);
        }
        let no = self.announcements.number(name);
        self.rows.get_mut(name)?.no = no;
        Some(no)
    }

    /// Rows that are new since they were given last, of about `bytes`, and the number of the last one.
    pub(crate) fn take_fresh(&mut self, bytes: usize) -> Option<(Vec<UserFacts>, RowNo)> {
        let (mut rows, mut size, mut last) = (Vec::new(), 0, None);
        while size < bytes
            && let Some((no, name)) = self.announcements.take()
        {
            last = Some(no);
            if let Some(row) = self.rows.get(&name) {
                let row = UserFacts::new(name, &row.facts, row.guard);
                size += row.size();
                rows.push(row);
            }
        }
        last.map(|last| (rows, last))
    }

    /// From now on, whether new rows are noted for the other nodes. The number of the last row.
    pub(crate) fn track(&mut self, tracked: bool) -> RowNo {
        self.announcements.track(tracked)
    }

    /// The rows behind `after` in the order of names, of about `bytes`.
    pub(crate) fn rows_after(&self, after: Option<&Username>, bytes: usize) -> Vec<UserFacts> {
        let start = after.map_or(Unbounded, Excluded);
        let (mut rows, mut size) = (Vec::new(), 0);
        for (name, row) in self.rows.range::<Username, _>((start, Unbounded)) {
            let row = UserFacts::new(name.clone(), &row.facts, row.guard);
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
    pub(crate) fn merge(&mut self, row: &UserFacts) {
        if self.rows.contains_key(&row.username) {
            self.guard(&row.username, row.guard());
        } else if let Some(facts) = row.facts() {
            self.insert(row.username.clone(), facts, row.guard());
        }
    }

    /// Notes that the bucket had no profile of `name`, unless a new epoch began since it was asked in `asked_in`.
    pub(crate) fn missed(&mut self, name: &Username, asked_in: Term, now: BootMs) {
        if asked_in == self.epoch {
            self.misses.insert(name, now);
        }
    }

    /// Notes that something stored of `name` cannot be read; whether that is news.
    pub(crate) fn found_corrupt(&mut self, name: &Username) -> bool {
        self.corrupt.insert(name.clone())
    }

    /// The first `most` rows on a page.
    pub(crate) fn part(&self, page: &Page, most: usize) -> Vec<(Username, Arc<Facts>)> {
        let limit = page.max_rows().min(most);
        page.scan(&self.rows).take(limit).map(|(name, row)| (name.clone(), Arc::clone(&row.facts))).collect()
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
    pub(crate) fn remember(&mut self, row: &UserFacts) {
        if !self.rows.contains_key(&row.username)
            && let Some(facts) = row.facts()
        {
            // It may be older than the last change.
            self.remembered.insert(row.username.clone(), (facts, row.guard().unread(Term::default())));
        }
    }

    /// Forgets what a snapshot said and nobody confirmed.
    pub(crate) fn forget_remembered(&mut self) {
        self.remembered = HashMap::new();
    }

    /// Those of `names`, which are in the bucket, that nothing is known of. Which password the others have is not certain from
    /// now on, unless it is: then each is read when it is asked for.
    pub(crate) fn unknown(&mut self, names: impl Iterator<Item = Username>) -> Vec<Username> {
        let mut unknown = Vec::new();
        for name in names {
            if let Some(entry) = self.entry(&name) {
                if !entry.is_certain {
                    self.guard(&name, entry.guard.unread(self.epoch));
                }
                continue;
            }
            match self.remembered.remove(&name) {
                Some((facts, guard)) => {
                    self.insert(name, facts, guard.unread(self.epoch));
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
    use crate::registry::auth::credential_state::tests::guard;
    use crate::registry::testing::name;
    use rollcall_core::Metadata;

    fn row(guard: Guard) -> UserFacts {
        let (id, metadata) = (UserId::nil(), Metadata::default());
        UserFacts::new(name("alice"), &Facts { id, addr: None, registered_at: "".into(), metadata }, guard)
    }

    fn guard_after<'g>(guards: impl Iterator<Item = &'g Guard>) -> Option<Guard> {
        let mut index = Index::default();
        guards.for_each(|guard| index.merge(&row(*guard)));
        index.entry(&name("alice")).map(|entry| entry.guard)
    }

    #[test]
    fn only_what_is_newer_of_a_password_is_told_on() {
        let mut index = Index::default();
        index.track(true);
        let [old, new] = [1, 2].map(|epoch| Guard::Unread { epoch: Term(epoch) });
        for (guard, told) in [(old, 1), (old, 0), (new, 1), (old, 0), (new, 0)] {
            index.merge(&row(guard));
            let fresh = index.take_fresh(1000).map(|(rows, _)| rows).unwrap_or_default();
            assert_eq!(fresh.len(), told, "{guard:?}");
        }
    }

    proptest! {
        #[test]
        fn rows_that_come_late_twice_or_in_any_order_leave_the_same_guard(
            (guards, shuffled) in prop::collection::vec(guard(), 1..6)
                .prop_flat_map(|guards| (Just(guards.clone()), Just([guards.clone(), guards].concat()).prop_shuffle()))
        ) {
            prop_assert_eq!(guard_after(guards.iter()), guard_after(shuffled.iter()));
        }
    }
}
