//! Password verification: reads the profile, compares the hash, and counts wrong passwords.

use std::sync::{Arc, Mutex};

use tracing::warn;

use super::credentials::Caller;
use super::hashing_pool::HashingPool;
use super::login_throttle::LoginThrottle;
use super::wrong_password_log::WrongPasswordLog;
use crate::registry::error::{AuthError, LookupError};
use crate::registry::lock::lock;
use crate::registry::users::profile_store::{MAX_READ_WAIT, ProfileStore, StoredProfile};
use crate::storage::ObjectVersion;
use rollcall_core::{Password, PasswordHash, Profile, Term, Username};

/// A profile with a password, as read in `term`.
pub(super) struct ProtectedProfile {
    pub(super) profile: Profile,
    pub(super) hash: PasswordHash,
    /// The object's version in the bucket, for a conditional write.
    pub(super) version: ObjectVersion,
    pub(super) term: Term,
}

/// Verifies the passwords of users.
pub(crate) struct PasswordVerifier {
    profiles: Arc<ProfileStore>,
    pool: HashingPool,
    throttle: Mutex<LoginThrottle>,
    log: Mutex<WrongPasswordLog>,
}

impl PasswordVerifier {
    /// A verifier for `profiles`. It has counted no wrong passwords yet.
    pub(crate) fn new(profiles: Arc<ProfileStore>) -> Self {
        Self { profiles, pool: HashingPool::default(), throttle: Mutex::default(), log: Mutex::default() }
    }

    /// Hashes a password with a new salt.
    pub(crate) async fn hash(&self, password: Password, caller: Caller<'_>) -> Result<PasswordHash, AuthError> {
        self.pool.hash(password, caller.claimant()).await
    }

    /// The index of the first of `passwords` that matches `hash`.
    pub(super) async fn find_match(
        &self,
        passwords: Vec<Password>,
        hash: PasswordHash,
        caller: Caller<'_>,
    ) -> Result<Option<usize>, AuthError> {
        self.pool.find_match(passwords, hash, caller.claimant()).await
    }

    /// Verifies that `password` matches `hash`. Wrong passwords are counted.
    pub(crate) async fn verify_hash(
        &self,
        name: &Username,
        password: Password,
        hash: PasswordHash,
        caller: Caller<'_>,
    ) -> Result<(), AuthError> {
        let compared = async {
            let is_match = self.pool.verify(password, hash, caller.claimant()).await?;
            if is_match { Ok(()) } else { Err(AuthError::WrongPassword(name.clone())) }
        };
        self.throttled(name, caller, compared).await
    }

    /// Verifies `password` and returns the profile. Wrong passwords are counted.
    pub(crate) async fn verify(
        &self,
        name: &Username,
        password: Password,
        caller: Caller<'_>,
    ) -> Result<Profile, AuthError> {
        let verified = async {
            let read = self.read_protected(name, caller).await?;
            if !self.pool.verify(password, read.hash, caller.claimant()).await? {
                return Err(AuthError::WrongPassword(name.clone()));
            }
            Ok(read.profile)
        };
        self.throttled(name, caller, verified).await
    }

    /// Counts a text that is certainly a wrong password, unless the caller is throttled.
    pub(super) async fn count_wrong(&self, name: &Username, caller: Caller<'_>) -> Result<(), AuthError> {
        let wrong = std::future::ready(Err(AuthError::WrongPassword(name.clone())));
        self.throttled(name, caller, wrong).await
    }

    /// Runs `attempt`, which verifies a password of the user, unless the caller is throttled. Then
    /// nothing is read and nothing is hashed.
    pub(super) async fn throttled<T>(
        &self,
        name: &Username,
        caller: Caller<'_>,
        attempt: impl Future<Output = Result<T, AuthError>>,
    ) -> Result<T, AuthError> {
        let started = lock(&self.throttle).start_attempt(name, caller.from, caller.now);
        started.map_err(|wait_ms| AuthError::TooManyAttempts { wait_ms })?;
        let result = attempt.await;
        let mut throttle = lock(&self.throttle);
        match &result {
            Ok(_) => throttle.record_success(name, caller.from),
            Err(AuthError::WrongPassword(_)) => {
                if let Some(left_out) = lock(&self.log).try_write(caller.now) {
                    warn!(user = %name, from = %caller.from, left_out, "wrong password");
                }
            }
            Err(_) => throttle.cancel_attempt(name, caller.from),
        }
        result
    }

    /// Reads the profile of a user with a password.
    pub(super) async fn read_protected(
        &self,
        name: &Username,
        caller: Caller<'_>,
    ) -> Result<ProtectedProfile, AuthError> {
        let permit = self.profiles.read_permit(caller.claimant(), MAX_READ_WAIT).await.map_err(LookupError::from)?;
        let term = self.profiles.term();
        let read = self.profiles.read_with_version(name).await?;
        drop(permit);
        match read {
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
