//! What proves to the registry that a request is its user's.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::api::Grant;
use crate::domain::{Password, Username};

/// A token as the registry gave it.
///
/// Invariant: no log shows it, since `Debug` does not and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The token that was granted.
    #[must_use]
    pub fn granted(grant: &Grant) -> Self {
        Self(grant.token.clone())
    }

    /// The token in clear, for sending it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a client can prove itself with.
#[derive(Default)]
pub(super) struct Proof {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    token: Option<Token>,
    login: Option<(Username, Password)>,
}

impl Proof {
    pub(super) fn token(&self) -> Option<Token> {
        self.lock().token.clone()
    }

    pub(super) fn set_token(&self, token: Token) {
        self.lock().token = Some(token);
    }

    /// Who can log in again, and with which password.
    pub(super) fn login(&self) -> Option<(Username, Password)> {
        self.lock().login.clone()
    }

    pub(super) fn set_login(&self, user: Username, password: Password) {
        self.lock().login = Some((user, password));
    }

    /// The lock is held for one operation, none of which can leave it half changed.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::granted(&Grant { token: "secret".into(), token_expires_at: String::new() });
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(token.reveal(), "secret");
    }
}
