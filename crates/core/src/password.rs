//! Secrets of a user that no log may contain: password, password hash, token.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest password accepted, in bytes. No user types more, and each byte costs time to hash.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Password in clear text.
///
/// Invariant: no log can contain it. `Debug` hides the text, and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

/// Bearer token of a user, valid until it expires.
///
/// Invariant: no log can contain it. `Debug` hides the text, and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

/// The text is not a valid password. The error does not repeat it, because it is secret.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("A password has 1 to {MAX_PASSWORD_BYTES} bytes; this one has {bytes}")]
pub struct InvalidPassword {
    /// Length of the given text, in bytes.
    pub bytes: usize,
}

/// Password hash as the bucket stores it: an Argon2id PHC string. It leaves a node only to the
/// bucket.
///
/// Invariant: no log can contain it. `Debug` hides the text, and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl Password {
    /// Wraps any text; [`Self::check`] decides whether it is valid.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the password if its length is valid.
    ///
    /// # Errors
    /// [`InvalidPassword`] if it is empty or has more than [`MAX_PASSWORD_BYTES`] bytes.
    pub fn check(self) -> Result<Self, InvalidPassword> {
        let bytes = self.0.len();
        if (1..=MAX_PASSWORD_BYTES).contains(&bytes) { Ok(self) } else { Err(InvalidPassword { bytes }) }
    }

    /// The clear text, to hash it or to send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PasswordHash {
    /// Wraps a PHC string.
    #[must_use]
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string, to compare a password with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Token {
    /// Wraps the text of a token.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The clear text, to send it.
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

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_a_secret_and_json_contains_it() {
        let (password, hash) = (Password::new("secret".into()), PasswordHash::new("$secret".into()));
        let token = Token::new("rc1.secret".into());
        assert!(!format!("{password:?} {hash:?} {token:?}").contains("secret"));
        let json = serde_json::to_string(&(&password, &hash, &token)).unwrap();
        assert_eq!(json, r#"["secret","$secret","rc1.secret"]"#);
    }

    #[test]
    fn a_password_of_1_to_1024_bytes_is_valid() {
        let of = |bytes: usize| Password::new("x".repeat(bytes)).check();
        assert!(of(1).is_ok() && of(1024).is_ok());
        assert_eq!(of(0).unwrap_err(), InvalidPassword { bytes: 0 });
        assert_eq!(of(1025).unwrap_err(), InvalidPassword { bytes: 1025 });
    }
}
