//! Logins and password changes: both verify a password and issue a token.

use std::sync::Arc;

use tracing::info;

use super::credentials::Caller;
use super::password_verifier::{PasswordVerifier, ProtectedProfile};
use super::token_signer::{IssuedToken, TokenSigner};
use crate::registry::error::{AuthError, StorageUnavailable};
use crate::registry::replication_source::ReplicationSource;
use crate::registry::users::profile_store::ProfileStore;
use crate::storage::Key;
use rollcall_core::{Password, PasswordHash, Profile, Username, WallMs};

/// Maximum number of attempts to write a changed password. An attempt fails if another write to the
/// profile comes first.
const MAX_ATTEMPTS: usize = 3;

/// Issues tokens for passwords, and changes passwords.
pub(crate) struct LoginService {
    profiles: Arc<ProfileStore>,
    verifier: Arc<PasswordVerifier>,
    tokens: Arc<TokenSigner>,
    source: Arc<ReplicationSource>,
}

impl LoginService {
    /// A login service for the users in `profiles`.
    pub(crate) fn new(
        profiles: Arc<ProfileStore>,
        verifier: Arc<PasswordVerifier>,
        tokens: Arc<TokenSigner>,
        source: Arc<ReplicationSource>,
    ) -> Self {
        Self { profiles, verifier, tokens, source }
    }

    /// Verifies a user's password and issues a token.
    pub(crate) async fn login(
        &self,
        name: &Username,
        password: Password,
        caller: Caller<'_>,
    ) -> Result<IssuedToken, AuthError> {
        self.ensure_has_password(name, caller).await?;
        let profile = self.verifier.verify(name, password, caller).await?;
        self.issue_token(profile, caller.wall).await
    }

    /// Changes a user's password and issues a token for the new one. When this returns `Ok`, the
    /// change is durable and known to a majority of the nodes, and all earlier tokens are invalid.
    /// The call may be repeated: if the new password is already set, it only issues a token.
    pub(crate) async fn change_password(
        &self,
        name: &Username,
        password: Password,
        new: Password,
        caller: Caller<'_>,
    ) -> Result<IssuedToken, AuthError> {
        self.ensure_has_password(name, caller).await?;
        let changed = self.verifier.throttled(name, caller, self.replace_password(name, password, new, caller)).await?;
        self.issue_token(changed, caller.wall).await
    }

    /// Issues a token for the verified password in `profile`, once a majority has its fingerprint.
    async fn issue_token(&self, profile: Profile, wall: WallMs) -> Result<IssuedToken, AuthError> {
        let name = profile.username.clone();
        let issued =
            self.tokens.issue_for_profile(&profile, wall).ok_or_else(|| AuthError::NoPassword(name.clone()))?;
        self.source.wait_for_majority(&name).await.map_err(|_| AuthError::NotReplicated(name))?;
        Ok(issued)
    }

    async fn ensure_has_password(&self, name: &Username, caller: Caller<'_>) -> Result<(), AuthError> {
        let entry = self.profiles.entry(name, caller).await?;
        if entry.credential.is_open() { Err(AuthError::NoPassword(name.clone())) } else { Ok(()) }
    }

    async fn replace_password(
        &self,
        name: &Username,
        old: Password,
        new: Password,
        caller: Caller<'_>,
    ) -> Result<Profile, AuthError> {
        let mut new_hash = None;
        for _ in 0..MAX_ATTEMPTS {
            let ProtectedProfile { mut profile, hash, version, term } =
                self.verifier.read_protected(name, caller).await?;
            // Only after an earlier change can this call be a repetition of that change.
            let was_changed = profile.password_version > 0;
            let candidates = if was_changed { vec![old.clone(), new.clone()] } else { vec![old.clone()] };
            match self.verifier.find_match(candidates, hash, caller).await? {
                Some(0) => {}
                // An earlier call has already made this change.
                Some(_) => return Ok(profile),
                None => return Err(AuthError::WrongPassword(name.clone())),
            }
            let hash = match &new_hash {
                Some(hash) => PasswordHash::clone(hash),
                None => new_hash.insert(self.verifier.hash(new.clone(), caller).await?).clone(),
            };
            profile.password_hash = Some(hash);
            profile.password_version = profile.password_version.saturating_add(1);
            let key = Key::Profile(name.clone());
            let replaced = self
                .profiles
                .bucket()
                .replace_if(&key, &version, profile.encode().into())
                .await
                .map_err(StorageUnavailable::from)?;
            if replaced.is_some() {
                self.profiles.add_to_index(profile.clone(), term);
                info!(user = %name, "password changed");
                return Ok(profile);
            }
        }
        Err(AuthError::Contended(name.clone()))
    }
}

#[cfg(test)]
mod tests;
