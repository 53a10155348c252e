//! Finds one user: in the index first, then with one read of the bucket.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use compact_str::CompactString;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::error;

use super::facts::Facts;
use super::index::{Entry, Index, Known};
use crate::registry::auth::credential_state::Guard;
use crate::registry::error::{LookupError, Unavailable};
use crate::registry::lock::lock;
use crate::storage::{Bucket, Key, ObjectVersion};
use rollcall_core::{BootMs, Profile, Term, Username};

/// Reads of single profiles that run at once: enough to hide a store's latency, and few enough that a flood of made-up
/// names does not become a flood on the store.
const LOOKUPS_AT_ONCE: usize = 16;

/// What the bucket holds under a user's name.
pub(crate) enum Stored {
    /// A profile.
    Profile(Profile),
    /// Something that is no profile of that user, or cannot be read.
    Corrupt,
    /// Nothing.
    Nothing,
}

/// The profiles: the bucket, and the index of those that are known.
pub(crate) struct Profiles {
    bucket: Bucket,
    index: Mutex<Index>,
    lookups: Semaphore,
}

impl Profiles {
    /// The profiles in `bucket`, of which none is known yet.
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self { bucket, index: Mutex::default(), lookups: Semaphore::new(LOOKUPS_AT_ONCE) }
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The index, locked.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// The term that runs.
    pub(crate) fn term(&self) -> Term {
        self.index().epoch()
    }

    /// Waits until another single profile may be read.
    pub(crate) async fn permit(&self) -> SemaphorePermit<'_> {
        self.lookups.acquire().await.expect("the semaphore is never closed")
    }

    /// What the index knows of a registered user.
    pub(crate) async fn entry(&self, name: &Username, now: BootMs) -> Result<Entry, LookupError> {
        if let Some(entry) = self.index().entry(name) {
            return Ok(entry);
        }
        self.look_up(name, now).await?;
        self.known_entry(name)
    }

    /// The same of a user who was looked up before.
    pub(crate) fn known_entry(&self, name: &Username) -> Result<Entry, LookupError> {
        // Rows only grow, so the other case does not happen.
        self.index().entry(name).ok_or_else(|| LookupError::NotRegistered(name.clone()))
    }

    /// The profile of a registered user is not in the bucket any more.
    pub(crate) fn vanished(&self, name: &Username) -> Unavailable {
        self.bucket.vanished(&Key::Profile(name.clone())).into()
    }

    /// The facts about a registered user. A name looked up in vain is not read again for a moment.
    pub(crate) async fn look_up(&self, name: &Username, now: BootMs) -> Result<Arc<Facts>, LookupError> {
        if let Some(known) = self.find(name, now) {
            return known;
        }
        let _one_of_few = self.permit().await;
        // While this one waited, another may have found the same name.
        if let Some(known) = self.find(name, now) {
            return known;
        }
        let epoch = self.term();
        match self.read_profile(name).await? {
            Stored::Profile(profile) => Ok(self.note(profile, epoch)),
            Stored::Corrupt => Err(LookupError::Corrupt(name.clone())),
            Stored::Nothing => {
                self.index().missed(name, epoch, now);
                Err(LookupError::NotRegistered(name.clone()))
            }
        }
    }

    fn find(&self, name: &Username, now: BootMs) -> Option<Result<Arc<Facts>, LookupError>> {
        match self.index().find(name, now) {
            Known::User(facts) => Some(Ok(facts)),
            Known::Missing => Some(Err(LookupError::NotRegistered(name.clone()))),
            Known::Unknown => None,
        }
    }

    /// Notes in the index a profile that was asked for, or written, in `epoch`.
    pub(crate) fn note(&self, profile: Profile, epoch: Term) -> Arc<Facts> {
        let guard = Guard::of(&profile, epoch);
        let name = profile.username.clone();
        self.index().insert(name, Facts::from(profile), guard)
    }

    /// Reads a profile from the bucket.
    pub(crate) async fn read_profile(&self, name: &Username) -> Result<Stored, Unavailable> {
        self.read_versioned(name).await.map(|(stored, _)| stored)
    }

    /// Reads a profile from the bucket, and which version of it is there; of what is no profile it says nothing.
    pub(crate) async fn read_versioned(&self, name: &Username) -> Result<(Stored, ObjectVersion), Unavailable> {
        let none = || ObjectVersion(CompactString::default());
        match self.bucket.get(&Key::Profile(name.clone())).await.map_err(Unavailable::from) {
            Ok(Some(object)) => Ok((self.parse_profile(name, &object.bytes), object.version)),
            Ok(None) => Ok((Stored::Nothing, none())),
            Err(error) if error.concerns_one_object() => {
                self.report_unreadable(name, &error.cause());
                Ok((Stored::Corrupt, none()))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a profile from its bytes.
    pub(crate) fn parse_profile(&self, name: &Username, bytes: &[u8]) -> Stored {
        let why = match serde_json::from_slice::<Profile>(bytes) {
            Ok(profile) if profile.username == *name => return Stored::Profile(profile),
            Ok(profile) => format!("it is the profile of '{}'", profile.username),
            Err(why) => why.to_string(),
        };
        self.report_unreadable(name, &format!("{}: {why}", Key::Profile(name.clone())));
        Stored::Corrupt
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
pub(crate) fn to_bytes(profile: &Profile) -> Bytes {
    serde_json::to_vec(profile).expect("a profile has only text keys").into()
}
