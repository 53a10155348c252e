//! What is known of each user without asking the bucket. The bucket is the truth; this is derived from it.
//!
//! Rows only grow: nobody unregisters, and a profile does not change but for its password, which is not kept here.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use compact_str::CompactString;

use super::Epoch;
use super::misses::Misses;
use crate::domain::{Addr, BootMs, Metadata, Page, Profile, UserId, Username};

/// A profile without its name and its password.
#[derive(Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) id: UserId,
    pub(super) addr: Option<Addr>,
    pub(super) registered_at: CompactString,
    pub(super) metadata: Metadata,
}

/// What the index knows of one name.
#[derive(Debug)]
pub(super) enum Known {
    /// Registered.
    User(Arc<Facts>),
    /// Looked up in vain a moment ago.
    Missing,
    /// Nobody asked yet.
    Unknown,
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    rows: BTreeMap<Username, Arc<Facts>>,
    misses: Misses,
    corrupt: HashSet<Username>,
    epoch: Epoch,
}

impl From<Profile> for Facts {
    fn from(profile: Profile) -> Self {
        let Profile { user_id: id, addr, registered_at, metadata, .. } = profile;
        Self { id, addr, registered_at: registered_at.into(), metadata }
    }
}

impl Index {
    /// The epoch that runs.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Begins a new epoch: a name that nobody had may have been taken meanwhile. An older epoch is ignored.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
        self.misses.clear();
    }

    /// The facts about a user, if it is known here.
    pub(super) fn get(&self, name: &Username) -> Option<&Facts> {
        self.rows.get(name).map(Arc::as_ref)
    }

    /// What is known of a name at `now`.
    pub(super) fn find(&mut self, name: &Username, now: BootMs) -> Known {
        match self.rows.get(name) {
            Some(facts) => Known::User(Arc::clone(facts)),
            None if self.misses.contains(name, now) => Known::Missing,
            None => Known::Unknown,
        }
    }

    /// Notes a profile that was just written to or read from the bucket, which is right in any case.
    pub(super) fn insert(&mut self, name: Username, facts: Facts) -> Arc<Facts> {
        let facts = Arc::new(facts);
        self.rows.insert(name, Arc::clone(&facts));
        facts
    }

    /// Notes that the bucket had no profile of `name`, unless a new epoch began since it was asked in `asked_in`.
    pub(super) fn missed(&mut self, name: &Username, asked_in: Epoch, now: BootMs) {
        if asked_in == self.epoch {
            self.misses.insert(name, now);
        }
    }

    /// Notes that something stored of `name` cannot be read; whether that is news.
    pub(super) fn found_corrupt(&mut self, name: &Username) -> bool {
        self.corrupt.insert(name.clone())
    }

    /// The rows on a page.
    pub(super) fn page(&self, page: &Page) -> Vec<(Username, Arc<Facts>)> {
        page.from(&self.rows).take(page.limit()).map(|(name, facts)| (name.clone(), Arc::clone(facts))).collect()
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Those of `names` that have no row yet.
    pub(super) fn unknown(&self, names: impl Iterator<Item = Username>) -> Vec<Username> {
        names.filter(|name| !self.rows.contains_key(name)).collect()
    }
}
