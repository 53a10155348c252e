//! Credentials of a client: its current token, and optionally a username and password for a new
//! login.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rollcall_core::{Password, Token, Username};

/// Shared, changeable credentials of one client.
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

    /// User and password for an automatic login.
    pub(super) fn login_credentials(&self) -> Option<(Username, Password)> {
        self.lock().login.clone()
    }

    pub(super) fn set_login_credentials(&self, user: Username, password: Password) {
        self.lock().login = Some((user, password));
    }

    /// Takes the lock. A poisoned lock can still be used, because no operation leaves a partial
    /// change.
    fn lock(&self) -> MutexGuard<'_, StoredCredentials> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
