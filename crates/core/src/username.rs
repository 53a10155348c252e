//! Username: the name under which a user registers.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest username, in characters.
const MAX_USERNAME_CHARS: usize = 64;

/// Name of a user.
///
/// Invariant: 1 to 64 of the characters `A-Za-z0-9._-`, the first one a letter or a digit. It is
/// always one safe path segment.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "CompactString", into = "CompactString")]
pub struct Username(CompactString);

/// The text is not a valid username. The message contains the text and the rule.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "Invalid username {given:?}: a username has 1 to 64 of the characters A-Z a-z 0-9 . _ - and starts with a letter or digit"
)]
pub struct InvalidUsername {
    /// The given text, cut to 80 characters.
    pub given: String,
}

impl Username {
    /// Parses a username.
    ///
    /// # Errors
    /// [`InvalidUsername`] if the text breaks the invariant of the type.
    pub fn parse(text: &str) -> Result<Self, InvalidUsername> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let all_allowed = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if starts_well && all_allowed && text.len() <= MAX_USERNAME_CHARS {
            Ok(Self(CompactString::from(text)))
        } else {
            Err(InvalidUsername { given: text.chars().take(80).collect() })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Username {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Username {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<CompactString> for Username {
    type Error = InvalidUsername;

    fn try_from(text: CompactString) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Username> for CompactString {
    fn from(name: Username) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usernames_on_both_sides_of_each_rule_are_accepted_or_rejected() {
        for good in ["a", "7", "alice", "A.b_c-d", "0..", &"x".repeat(64)] {
            assert_eq!(Username::parse(good).expect("valid").as_str(), good);
        }
        for bad in ["", ".a", "-a", "_a", "a b", "a/b", "..", "ä", "a\n", "a\0", &"x".repeat(65)] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_error_repeats_only_the_start_of_a_huge_name() {
        let error = Username::parse(&"x".repeat(100_000)).expect_err("too long");
        assert!(error.to_string().len() < 400);
    }

    proptest! {
        #[test]
        fn a_valid_name_is_always_one_safe_path_segment(text in "\\PC{0,70}") {
            if let Ok(name) = Username::parse(&text) {
                let path = std::path::Path::new(name.as_str());
                let mut parts = path.components();
                prop_assert!(matches!(parts.next(), Some(std::path::Component::Normal(_))));
                prop_assert!(parts.next().is_none());
            }
        }
    }
}
