//! What must not be shown: a password, and what it was hashed to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A password as its owner gave it.
///
/// Invariant: no log shows it, since `Debug` does not and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

/// A password as it is stored: an Argon2id PHC string. Never leaves the registry.
///
/// Invariant: no log shows it, since `Debug` does not and there is no `Display`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl Password {
    /// Any text is a password.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
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
    fn neither_shows_what_it_holds_and_both_keep_it_in_json() {
        let (password, hash) = (Password::new("secret".into()), PasswordHash::new("$secret".into()));
        assert!(!format!("{password:?} {hash:?}").contains("secret"));
        assert_eq!(serde_json::to_string(&(&password, &hash)).unwrap(), r#"["secret","$secret"]"#);
    }
}
