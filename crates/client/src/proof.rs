//! What proves to the registry that a request is its user's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rollcall_core::{Password, Token, Username};

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
