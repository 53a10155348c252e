//! Finds one user: in the index first, then with one read of the bucket.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
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

/// Reads of single profiles that run at once: enough to hide a store's latency, and few enough that a flood of made-up
/// names does not become a flood on the store.
const MAX_CONCURRENT_READS: usize = 16;

/// What the bucket holds under a user's name.
pub(crate) enum StoredProfile {
    /// A profile.
    Valid(Profile),
    /// Something that is no profile of that user, or cannot be read.
    Corrupt,
    /// Nothing.
    Missing,
}

/// The profiles: the bucket, and the index of those that are found.
pub(crate) struct ProfileStore {
    bucket: Bucket,
    index: Mutex<UserIndex>,
    reads: Semaphore,
}

impl ProfileStore {
    /// The profiles in `bucket`, of which no_version is found yet.
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self { bucket, index: Mutex::default(), reads: Semaphore::new(MAX_CONCURRENT_READS) }
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The index, locked.
    pub(crate) fn index(&self) -> MutexGuard<'_, UserIndex> {
        lock(&self.index)
    }

    /// The term that runs.
    pub(crate) fn term(&self) -> Term {
        self.index().term()
    }

    /// Waits until another single profile may be read.
    pub(crate) async fn read_permit(&self) -> SemaphorePermit<'_> {
        self.reads.acquire().await.expect("the semaphore is never closed")
    }

    /// What the index knows of a registered user.
    pub(crate) async fn entry(&self, name: &Username, now: BootMs) -> Result<IndexEntry, LookupError> {
        if let Some(entry) = self.index().entry(name) {
            return Ok(entry);
        }
        self.look_up(name, now).await?;
        self.indexed_entry(name)
    }

    /// The same of a user who was looked up before.
    pub(crate) fn indexed_entry(&self, name: &Username) -> Result<IndexEntry, LookupError> {
        // Rows only grow, so the other case does not happen.
        self.index().entry(name).ok_or_else(|| LookupError::NotRegistered(name.clone()))
    }

    /// The profile of a registered user is not in the bucket any more.
    pub(crate) fn missing_error(&self, name: &Username) -> StorageUnavailable {
        self.bucket.vanished(&Key::Profile(name.clone())).into()
    }

    /// The facts about a registered user. A name looked up in vain is not read again for a moment.
    pub(crate) async fn look_up(&self, name: &Username, now: BootMs) -> Result<Arc<UserDetails>, LookupError> {
        if let Some(found) = self.find_in_index(name, now) {
            return found;
        }
        let _permit = self.read_permit().await;
        // While this one waited, another may have found the same name.
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

    /// Notes in the index a profile that was asked for, or written, in `term`.
    pub(crate) fn add_to_index(&self, profile: Profile, term: Term) -> Arc<UserDetails> {
        let credential = CredentialState::from_profile(&profile, term);
        let name = profile.username.clone();
        self.index().insert(name, UserDetails::from(profile), credential)
    }

    /// Reads a profile from the bucket.
    pub(crate) async fn read_profile(&self, name: &Username) -> Result<StoredProfile, StorageUnavailable> {
        self.read_with_version(name).await.map(|(stored, _)| stored)
    }

    /// Reads a profile from the bucket, and which version of it is there; of what is no profile it says nothing.
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

    /// Reads a profile from its bytes.
    pub(crate) fn parse_profile(&self, name: &Username, bytes: &[u8]) -> StoredProfile {
        let why = match serde_json::from_slice::<Profile>(bytes) {
            Ok(profile) if profile.username == *name => return StoredProfile::Valid(profile),
            Ok(profile) => format!("it is the profile of '{}'", profile.username),
            Err(why) => why.to_string(),
        };
        self.report_unreadable(name, &format!("{}: {why}", Key::Profile(name.clone())));
        StoredProfile::Corrupt
    }

    /// Logs, the first time that it is met, that something stored of a user cannot be read: somebody has to act, but not
    /// once a heartbeat.
    pub(crate) fn report_unreadable(&self, name: &Username, why: &str) {
        if self.index().found_corrupt(name) {
            error!(user = %name, "what is stored of '{name}' cannot be read: {why}; restore it or move it away");
        }
    }
}

/// The bytes of a profile in the bucket.
pub(crate) fn encode_profile(profile: &Profile) -> Bytes {
    serde_json::to_vec(profile).expect("a profile has only text keys").into()
}
