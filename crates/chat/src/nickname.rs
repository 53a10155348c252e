//! Name of a user in the chat.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Name that other users see. Names are not unique and not authenticated.
///
/// Invariant: 1 to 32 characters, none of them a control or format character, white space or `@`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nickname(CompactString);

/// Error: the text is not a valid name.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{given:?} is not a valid name: a name has 1 to 32 characters, without spaces, @ and invisible characters")]
pub struct InvalidNickname {
    /// The text, cut to 80 characters so that an error message stays short.
    pub given: String,
}

/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 32;

impl Nickname {
    /// Checks `text` against the invariant.
    ///
    /// # Errors
    /// [`InvalidNickname`] if the text breaks the invariant.
    pub fn parse(text: &str) -> Result<Self, InvalidNickname> {
        let length = text.chars().take(MAX_NAME_CHARS + 1).count();
        let is_plain = |c: char| !c.is_whitespace() && c != '@' && !super::text::is_hidden(c);
        if (1..=MAX_NAME_CHARS).contains(&length) && text.chars().all(is_plain) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidNickname { given: text.chars().take(80).collect() })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Nickname {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Nickname {
    type Error = InvalidNickname;

    fn try_from(text: String) -> Result<Self, InvalidNickname> {
        Self::parse(&text)
    }
}

impl From<Nickname> for String {
    fn from(name: Nickname) -> Self {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_name_is_short_and_fully_visible() {
        for good in ["a", "alice", "Jürgen", "李小龙", "o'neil-2"] {
            assert_eq!(Nickname::parse(good).unwrap().as_str(), good);
        }
        let (longest, too_long) = ("x".repeat(32), "x".repeat(33));
        assert!(Nickname::parse(&longest).is_ok());
        for bad in ["", " ", "a b", "a@b", "a\nb", "\u{1b}[2J", "a\u{202e}b", "\u{200b}", &too_long] {
            assert!(Nickname::parse(bad).is_err(), "{bad:?}");
        }
    }
}
