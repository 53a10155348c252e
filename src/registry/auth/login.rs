//! Passwords are proved and changed, and who proved one is given a token.

use std::sync::Arc;

use tracing::info;

use super::credentials::Caller;
use super::proof::{Locked, PasswordProof};
use super::token::{Granted, Tokens};
use crate::registry::error::{AuthError, Unavailable};
use crate::registry::replication_source::ReplicationSource;
use crate::registry::users::profiles::{Profiles, to_bytes};
use crate::storage::Key;
use rollcall_core::{Password, PasswordHash, Profile, Username, WallMs};

/// How often a change is begun anew because another one came between.
const TRIES: usize = 3;

/// Gives tokens for passwords, and changes passwords.
pub(crate) struct Login {
    profiles: Arc<Profiles>,
    proof: Arc<PasswordProof>,
    tokens: Arc<Tokens>,
    source: Arc<ReplicationSource>,
}

impl Login {
    /// Logins of the users in `profiles`.
    pub(crate) fn new(
        profiles: Arc<Profiles>,
        proof: Arc<PasswordProof>,
        tokens: Arc<Tokens>,
        source: Arc<ReplicationSource>,
    ) -> Self {
        Self { profiles, proof, tokens, source }
    }

    /// Gives a token to who knows the password.
    pub(crate) async fn login(
        &self,
        name: &Username,
        password: Password,
        caller: Caller,
    ) -> Result<Granted, AuthError> {
        self.has_password(name, caller).await?;
        let profile = self.proof.prove(name, password, caller).await?;
        self.grant(profile, caller.wall).await
    }

    /// Changes the password and gives a token for the new one. When this returns `Ok`, the change is durable and known to a
    /// majority of the nodes, and no token that was given before is good any more. To repeat it does no harm: who knows the
    /// password that it has already is given a token.
    pub(crate) async fn change_password(
        &self,
        name: &Username,
        password: Password,
        new: Password,
        caller: Caller,
    ) -> Result<Granted, AuthError> {
        self.has_password(name, caller).await?;
        let changed = self.proof.counted(name, caller, self.replace_password(name, password, new)).await?;
        self.grant(changed, caller.wall).await
    }

    /// A token for the password in `profile`, which was proved, once a majority knows which one that is.
    async fn grant(&self, profile: Profile, wall: WallMs) -> Result<Granted, AuthError> {
        let name = profile.username.clone();
        let granted = self.tokens.issue_for(&profile, wall).ok_or_else(|| AuthError::NoPassword(name.clone()))?;
        self.source.known_to_majority(&name).await.map_err(|_| AuthError::NotReplicated(name))?;
        Ok(granted)
    }

    async fn has_password(&self, name: &Username, caller: Caller) -> Result<(), AuthError> {
        let entry = self.profiles.entry(name, caller.now).await?;
        if entry.guard.is_open() { Err(AuthError::NoPassword(name.clone())) } else { Ok(()) }
    }

    async fn replace_password(&self, name: &Username, old: Password, new: Password) -> Result<Profile, AuthError> {
        let mut hashed = None;
        for _ in 0..TRIES {
            let Locked { mut profile, hash, version, epoch } = self.proof.read_locked(name).await?;
            let was_changed = profile.password_version > 0;
            let tried = if was_changed { vec![old.clone(), new.clone()] } else { vec![old.clone()] };
            match self.proof.which(tried, hash).await? {
                Some(0) => {}
                // The same change was made before, and its answer lost.
                Some(_) => return Ok(profile),
                None => return Err(AuthError::WrongPassword(name.clone())),
            }
            let hash = match &hashed {
                Some(hash) => PasswordHash::clone(hash),
                None => hashed.insert(self.proof.hash(new.clone()).await?).clone(),
            };
            profile.password_hash = Some(hash);
            profile.password_version = profile.password_version.saturating_add(1);
            let key = Key::Profile(name.clone());
            let replaced = self
                .profiles
                .bucket()
                .replace_if(&key, &version, to_bytes(&profile))
                .await
                .map_err(Unavailable::from)?;
            if replaced.is_some() {
                self.profiles.note(profile.clone(), epoch);
                info!(user = %name, "changed the password of {name}");
                return Ok(profile);
            }
        }
        Err(AuthError::Contended(name.clone()))
    }
}

#[cfg(test)]
mod tests;
