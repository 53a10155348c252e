//! Who may act for a user: everybody for one without a password, and for one with a password who proves it or has a token.
//!
//! A token is judged by what is in memory, without a lock and without the bucket, as long as it is certain that the index
//! has the user's latest password: if this node read or wrote it in this epoch, or a majority told what it knows.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use tokio::time::timeout;

use super::index::Entry;
use super::lookup::Stored;
use super::{AuthError, LookupError, Registry, Unavailable, lock};
use crate::storage::Key;
use rollcall_core::{BootMs, Password, Username, WallMs};

/// How long a token waits at a new leader for what the other nodes know, before the bucket is read for it.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// What a request brings along to show for whom it may act.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// Nothing.
    None,
    /// A token.
    Bearer(&'a str),
    /// A username and a password, with a colon between them, in base64.
    Basic(&'a str),
    /// Something of another kind.
    Other,
}

/// From where a request came, and when.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address that it came from.
    pub from: IpAddr,
    /// When, on this machine's clock.
    pub now: BootMs,
    /// When, in the civil calendar.
    pub wall: WallMs,
}

/// Why credentials are not good. Display says what to do.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Denied {
    /// There are none.
    #[error("send the token of a login as \"Authorization: Bearer TOKEN\"; POST /login gives one for the password")]
    Missing,
    /// They are no bearer's token and no name with a password.
    #[error("the Authorization header is neither \"Bearer TOKEN\" nor \"Basic\" with username:password in base64")]
    Malformed,
    /// The token was not made here, or not for this, or was changed.
    #[error("the token is not one of this cluster's; log in again with POST /login")]
    Forged,
    /// They are somebody else's.
    #[error("the credentials are another user's; log in as this one with POST /login")]
    OtherUser,
    /// The token's time is over.
    #[error("the token has expired; log in again with POST /login")]
    Expired,
    /// The password was changed since the token was given.
    #[error("the token was given before the password was changed; log in again with POST /login")]
    Outdated,
    /// The password is not the user's.
    #[error("the password is wrong")]
    WrongPassword,
}

/// What can be said of credentials without waiting.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Granted,
    Denied(Denied),
    /// A password is to be compared, or the user's latest one is not known for certain.
    Unclear,
}

impl Registry {
    /// Whether `credentials` are good for the user of `entry`, as far as it can be said without waiting. It costs nothing for
    /// a user without a password, and for one with a password no lock and no call to the bucket.
    pub(super) fn judge(&self, entry: &Entry, credentials: Credentials<'_>, wall: WallMs) -> Verdict {
        if entry.guard.is_open() {
            return if self.0.settings.require_password { Verdict::Unclear } else { Verdict::Granted };
        }
        let token = match credentials {
            Credentials::None => return Verdict::Denied(Denied::Missing),
            Credentials::Other => return Verdict::Denied(Denied::Malformed),
            Credentials::Basic(_) => return Verdict::Unclear,
            Credentials::Bearer(token) => token,
        };
        match (self.0.tokens.read(token), entry.guard.mark()) {
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
    pub(super) async fn look_closer(
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
            return match self.prove(name, password, caller).await {
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
    pub(super) async fn authorize(
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

    /// What the index knows of a registered user.
    pub(super) async fn entry(&self, name: &Username, now: BootMs) -> Result<Entry, LookupError> {
        if let Some(entry) = lock(&self.0.index).entry(name) {
            return Ok(entry);
        }
        self.look_up(name, now).await?;
        self.known_entry(name)
    }

    /// The same, once it is certain that the password in it is the latest. Costs one read of the bucket in an epoch, and none
    /// if a majority of the nodes tells what it knows.
    async fn certain_entry(&self, name: &Username) -> Result<Entry, LookupError> {
        if self.0.settings.replicated && self.is_complete() {
            let epoch = lock(&self.0.index).epoch();
            let mut whole = self.0.whole.subscribe();
            let _ = timeout(WAIT_FOR_OTHERS, whole.wait_for(|whole| *whole == Some(epoch))).await;
        }
        let _one_of_few = self.0.lookups.acquire().await.expect("the semaphore is never closed");
        // While this one waited, another may have read it.
        let entry = self.known_entry(name)?;
        if entry.is_certain {
            return Ok(entry);
        }
        let epoch = lock(&self.0.index).epoch();
        match self.read_profile(name).await? {
            Stored::Profile(profile) => self.note(profile, epoch),
            Stored::Corrupt => return Err(LookupError::Corrupt(name.clone())),
            Stored::Nothing => {
                return Err(Unavailable::from(self.0.bucket.vanished(&Key::Profile(name.clone()))).into());
            }
        };
        // As certain as it was a moment ago, even if another epoch began since.
        Ok(Entry { is_certain: true, ..self.known_entry(name)? })
    }

    fn known_entry(&self, name: &Username) -> Result<Entry, LookupError> {
        // Rows only grow, so the other case does not happen.
        lock(&self.0.index).entry(name).ok_or_else(|| LookupError::NotRegistered(name.clone()))
    }
}

/// The name and the password of a pair in base64.
fn read_pair(pair: &str) -> Option<(String, Password)> {
    let text = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), Password::new(password.to_owned())))
}
