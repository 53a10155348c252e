//! Proves passwords: reads the profile, compares, and counts wrong ones.

use std::sync::{Arc, Mutex};

use tracing::debug;

use super::credentials::Caller;
use super::login_throttle::LoginThrottle;
use super::password::Passwords;
use crate::registry::error::{AuthError, LookupError};
use crate::registry::lock::lock;
use crate::registry::users::profiles::{Profiles, Stored};
use crate::storage::ObjectVersion;
use rollcall_core::{Password, PasswordHash, Profile, Term, Username};

/// A profile with a password, as it was read in `epoch`.
pub(super) struct Locked {
    pub(super) profile: Profile,
    pub(super) hash: PasswordHash,
    pub(super) version: ObjectVersion,
    pub(super) epoch: Term,
}

/// Proves the passwords of users.
pub(crate) struct PasswordProof {
    profiles: Arc<Profiles>,
    passwords: Passwords,
    throttle: Mutex<LoginThrottle>,
}

impl PasswordProof {
    /// Proves the passwords in `profiles`; no wrong one was counted yet.
    pub(crate) fn new(profiles: Arc<Profiles>) -> Self {
        Self { profiles, passwords: Passwords::default(), throttle: Mutex::default() }
    }

    /// The password, hashed with a fresh salt.
    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, AuthError> {
        self.passwords.hash(password).await
    }

    /// Which of `passwords` is the one that was hashed to `hash`, if one is.
    pub(super) async fn which(&self, passwords: Vec<Password>, hash: PasswordHash) -> Result<Option<usize>, AuthError> {
        self.passwords.which(passwords, hash).await
    }

    /// Whether `password` is the one that was hashed to `hash`. Wrong ones are counted.
    pub(crate) async fn compare(
        &self,
        name: &Username,
        password: Password,
        hash: PasswordHash,
        caller: Caller,
    ) -> Result<(), AuthError> {
        let compared = async {
            let is_right = self.passwords.verify(password, hash).await?;
            if is_right { Ok(()) } else { Err(AuthError::WrongPassword(name.clone())) }
        };
        self.counted(name, caller, compared).await
    }

    /// The profile, if `password` is the one in it. Wrong ones are counted.
    pub(crate) async fn prove(
        &self,
        name: &Username,
        password: Password,
        caller: Caller,
    ) -> Result<Profile, AuthError> {
        let proved = async {
            let locked = self.read_locked(name).await?;
            if !self.passwords.verify(password, locked.hash).await? {
                return Err(AuthError::WrongPassword(name.clone()));
            }
            Ok(locked.profile)
        };
        self.counted(name, caller, proved).await
    }

    /// Lets `attempt` try a password of a user, unless too many were wrong lately. Nothing is read and nothing hashed then.
    pub(super) async fn counted<T>(
        &self,
        name: &Username,
        caller: Caller,
        attempt: impl Future<Output = Result<T, AuthError>>,
    ) -> Result<T, AuthError> {
        let begun = lock(&self.throttle).begin(name, caller.from, caller.now);
        begun.map_err(|wait_ms| AuthError::TooManyAttempts { wait_ms })?;
        let result = attempt.await;
        let mut throttle = lock(&self.throttle);
        match &result {
            Ok(_) => throttle.right(name, caller.from),
            Err(AuthError::WrongPassword(_)) => {
                debug!(user = %name, from = %caller.from, "a wrong password for {name}");
            }
            Err(_) => throttle.undo(name, caller.from),
        }
        result
    }

    /// Reads the profile of a user who is known to have a password.
    pub(super) async fn read_locked(&self, name: &Username) -> Result<Locked, AuthError> {
        let epoch = self.profiles.term();
        match self.profiles.read_versioned(name).await? {
            (Stored::Profile(profile), version) => {
                self.profiles.note(profile.clone(), epoch);
                let hash = profile.password_hash.clone().ok_or_else(|| AuthError::NoPassword(name.clone()))?;
                Ok(Locked { profile, hash, version, epoch })
            }
            (Stored::Corrupt, _) => Err(LookupError::Corrupt(name.clone()).into()),
            (Stored::Nothing, _) => Err(self.profiles.vanished(name).into()),
        }
    }
}
