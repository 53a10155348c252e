//! Proves passwords: reads the profile, compares, and counts wrong ones.

use std::sync::{Arc, Mutex};

use tracing::debug;

use super::credentials::Caller;
use super::hashing_pool::HashingPool;
use super::login_throttle::LoginThrottle;
use crate::registry::error::{AuthError, LookupError};
use crate::registry::lock::lock;
use crate::registry::users::profile_store::{ProfileStore, StoredProfile};
use crate::storage::ObjectVersion;
use rollcall_core::{Password, PasswordHash, Profile, Term, Username};

/// A profile with a password, as it was read in `term`.
pub(super) struct ProtectedProfile {
    pub(super) profile: Profile,
    pub(super) hash: PasswordHash,
    pub(super) version: ObjectVersion,
    pub(super) term: Term,
}

/// Proves the passwords of users.
pub(crate) struct PasswordVerifier {
    profiles: Arc<ProfileStore>,
    pool: HashingPool,
    throttle: Mutex<LoginThrottle>,
}

impl PasswordVerifier {
    /// Proves the passwords in `profiles`; no wrong one was throttled yet.
    pub(crate) fn new(profiles: Arc<ProfileStore>) -> Self {
        Self { profiles, pool: HashingPool::default(), throttle: Mutex::default() }
    }

    /// The password, hashed with a fresh salt.
    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, AuthError> {
        self.pool.hash(password).await
    }

    /// Which of `passwords` is the one that was hashed to `hash`, if one is.
    pub(super) async fn find_match(
        &self,
        passwords: Vec<Password>,
        hash: PasswordHash,
    ) -> Result<Option<usize>, AuthError> {
        self.pool.find_match(passwords, hash).await
    }

    /// Whether `password` is the one that was hashed to `hash`. Wrong ones are throttled.
    pub(crate) async fn verify_hash(
        &self,
        name: &Username,
        password: Password,
        hash: PasswordHash,
        caller: Caller,
    ) -> Result<(), AuthError> {
        let compared = async {
            let is_right = self.pool.verify(password, hash).await?;
            if is_right { Ok(()) } else { Err(AuthError::WrongPassword(name.clone())) }
        };
        self.throttled(name, caller, compared).await
    }

    /// The profile, if `password` is the one in it. Wrong ones are throttled.
    pub(crate) async fn verify(
        &self,
        name: &Username,
        password: Password,
        caller: Caller,
    ) -> Result<Profile, AuthError> {
        let proved = async {
            let read = self.read_protected(name).await?;
            if !self.pool.verify(password, read.hash).await? {
                return Err(AuthError::WrongPassword(name.clone()));
            }
            Ok(read.profile)
        };
        self.throttled(name, caller, proved).await
    }

    /// Lets `attempt` try a password of a user, unless too many were wrong lately. Nothing is read and nothing hashed then.
    pub(super) async fn throttled<T>(
        &self,
        name: &Username,
        caller: Caller,
        attempt: impl Future<Output = Result<T, AuthError>>,
    ) -> Result<T, AuthError> {
        let started = lock(&self.throttle).start_attempt(name, caller.from, caller.now);
        started.map_err(|wait_ms| AuthError::TooManyAttempts { wait_ms })?;
        let result = attempt.await;
        let mut throttle = lock(&self.throttle);
        match &result {
            Ok(_) => throttle.record_success(name, caller.from),
            Err(AuthError::WrongPassword(_)) => {
                debug!(user = %name, from = %caller.from, "a wrong password for {name}");
            }
            Err(_) => throttle.cancel_attempt(name, caller.from),
        }
        result
    }

    /// Reads the profile of a user who is known to have a password.
    pub(super) async fn read_protected(&self, name: &Username) -> Result<ProtectedProfile, AuthError> {
        let term = self.profiles.term();
        match self.profiles.read_with_version(name).await? {
            (StoredProfile::Valid(profile), version) => {
                self.profiles.add_to_index(profile.clone(), term);
                let hash = profile.password_hash.clone().ok_or_else(|| AuthError::NoPassword(name.clone()))?;
                Ok(ProtectedProfile { profile, hash, version, term })
            }
            (StoredProfile::Corrupt, _) => Err(LookupError::Corrupt(name.clone()).into()),
            (StoredProfile::Missing, _) => Err(self.profiles.missing_error(name).into()),
        }
    }
}
