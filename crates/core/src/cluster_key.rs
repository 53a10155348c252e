//! The secret that the nodes of a cluster share.

use std::fmt;

use thiserror::Error;

/// The shortest key, in characters: what a person types at random, or half of what `openssl rand -hex 16` prints.
pub const MIN_KEY_CHARS: usize = 16;

/// The secret by which the nodes of one cluster know each other.
///
/// Invariant: at least [`MIN_KEY_CHARS`] characters, without white space at either end. It is never shown: `Debug` hides
/// it, and there is no `Display`.
#[derive(Clone, Eq, PartialEq)]
pub struct ClusterKey(Box<str>);

/// The text is no key; does not say what it was.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("a cluster key has at least {MIN_KEY_CHARS} characters")]
pub struct InvalidClusterKey;

impl ClusterKey {
    /// The key's bytes, for the one who computes with it.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::str::FromStr for ClusterKey {
    type Err = InvalidClusterKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A file ends with a line feed that an editor put there, and a variable would not have it.
        let text = text.trim();
        if text.chars().count() < MIN_KEY_CHARS { Err(InvalidClusterKey) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_sixteen_characters_or_more() {
        assert!("0123456789abcde".parse::<ClusterKey>().is_err());
        assert!("             short              ".parse::<ClusterKey>().is_err());
        assert_eq!("0123456789abcdef\n".parse::<ClusterKey>().expect("long enough").reveal(), b"0123456789abcdef");
    }

    #[test]
    fn a_key_is_never_shown() {
        let key: ClusterKey = "a secret of the cluster".parse().expect("long enough");
        assert!(!format!("{key:?}").contains("secret"));
    }
}
