//! Authentication and authorization: passwords, tokens, and the cached password fingerprints.

pub(super) mod authorizer;
pub(super) mod credential_state;
pub(super) mod credentials;
mod hashing_pool;
pub(super) mod login;
mod login_throttle;
pub(super) mod password_verifier;
pub(super) mod token_key;
pub(super) mod token_signer;
mod wrong_password_log;
