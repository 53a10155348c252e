//! Finds one user: in the index first, then with one read of the bucket.

use std::sync::Arc;

use compact_str::CompactString;
use tracing::error;

use super::guard::Guard;
use super::index::{Facts, Known};
use super::{Epoch, LookupError, Registry, Unavailable, lock};
use crate::storage::{Key, Version};
use rollcall_core::{BootMs, Profile, Username};

/// What the bucket holds under a user's name.
pub(super) enum Stored {
    /// A profile.
    Profile(Profile),
    /// Something that is no profile of that user, or cannot be read.
    Corrupt,
    /// Nothing.
    Nothing,
}

impl Registry {
    /// The facts about a registered user. A name looked up in vain is not read again for a moment.
    pub(super) async fn look_up(&self, name: &Username, now: BootMs) -> Result<Arc<Facts>, LookupError> {
        if let Some(known) = self.find(name, now) {
            return known;
        }
        let _one_of_few = self.0.lookups.acquire().await.expect("the semaphore is never closed");
        // While this one waited, another may have found the same name.
        if let Some(known) = self.find(name, now) {
            return known;
        }
        let epoch = lock(&self.0.index).epoch();
        match self.read_profile(name).await? {
            Stored::Profile(profile) => Ok(self.note(profile, epoch)),
            Stored::Corrupt => Err(LookupError::Corrupt(name.clone())),
            Stored::Nothing => {
                lock(&self.0.index).missed(name, epoch, now);
                Err(LookupError::NotRegistered(name.clone()))
            }
        }
    }

    fn find(&self, name: &Username, now: BootMs) -> Option<Result<Arc<Facts>, LookupError>> {
        match lock(&self.0.index).find(name, now) {
            Known::User(facts) => Some(Ok(facts)),
            Known::Missing => Some(Err(LookupError::NotRegistered(name.clone()))),
            Known::Unknown => None,
        }
    }

    /// Notes in the index a profile that was asked for, or written, in `epoch`.
    pub(super) fn note(&self, profile: Profile, epoch: Epoch) -> Arc<Facts> {
        let guard = Guard::of(&profile, epoch);
        let name = profile.username.clone();
        lock(&self.0.index).insert(name, Facts::from(profile), guard)
    }

    /// Reads a profile from the bucket.
    pub(super) async fn read_profile(&self, name: &Username) -> Result<Stored, Unavailable> {
        self.read_versioned(name).await.map(|(stored, _)| stored)
    }

    /// Reads a profile from the bucket, and which version of it is there; of what is no profile it says nothing.
    pub(super) async fn read_versioned(&self, name: &Username) -> Result<(Stored, Version), Unavailable> {
        let none = || Version(CompactString::default());
        match self.0.bucket.get(&Key::Profile(name.clone())).await.map_err(Unavailable::from) {
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
    pub(super) fn parse_profile(&self, name: &Username, bytes: &[u8]) -> Stored {
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
    pub(super) fn report_unreadable(&self, name: &Username, why: &str) {
        if lock(&self.0.index).found_corrupt(name) {
            error!(user = %name, "what is stored of '{name}' cannot be read: {why}; restore it or move it away");
        }
    }
}
