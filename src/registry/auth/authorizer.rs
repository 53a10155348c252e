//! Who may act for a user: everybody for one without a password, and for one with a password who proves it or has a token.
//!
//! A token is judged by what is in memory, without a lock and without the bucket, as long as it is certain that the index
//! has the user's latest password: if this node read or wrote it in this term, or a majority told what it knows.

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
use crate::registry::users::profile_store::{ProfileStore, StoredProfile};
use crate::registry::users::user_index::IndexEntry;
use rollcall_core::{Password, Username, WallMs};

/// How long a token waits at a new leader for what the other nodes know, before the bucket is read for it.
const MAX_WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// What can be said of credentials without waiting.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum AuthDecision {
    Allowed,
    Denied(DenialReason),
    /// A password is to be compared, or the user's latest one is not known for certain.
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
    /// Authorizer to the users of `profiles`. `replicated`: there are other nodes, which may know a later password.
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

    /// Whether `credentials` are good for the user of `entry`, as far as it can be said without waiting. It costs nothing for
    /// a user without a password, and for one with a password no lock and no call to the bucket.
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

    /// Finds out what [`Self::authorize_from_memory`] could not say.
    pub(crate) async fn authorize_from_storage(
        &self,
        name: &Username,
        entry: &IndexEntry,
        credentials: Credentials<'_>,
        caller: Caller,
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
            // What may not be a password is nobody's.
            let password = password.check().map_err(|_| denied(DenialReason::WrongPassword))?;
            return match self.verifier.verify(name, password, caller).await {
                Ok(_) => Ok(()),
                Err(AuthError::WrongPassword(_)) => Err(denied(DenialReason::WrongPassword)),
                Err(error) => Err(error),
            };
        }
        let entry = self.current_entry(name).await?;
        match self.authorize_from_memory(&entry, credentials, caller.wall) {
            AuthDecision::Allowed => Ok(()),
            AuthDecision::Denied(reason) => Err(denied(reason)),
            // What was made certain is. If the bucket says now that there is no password, a token is nobody's.
            AuthDecision::Undecided => Err(denied(DenialReason::Outdated)),
        }
    }

    /// Whether `credentials` are good for the user of `entry`.
    pub(crate) async fn authorize(
        &self,
        name: &Username,
        entry: &IndexEntry,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Result<(), AuthError> {
        match self.authorize_from_memory(entry, credentials, caller.wall) {
            AuthDecision::Allowed => Ok(()),
            AuthDecision::Denied(reason) => Err(AuthError::Unauthorized(name.clone(), reason)),
            // In a box, for it is large, and most requests do not come here.
            AuthDecision::Undecided => Box::pin(self.authorize_from_storage(name, entry, credentials, caller)).await,
        }
    }

    /// The same, once it is certain that the password in it is the latest. Costs one read of the bucket in an term, and none
    /// if a majority of the nodes tells what it knows.
    async fn current_entry(&self, name: &Username) -> Result<IndexEntry, LookupError> {
        if self.replicated && self.coverage.now().may_claim_complete() {
            let term = self.profiles.term();
            let may_list = |coverage: &TermCoverage| coverage.users_in(term).may_list_users();
            self.coverage.wait_for(term, MAX_WAIT_FOR_OTHERS, may_list).await;
        }
        let _permit = self.profiles.read_permit().await;
        // While this one waited, another may have read it.
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
        // As certain as it was a moment ago, even if another term began since.
        Ok(IndexEntry { is_current: true, ..self.profiles.indexed_entry(name)? })
    }
}

/// The name and the password of a pair in base64.
fn decode_basic(pair: &str) -> Option<(String, Password)> {
    let text = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), Password::new(password.to_owned())))
}
