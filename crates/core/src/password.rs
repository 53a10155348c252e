//! What must not be shown: a password, what it was hashed to, and a token.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest password that is taken, in bytes: no person types more, and each byte of it is hashed.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// A password as its owner gave it.
///
/// Invariant: no log shows it, since `Debug` does not and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

/// A token by which its bearer counts as a user until it expires.
///
/// Invariant: no log shows it, since `Debug` does not and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

/// The text is no password; does not say what it was.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("A password has 1 to {MAX_PASSWORD_BYTES} bytes; this one has {bytes}")]
pub struct InvalidPassword {
    /// How many it has.
    pub bytes: usize,
}

/// A password as it is stored: an Argon2id PHC string. Never leaves the registry.
///
/// Invariant: no log shows it, since `Debug` does not and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl Password {
    /// Any text, whether or not [`Self::check`] would take it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The same, if it may be one.
    ///
    /// # Errors
    /// [`InvalidPassword`] if it is empty or has more than [`MAX_PASSWORD_BYTES`] bytes.
    pub fn check(self) -> Result<Self, InvalidPassword> {
        let bytes = self.0.len();
        if (1..=MAX_PASSWORD_BYTES).contains(&bytes) { Ok(self) } else { Err(InvalidPassword { bytes }) }
    }

    /// The password in clear, for hashing and comparing it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PasswordHash {
    /// A PHC string.
    #[must_use]
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string, for comparing a password with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Token {
    /// The text of a token.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
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
    fn none_shows_what_it_holds_and_all_keep_it_in_json() {
        let (password, hash) = (Password::new("secret".into()), PasswordHash::new("$secret".into()));
        let token = Token::new("rc1.secret".into());
        assert!(!format!("{password:?} {hash:?} {token:?}").contains("secret"));
        let json = serde_json::to_string(&(&password, &hash, &token)).unwrap();
        assert_eq!(json, r#"["secret","$secret","rc1.secret"]"#);
    }

    #[test]
    fn a_password_has_one_to_1024_bytes() {
        let of = |bytes: usize| Password::new("x".repeat(bytes)).check();
        assert!(of(1).is_ok() && of(1024).is_ok());
        assert_eq!(of(0).unwrap_err(), InvalidPassword { bytes: 0 });
        assert_eq!(of(1025).unwrap_err(), InvalidPassword { bytes: 1025 });
    }
}
