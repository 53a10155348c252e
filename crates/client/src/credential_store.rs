//! What proves to the registry that a request is its user's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rollcall_core::{Password, Token, Username};

/// What a client can prove itself with.
#[derive(Default)]
pub(super) struct CredentialStore {
    credentials: Mutex<StoredCredentials>,
}

#[derive(Default)]
struct StoredCredentials {
    token: Option<Token>,
    login: Option<(Username, Password)>,
}

impl CredentialStore {
    pub(super) fn token(&self) -> Option<Token> {
        self.lock().token.clone()
    }

    pub(super) fn set_token(&self, token: Token) {
        self.lock().token = Some(token);
    }

    /// Who can log in again, and with which password.
    pub(super) fn login_credentials(&self) -> Option<(Username, Password)> {
        self.lock().login.clone()
    }

    pub(super) fn set_login_credentials(&self, user: Username, password: Password) {
        self.lock().login = Some((user, password));
    }

    /// The lock is held for one operation, none of which can leave it half changed.
    fn lock(&self) -> MutexGuard<'_, StoredCredentials> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
