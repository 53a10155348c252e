//! Passwords are proved and changed, and who proved one is given a token.

use tracing::{debug, info};

use super::access::Caller;
use super::guard::Guard;
use super::lookup::Stored;
use super::register::to_bytes;
use super::token::Granted;
use super::{AuthError, Epoch, LookupError, Registry, Unavailable, lock};
use crate::storage::{Key, Version};
use rollcall_core::{Password, PasswordHash, Profile, Username, WallMs};

/// How often a change is begun anew because another one came between.
const TRIES: usize = 3;

/// A profile with a password, as it was read in `epoch`.
struct Locked {
    profile: Profile,
    hash: PasswordHash,
    version: Version,
    epoch: Epoch,
}

impl Registry {
    /// Gives a token to who knows the password.
    ///
    /// # Errors
    /// [`AuthError`]: the user is not registered, has no password or another one, or has been guessed at too often; or the
    /// bucket, or a majority of the nodes, gave no answer.
    pub async fn login(&self, name: &Username, password: Password, caller: Caller) -> Result<Granted, AuthError> {
        self.has_password(name, caller).await?;
        let profile = self.prove(name, password, caller).await?;
        self.grant(profile, caller.wall).await
    }

    /// Changes the password and gives a token for the new one. When this returns `Ok`, the change is durable and known to a
    /// majority of the nodes, and no token that was given before is good any more. To repeat it does no harm: who knows the
    /// password that it has already is given a token.
    ///
    /// # Errors
    /// [`AuthError`] as for [`Self::login`]. If the bucket or too few nodes gave an answer, the change may have taken effect;
    /// the same change may be sent again.
    pub async fn change_password(
        &self,
        name: &Username,
        password: Password,
        new: Password,
        caller: Caller,
    ) -> Result<Granted, AuthError> {
        self.has_password(name, caller).await?;
        let changed = self.counted(name, caller, self.replace_password(name, password, new)).await?;
        self.grant(changed, caller.wall).await
    }

    /// The profile, if `password` is the one in it. Wrong ones are counted.
    pub(super) async fn prove(
        &self,
        name: &Username,
        password: Password,
        caller: Caller,
    ) -> Result<Profile, AuthError> {
        let proved = async {
            let locked = self.read_locked(name).await?;
            if !self.0.passwords.verify(password, locked.hash).await? {
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
        let begun = lock(&self.0.guesses).begin(name, caller.from, caller.now);
        begun.map_err(|wait_ms| AuthError::TooManyAttempts { wait_ms })?;
        let result = attempt.await;
        let mut guesses = lock(&self.0.guesses);
        match &result {
            Ok(_) => guesses.right(name, caller.from),
            Err(AuthError::WrongPassword(_)) => {
                debug!(user = %name, from = %caller.from, "a wrong password for {name}");
            }
            Err(_) => guesses.undo(name, caller.from),
        }
        result
    }

    /// A token for the password in `profile`, which was proved, once a majority knows which one that is.
    pub(super) async fn grant(&self, profile: Profile, wall: WallMs) -> Result<Granted, AuthError> {
        let name = profile.username.clone();
        let granted = self.token_of(&profile, wall).ok_or_else(|| AuthError::NoPassword(name.clone()))?;
        self.known_to_majority(&name).await.map_err(|_| AuthError::NotReplicated(name))?;
        Ok(granted)
    }

    /// A token for the password in `profile`, if there is one.
    pub(super) fn token_of(&self, profile: &Profile, wall: WallMs) -> Option<Granted> {
        let mark = Guard::of(profile, Epoch::default()).mark()?;
        Some(self.0.tokens.issue(profile.user_id, mark, wall))
    }

    async fn has_password(&self, name: &Username, caller: Caller) -> Result<(), AuthError> {
        let entry = self.entry(name, caller.now).await?;
        if entry.guard.is_open() { Err(AuthError::NoPassword(name.clone())) } else { Ok(()) }
    }

    async fn replace_password(&self, name: &Username, old: Password, new: Password) -> Result<Profile, AuthError> {
        let mut hashed = None;
        for _ in 0..TRIES {
            let Locked { mut profile, hash, version, epoch } = self.read_locked(name).await?;
            let was_changed = profile.password_version > 0;
            let tried = if was_changed { vec![old.clone(), new.clone()] } else { vec![old.clone()] };
            match self.0.passwords.which(tried, hash).await? {
                Some(0) => {}
                // The same change was made before, and its answer lost.
                Some(_) => return Ok(profile),
                None => return Err(AuthError::WrongPassword(name.clone())),
            }
            let hash = match &hashed {
                Some(hash) => PasswordHash::clone(hash),
                None => hashed.insert(self.0.passwords.hash(new.clone()).await?).clone(),
            };
            profile.password_hash = Some(hash);
            profile.password_version = profile.password_version.saturating_add(1);
            let key = Key::Profile(name.clone());
            let replaced =
                self.0.bucket.replace_if(&key, &version, to_bytes(&profile)).await.map_err(Unavailable::from)?;
            if replaced.is_some() {
                self.note(profile.clone(), epoch);
                info!(user = %name, "changed the password of {name}");
                return Ok(profile);
            }
        }
        Err(AuthError::Contended(name.clone()))
    }

    /// Reads the profile of a user who is known to have a password.
    async fn read_locked(&self, name: &Username) -> Result<Locked, AuthError> {
        let epoch = lock(&self.0.index).epoch();
        match self.read_versioned(name).await? {
            (Stored::Profile(profile), version) => {
                self.note(profile.clone(), epoch);
                let hash = profile.password_hash.clone().ok_or_else(|| AuthError::NoPassword(name.clone()))?;
                Ok(Locked { profile, hash, version, epoch })
            }
            (Stored::Corrupt, _) => Err(LookupError::Corrupt(name.clone()).into()),
            (Stored::Nothing, _) => Err(Unavailable::from(self.0.bucket.vanished(&Key::Profile(name.clone()))).into()),
        }
    }
}

#[cfg(test)]
mod tests;
