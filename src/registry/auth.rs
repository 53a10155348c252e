//! Who may act for a user: passwords, tokens, and what a node remembers of them.

pub(super) mod access;
pub(super) mod credential_state;
pub(super) mod credentials;
pub(super) mod login;
mod login_throttle;
mod password;
pub(super) mod proof;
pub(super) mod token;
pub(super) mod token_key;
