//! Who may act for a user: everybody for one without a password, and for one with a password who proves it or has a token.
//!
//! A token is judged by what is in memory, without a lock and without the bucket, as long as it is certain that the index
//! has the user's latest password: if this node read or wrote it in this epoch, or a majority told what it knows.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::credentials::{Caller, Credentials, Denied};
use super::proof::PasswordProof;
use super::token::Tokens;
use crate::registry::coverage::TermCoverage;
use crate::registry::coverage_watch::CoverageWatch;
use crate::registry::error::{AuthError, LookupError};
use crate::registry::users::index::Entry;
use crate::registry::users::profiles::{Profiles, Stored};
use rollcall_core::{Password, Username, WallMs};

/// How long a token waits at a new leader for what the other nodes know, before the bucket is read for it.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// What can be said of credentials without waiting.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Granted,
    Denied(Denied),
    /// A password is to be compared, or the user's latest one is not known for certain.
    Unclear,
}

/// Decides whether a request may act for a user.
pub(crate) struct Access {
    profiles: Arc<Profiles>,
    proof: Arc<PasswordProof>,
    tokens: Arc<Tokens>,
    coverage: Arc<CoverageWatch>,
    require_password: bool,
    replicated: bool,
}

impl Access {
    /// Access to the users of `profiles`. `replicated`: there are other nodes, which may know a later password.
    pub(crate) fn new(
        profiles: Arc<Profiles>,
        proof: Arc<PasswordProof>,
        tokens: Arc<Tokens>,
        coverage: Arc<CoverageWatch>,
        require_password: bool,
        replicated: bool,
    ) -> Self {
        Self { profiles, proof, tokens, coverage, require_password, replicated }
    }

    /// Whether `credentials` are good for the user of `entry`, as far as it can be said without waiting. It costs nothing for
    /// a user without a password, and for one with a password no lock and no call to the bucket.
    pub(crate) fn judge(&self, entry: &Entry, credentials: Credentials<'_>, wall: WallMs) -> Verdict {
        if entry.guard.is_open() {
            return if self.require_password { Verdict::Unclear } else { Verdict::Granted };
        }
        let token = match credentials {
            Credentials::None => return Verdict::Denied(Denied::Missing),
            Credentials::Other => return Verdict::Denied(Denied::Malformed),
            Credentials::Basic(_) => return Verdict::Unclear,
            Credentials::Bearer(token) => token,
        };
        match (self.tokens.read(token), entry.guard.mark()) {
            (None, _) => Verdict::Denied(Denied::Forged),
            (Some(claims), _) if claims.user != entry.id => Verdict::Denied(Denied::OtherUser),
            (Some(claims), _) if claims.is_expired(wall) => Verdict::Denied(Denied::Expired),
            (Some(claims), Some(mark)) if entry.is_certain => {
                if claims.mark == mark {
                    Verdict::Granted
                } else {
                    Verdict::Denied(Denied::Outdated)
                }
            }
            (Some(_), _) => Verdict::Unclear,
        }
    }

    /// Finds out what [`Self::judge`] could not say.
    pub(crate) async fn look_closer(
        &self,
        name: &Username,
        entry: &Entry,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Result<(), AuthError> {
        let denied = |why| AuthError::Unauthorized(name.clone(), why);
        if entry.guard.is_open() {
            return Err(AuthError::PasswordRequired(name.clone()));
        }
        if let Credentials::Basic(pair) = credentials {
            let (username, password) = read_pair(pair).ok_or_else(|| denied(Denied::Malformed))?;
            if username != name.as_str() {
                return Err(denied(Denied::OtherUser));
            }
            // What may not be a password is nobody's.
            let password = password.check().map_err(|_| denied(Denied::WrongPassword))?;
            return match self.proof.prove(name, password, caller).await {
                Ok(_) => Ok(()),
                Err(AuthError::WrongPassword(_)) => Err(denied(Denied::WrongPassword)),
                Err(error) => Err(error),
            };
        }
        let entry = self.certain_entry(name).await?;
        match self.judge(&entry, credentials, caller.wall) {
            Verdict::Granted => Ok(()),
            Verdict::Denied(why) => Err(denied(why)),
            // What was made certain is. If the bucket says now that there is no password, a token is nobody's.
            Verdict::Unclear => Err(denied(Denied::Outdated)),
        }
    }

    /// Whether `credentials` are good for the user of `entry`.
    pub(crate) async fn authorize(
        &self,
        name: &Username,
        entry: &Entry,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Result<(), AuthError> {
        match self.judge(entry, credentials, caller.wall) {
            Verdict::Granted => Ok(()),
            Verdict::Denied(why) => Err(AuthError::Unauthorized(name.clone(), why)),
            // In a box, for it is large, and most requests do not come here.
            Verdict::Unclear => Box::pin(self.look_closer(name, entry, credentials, caller)).await,
        }
    }

    /// The same, once it is certain that the password in it is the latest. Costs one read of the bucket in an epoch, and none
    /// if a majority of the nodes tells what it knows.
    async fn certain_entry(&self, name: &Username) -> Result<Entry, LookupError> {
        if self.replicated && self.coverage.now().may_claim_complete() {
            let epoch = self.profiles.term();
            let may_list = |coverage: &TermCoverage| coverage.users_in(epoch).may_list_users();
            self.coverage.wait_for(epoch, WAIT_FOR_OTHERS, may_list).await;
        }
        let _one_of_few = self.profiles.permit().await;
        // While this one waited, another may have read it.
        let entry = self.profiles.known_entry(name)?;
        if entry.is_certain {
            return Ok(entry);
        }
        let epoch = self.profiles.term();
        match self.profiles.read_profile(name).await? {
            Stored::Profile(profile) => self.profiles.note(profile, epoch),
            Stored::Corrupt => return Err(LookupError::Corrupt(name.clone())),
            Stored::Nothing => return Err(self.profiles.vanished(name).into()),
        };
        // As certain as it was a moment ago, even if another epoch began since.
        Ok(Entry { is_certain: true, ..self.profiles.known_entry(name)? })
    }
}

/// The name and the password of a pair in base64.
fn read_pair(pair: &str) -> Option<(String, Password)> {
    let text = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), Password::new(password.to_owned())))
}
