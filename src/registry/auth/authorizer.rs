//! Authorization: decides whether a request may act for a user.
//!
//! Every request may act for a user without a password, unless the settings require passwords. For
//! a user with a password, a request needs the password or a token. A token is checked in memory,
//! without a lock and without the bucket, if the index is certain to have the latest password
//! fingerprint. The index is certain to have it if this node read or wrote the password in this
//! term, or if a majority of the nodes sent their rows.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::credentials::{Caller, Credentials, DenialReason};
use super::password_verifier::PasswordVerifier;
use super::token_signer::TokenSigner;
use crate::registry::coverage::TermCoverage;
use crate::registry::coverage_watch::CoverageWatch;
use crate::registry::error::{AuthError, LookupError};
use crate::registry::users::profile_store::{MAX_READ_WAIT, ProfileStore, StoredProfile};
use crate::registry::users::user_index::IndexEntry;
use rollcall_core::{Password, Username, WallMs};

/// Longest time for which a token check on a new leader waits for the rows of the other nodes.
/// After that, it reads the bucket.
const MAX_WAIT_FOR_ROWS: Duration = Duration::from_secs(1);

/// Result of an authorization check in memory.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum AuthDecision {
    /// The credentials are valid.
    Allowed,
    /// The credentials were rejected.
    Denied(DenialReason),
    /// Not decided in memory: a password must be verified, the index may not have the user's latest
    /// password, or a required password is missing.
    Undecided,
}

/// Decides whether a request may act for a user.
pub(crate) struct Authorizer {
    profiles: Arc<ProfileStore>,
    verifier: Arc<PasswordVerifier>,
    tokens: Arc<TokenSigner>,
    coverage: Arc<CoverageWatch>,
    require_password: bool,
    replicated: bool,
}

impl Authorizer {
    /// An authorizer for the users in `profiles`. `replicated`: there are other nodes, and they may
    /// know a later password.
    pub(crate) fn new(
        profiles: Arc<ProfileStore>,
        verifier: Arc<PasswordVerifier>,
        tokens: Arc<TokenSigner>,
        coverage: Arc<CoverageWatch>,
        require_password: bool,
        replicated: bool,
    ) -> Self {
        Self { profiles, verifier, tokens, coverage, require_password, replicated }
    }

    /// Checks `credentials` for the user of `entry` without waiting: no lock, no call to the
    /// bucket. No cryptography for a user without a password.
    pub(crate) fn authorize_from_memory(
        &self,
        entry: &IndexEntry,
        credentials: Credentials<'_>,
        wall: WallMs,
    ) -> AuthDecision {
        if entry.credential.is_open() {
            return if self.require_password { AuthDecision::Undecided } else { AuthDecision::Allowed };
        }
        let token = match credentials {
            Credentials::None => return AuthDecision::Denied(DenialReason::Missing),
            Credentials::Other => return AuthDecision::Denied(DenialReason::Malformed),
            Credentials::Basic(_) => return AuthDecision::Undecided,
            Credentials::Bearer(token) => token,
        };
        match (self.tokens.verify(token), entry.credential.fingerprint()) {
            (None, _) => AuthDecision::Denied(DenialReason::Forged),
            (Some(claims), _) if claims.user != entry.id => AuthDecision::Denied(DenialReason::OtherUser),
            (Some(claims), _) if claims.is_expired(wall) => AuthDecision::Denied(DenialReason::Expired),
            (Some(claims), Some(fingerprint)) if entry.is_current => {
                if claims.fingerprint == fingerprint {
                    AuthDecision::Allowed
                } else {
                    AuthDecision::Denied(DenialReason::Outdated)
                }
            }
            (Some(_), _) => AuthDecision::Undecided,
        }
    }

    /// Decides the requests that [`Self::authorize_from_memory`] leaves undecided.
    pub(crate) async fn authorize_from_storage(
        &self,
        name: &Username,
        entry: &IndexEntry,
        credentials: Credentials<'_>,
        caller: Caller<'_>,
    ) -> Result<(), AuthError> {
        let denied = |reason| AuthError::Unauthorized(name.clone(), reason);
        if entry.credential.is_open() {
            return Err(AuthError::PasswordRequired(name.clone()));
        }
        if let Credentials::Basic(pair) = credentials {
            let (username, password) = decode_basic(pair).ok_or_else(|| denied(DenialReason::Malformed))?;
            if username != name.as_str() {
                return Err(denied(DenialReason::OtherUser));
            }
            let verified = match password.check() {
                Ok(password) => self.verifier.verify(name, password, caller).await.map(drop),
                // A text that is not a valid password matches no password.
                Err(_) => self.verifier.count_wrong(name, caller).await,
            };
            return match verified {
                Err(AuthError::WrongPassword(_)) => Err(denied(DenialReason::WrongPassword)),
                verified => verified,
            };
        }
        let entry = self.current_entry(name, caller).await?;
        match self.authorize_from_memory(&entry, credentials, caller.wall) {
            AuthDecision::Allowed => Ok(()),
            AuthDecision::Denied(reason) => Err(denied(reason)),
            // The entry is current now. If the profile no longer has a password, no token is valid.
            AuthDecision::Undecided => Err(denied(DenialReason::Outdated)),
        }
    }

    /// Checks `credentials` for the user of `entry`.
    pub(crate) async fn authorize(
        &self,
        name: &Username,
        entry: &IndexEntry,
        credentials: Credentials<'_>,
        caller: Caller<'_>,
    ) -> Result<(), AuthError> {
        match self.authorize_from_memory(entry, credentials, caller.wall) {
            AuthDecision::Allowed => Ok(()),
            AuthDecision::Denied(reason) => Err(AuthError::Unauthorized(name.clone(), reason)),
            // Boxed, because this future is large and rarely needed.
            AuthDecision::Undecided => Box::pin(self.authorize_from_storage(name, entry, credentials, caller)).await,
        }
    }

    /// The user's index entry with the latest password fingerprint. Reads the bucket at most once
    /// per user and term, and never if a majority of the nodes sent their rows.
    async fn current_entry(&self, name: &Username, caller: Caller<'_>) -> Result<IndexEntry, LookupError> {
        if self.replicated && self.coverage.now().may_claim_complete() {
            let term = self.profiles.term();
            let may_list = |coverage: &TermCoverage| coverage.users_in(term).may_list_users();
            self.coverage.wait_for(term, MAX_WAIT_FOR_ROWS, may_list).await;
        }
        let _permit = self.profiles.read_permit(caller.claimant(), MAX_READ_WAIT).await?;
        // Another request may have read the profile while this one waited for the permit.
        let entry = self.profiles.indexed_entry(name)?;
        if entry.is_current {
            return Ok(entry);
        }
        let term = self.profiles.term();
        match self.profiles.read_profile(name).await? {
            StoredProfile::Valid(profile) => self.profiles.add_to_index(profile, term),
            StoredProfile::Corrupt => return Err(LookupError::Corrupt(name.clone())),
            StoredProfile::Missing => return Err(self.profiles.missing_error(name).into()),
        };
        // The entry was current when the profile was read. That is enough, even if a new term has
        // begun since then.
        Ok(IndexEntry { is_current: true, ..self.profiles.indexed_entry(name)? })
    }
}

/// Decodes the Base64 of HTTP Basic credentials into name and password.
fn decode_basic(pair: &str) -> Option<(String, Password)> {
    let text = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), Password::new(password.to_owned())))
}
