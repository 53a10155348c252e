//! Profiles of users: a lookup checks the index in memory, and reads the bucket if the index does
//! not know the name.

use std::sync::{Arc, Mutex, MutexGuard};

use compact_str::CompactString;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::error;

use super::user_details::UserDetails;
use super::user_index::{IndexEntry, IndexLookup, UserIndex};
use crate::registry::auth::credential_state::CredentialState;
use crate::registry::error::{LookupError, StorageUnavailable};
use crate::registry::lock::lock;
use crate::storage::{Bucket, Key, ObjectVersion};
use rollcall_core::{BootMs, Profile, Term, Username};

/// Maximum number of concurrent reads of single profiles. Large enough to hide the latency of the
/// bucket. Small enough that requests for invented names cannot overload the bucket.
const MAX_CONCURRENT_READS: usize = 16;

/// Result of reading a user's profile from the bucket.
pub(crate) enum StoredProfile {
    /// A valid profile of this user.
    Valid(Profile),
    /// Unreadable, or not a profile of this user.
    Corrupt,
    /// No object.
    Missing,
}

/// The bucket with the profiles, and the index of the profiles that this node knows.
pub(crate) struct ProfileStore {
    bucket: Bucket,
    index: Mutex<UserIndex>,
    read_permits: Semaphore,
}

impl ProfileStore {
    /// The profiles in `bucket`, with an empty index.
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self { bucket, index: Mutex::default(), read_permits: Semaphore::new(MAX_CONCURRENT_READS) }
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Locks the index.
    pub(crate) fn index(&self) -> MutexGuard<'_, UserIndex> {
        lock(&self.index)
    }

    /// The current term.
    pub(crate) fn term(&self) -> Term {
        self.index().term()
    }

    /// Waits for a permit to read a single profile from the bucket.
    pub(crate) async fn read_permit(&self) -> SemaphorePermit<'_> {
        self.read_permits.acquire().await.expect("the semaphore is never closed")
    }

    /// The index entry of a registered user. Reads the bucket if the user is not in the index.
    pub(crate) async fn entry(&self, name: &Username, now: BootMs) -> Result<IndexEntry, LookupError> {
        if let Some(entry) = self.index().entry(name) {
            return Ok(entry);
        }
        self.look_up(name, now).await?;
        self.indexed_entry(name)
    }

    /// The index entry of a user in the index.
    pub(crate) fn indexed_entry(&self, name: &Username) -> Result<IndexEntry, LookupError> {
        // Rows are never removed, so the error does not happen.
        self.index().entry(name).ok_or_else(|| LookupError::NotRegistered(name.clone()))
    }

    /// The error for a registered user whose profile is missing from the bucket.
    pub(crate) fn missing_error(&self, name: &Username) -> StorageUnavailable {
        self.bucket.vanished(&Key::Profile(name.clone())).into()
    }

    /// The details of a registered user. If the name is not registered, the next lookups of it do
    /// not read the bucket for a short time.
    pub(crate) async fn look_up(&self, name: &Username, now: BootMs) -> Result<Arc<UserDetails>, LookupError> {
        if let Some(found) = self.find_in_index(name, now) {
            return found;
        }
        let _permit = self.read_permit().await;
        // Another request may have read the same name meanwhile.
        if let Some(found) = self.find_in_index(name, now) {
            return found;
        }
        let term = self.term();
        match self.read_profile(name).await? {
            StoredProfile::Valid(profile) => Ok(self.add_to_index(profile, term)),
            StoredProfile::Corrupt => Err(LookupError::Corrupt(name.clone())),
            StoredProfile::Missing => {
                self.index().note_missing(name, term, now);
                Err(LookupError::NotRegistered(name.clone()))
            }
        }
    }

    fn find_in_index(&self, name: &Username, now: BootMs) -> Option<Result<Arc<UserDetails>, LookupError>> {
        match self.index().find(name, now) {
            IndexLookup::Found(details) => Some(Ok(details)),
            IndexLookup::NotRegistered => Some(Err(LookupError::NotRegistered(name.clone()))),
            IndexLookup::Unknown => None,
        }
    }

    /// Adds a profile that was read or written in `term` to the index.
    pub(crate) fn add_to_index(&self, profile: Profile, term: Term) -> Arc<UserDetails> {
        let credential = CredentialState::from_profile(&profile, term);
        let name = profile.username.clone();
        self.index().insert(name, UserDetails::from(profile), credential)
    }

    /// Reads a profile from the bucket.
    pub(crate) async fn read_profile(&self, name: &Username) -> Result<StoredProfile, StorageUnavailable> {
        self.read_with_version(name).await.map(|(stored, _)| stored)
    }

    /// Reads a profile and the version of its object. The version is empty if no object could be
    /// read.
    pub(crate) async fn read_with_version(
        &self,
        name: &Username,
    ) -> Result<(StoredProfile, ObjectVersion), StorageUnavailable> {
        let no_version = || ObjectVersion(CompactString::default());
        match self.bucket.get(&Key::Profile(name.clone())).await.map_err(StorageUnavailable::from) {
            Ok(Some(object)) => Ok((self.parse_profile(name, &object.bytes), object.version)),
            Ok(None) => Ok((StoredProfile::Missing, no_version())),
            Err(error) if error.concerns_one_object() => {
                self.report_unreadable(name, &error.cause());
                Ok((StoredProfile::Corrupt, no_version()))
            }
            Err(error) => Err(error),
        }
    }

    /// Parses the bytes of a profile. Invalid bytes and the profile of another user are `Corrupt`,
    /// and are logged.
    pub(crate) fn parse_profile(&self, name: &Username, bytes: &[u8]) -> StoredProfile {
        let why = match Profile::decode_of(name, bytes) {
            Ok(profile) => return StoredProfile::Valid(profile),
            Err(why) => why,
        };
        self.report_unreadable(name, &format!("{}: {why}", Key::Profile(name.clone())));
        StoredProfile::Corrupt
    }

    /// Logs that an object of a user is unreadable, once per user. Otherwise every heartbeat of the
    /// user would log it.
    pub(crate) fn report_unreadable(&self, name: &Username, why: &str) {
        if self.index().found_corrupt(name) {
            error!(user = %name, cause = why, "a stored object of the user is unreadable; restore it or move it away");
        }
    }
}
