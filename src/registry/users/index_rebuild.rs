//! Index rebuild: lists the bucket and reads the profiles that the index does not have, once at the
//! start of a term and then periodically. Another cluster or program may write to the same bucket.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, interval_at, sleep};
use tracing::{debug, info, warn};

use super::profile_store::{ProfileStore, StoredProfile};
use crate::registry::coverage::Coverage;
use crate::registry::error::StorageUnavailable;
use crate::registry::replication_source::ReplicationSource;
use crate::storage::Folder;
use rollcall_core::{Term, Username};

/// Number of profiles read at the same time.
const MAX_CONCURRENT_READS: usize = 16;

/// Interval of the progress log lines of a long rebuild.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum number of names looked up under one lock, so that heartbeats do not wait for a long
/// list.
const NAMES_PER_LOCK: usize = 1000;

/// Pause before the next attempt when the bucket does not reply. Short, because each call to the
/// bucket has its own retries.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Pause between two searches for new profiles in the bucket. With the time for the listing, a
/// profile of another program is found within a minute.
const SEARCH_PAUSE: Duration = Duration::from_secs(45);

/// Maximum number of names without a valid profile that one search reads again: their profiles may
/// have been written or repaired since. More of them are read in turn.
const MAX_REREADS: usize = 256;

/// Maximum number of distinct causes logged per rebuild. More of them would not help an operator.
const MAX_LOGGED_CAUSES: usize = 8;

/// Causes of failed attempts that were already logged. Each cause is logged once, not once a
/// second.
#[derive(Debug, Default)]
struct LoggedCauses(HashSet<String>);

impl LoggedCauses {
    /// Whether `cause` is new and must be logged.
    fn is_new(&mut self, cause: &str) -> bool {
        self.0.len() < MAX_LOGGED_CAUSES && self.0.insert(cause.to_owned())
    }
}

/// The bucket has no valid profile of this name.
struct NoProfile(Username);

/// Names in the bucket without a valid profile, when they were last read.
///
/// Invariant: of these names, at most [`MAX_REREADS`] are read in each search.
#[derive(Debug, Default)]
struct WithoutProfile {
    names: HashSet<Username>,
    /// The last name that was read again.
    cursor: Option<Username>,
}

impl WithoutProfile {
    /// The names to read of `unknown`, which are sorted: all that were not read before, and the
    /// next ones that were.
    fn select(&mut self, unknown: Vec<Username>) -> Vec<Username> {
        let (mut known, mut selected): (Vec<_>, Vec<_>) =
            unknown.into_iter().partition(|name| self.names.contains(name));
        let next = self.cursor.as_ref().map_or(0, |cursor| known.partition_point(|name| name <= cursor));
        known.rotate_left(next);
        known.truncate(MAX_REREADS);
        self.cursor = known.last().cloned();
        selected.append(&mut known);
        selected
    }
}

/// Completes the index of users at the start of a term.
pub(crate) struct IndexRebuild {
    profiles: Arc<ProfileStore>,
    source: Arc<ReplicationSource>,
}

impl IndexRebuild {
    /// Reads profiles into the index of `profiles` and raises the coverage in `source`.
    pub(crate) fn new(profiles: Arc<ProfileStore>, source: Arc<ReplicationSource>) -> Self {
        Self { profiles, source }
    }

    /// Reads the bucket until the index is complete in `term`, or until a later term begins.
    /// Retries while the bucket is unavailable. The future may be dropped at any time; profiles
    /// read so far stay in the index.
    pub(crate) async fn run(&self, term: Term) {
        let (mut causes, mut without_profile) = (LoggedCauses::default(), WithoutProfile::default());
        while self.profiles.term() == term {
            match self.read_unknown_profiles(&mut without_profile).await {
                Ok(_) => {
                    self.profiles.index().drop_unconfirmed();
                    return self.source.raise_users(term, Coverage::Complete);
                }
                Err(why) => {
                    let cause = why.cause();
                    if causes.is_new(&cause) {
                        warn!(cause, "the list of users is not complete yet; retrying until it is");
                    }
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Searches the bucket periodically for profiles that another cluster or program has written,
    /// until a later term begins. The future may be dropped at any time.
    pub(crate) async fn search_for_new_profiles(&self, term: Term) {
        let (mut causes, mut without_profile) = (LoggedCauses::default(), WithoutProfile::default());
        while self.profiles.term() == term {
            sleep(SEARCH_PAUSE).await;
            match self.read_unknown_profiles(&mut without_profile).await {
                Ok(0) => {}
                Ok(count) => info!(count, "found users in the bucket that another program registered"),
                Err(why) => {
                    let cause = why.cause();
                    if causes.is_new(&cause) {
                        warn!(cause, "cannot search the bucket for new users");
                    }
                }
            }
        }
    }

    /// Lists the users in the bucket and reads the profiles that the index does not have. Of those
    /// in `without_profile`, a bounded number is read again. Returns the number of profiles added
    /// to the index.
    async fn read_unknown_profiles(&self, without_profile: &mut WithoutProfile) -> Result<usize, StorageUnavailable> {
        let listed = self.profiles.bucket().list(&Folder::Users).await?;
        let username = |name: &String| {
            Username::parse(name)
                .inspect_err(|_| debug!(name, "skipped an object in the bucket: its name is not a username"))
                .ok()
        };
        let mut unknown = Vec::new();
        for names in listed.chunks(NAMES_PER_LOCK) {
            unknown.extend(self.profiles.index().reconcile(names.iter().filter_map(username)));
        }
        let unknown = without_profile.select(unknown);
        let total = unknown.len();
        let mut reads =
            pin!(stream::iter(unknown).map(|name| self.read_into_index(name)).buffer_unordered(MAX_CONCURRENT_READS));
        let mut progress = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        let (mut done, mut added) = (0, 0);
        loop {
            tokio::select! {
                read = reads.next() => match read.transpose()? {
                    Some(Ok(())) => added += 1,
                    Some(Err(NoProfile(name))) => {
                        without_profile.names.insert(name);
                    }
                    None => return Ok(added),
                },
                _ = progress.tick() => {
                    info!(done, total, "reading new profiles into the index");
                    continue;
                }
            }
            done += 1;
        }
    }

    /// Reads a profile into the index.
    async fn read_into_index(&self, name: Username) -> Result<Result<(), NoProfile>, StorageUnavailable> {
        let term = self.profiles.term();
        match self.profiles.read_profile(&name).await? {
            StoredProfile::Valid(profile) => {
                self.profiles.add_to_index(profile, term);
                return Ok(Ok(()));
            }
            // The folder has images but no profile: no user has this name.
            StoredProfile::Missing => debug!(user = %name, "skipped a folder in the bucket: it has no profile"),
            // An unreadable profile must not stop the rebuild. The failure was logged at the read.
            StoredProfile::Corrupt => {}
        }
        Ok(Err(NoProfile(name)))
    }
}

#[cfg(test)]
mod tests;
