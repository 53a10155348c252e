//! Cluster key: the shared secret by which nodes authenticate each other.

use std::fmt;

use thiserror::Error;

/// Shortest cluster key accepted, in characters. `openssl rand -hex 16` prints 32.
pub const MIN_KEY_CHARS: usize = 16;

/// Shared secret of the nodes of one cluster.
///
/// Invariant: at least [`MIN_KEY_CHARS`] characters, without white space at either end. No log can
/// contain it: `Debug` hides the text, and there is no `Display`.
#[derive(Clone, Eq, PartialEq)]
pub struct ClusterKey(Box<str>);

/// The text is not a valid cluster key. The error does not repeat the text, because it is secret.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("a cluster key has at least {MIN_KEY_CHARS} characters")]
pub struct InvalidClusterKey;

impl ClusterKey {
    /// The secret bytes of the key, as the key of a MAC.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::str::FromStr for ClusterKey {
    type Err = InvalidClusterKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An editor adds a line feed at the end of a file, and some a byte order mark at its start.
        // The same key in an environment variable has none.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
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
    fn a_cluster_key_has_at_least_sixteen_characters() {
        assert!("0123456789abcde".parse::<ClusterKey>().is_err());
        assert!("             short              ".parse::<ClusterKey>().is_err());
        for file in ["0123456789abcdef\n", "\u{feff}0123456789abcdef\r\n"] {
            assert_eq!(file.parse::<ClusterKey>().expect("long enough").reveal(), b"0123456789abcdef");
        }
    }

    #[test]
    fn debug_output_does_not_contain_the_key() {
        let key: ClusterKey = "a secret of the cluster".parse().expect("long enough");
        assert!(!format!("{key:?}").contains("secret"));
    }
}
