//! Who a peer of the mesh is.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The id of a peer: drawn once and kept with its history.
///
/// On the wire and in files it is 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerId(pub u128);

/// The text is no id.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("a peer's id is 32 hex digits")]
pub struct InvalidPeerId;

/// Hex digits of an id.
pub const PEER_ID_DIGITS: usize = 32;
/// As many digits tell peers apart well enough for people.
const SHORT_DIGITS: usize = 8;

impl PeerId {
    /// Reads 32 hex digits.
    ///
    /// # Errors
    /// [`InvalidPeerId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidPeerId> {
        let well_formed = text.len() == PEER_ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !well_formed {
            return Err(InvalidPeerId);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| InvalidPeerId)
    }

    /// The first digits, for people.
    #[must_use]
    pub fn short(self) -> String {
        let mut digits = self.to_string();
        digits.truncate(SHORT_DIGITS);
        digits
    }
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl TryFrom<String> for PeerId {
    type Error = InvalidPeerId;

    fn try_from(text: String) -> Result<Self, InvalidPeerId> {
        Self::parse(&text)
    }
}

impl From<PeerId> for String {
    fn from(id: PeerId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_exactly_32_hex_digits() {
        let text = "00000000000000000000000000000abc";
        assert_eq!(PeerId::parse(text).unwrap(), PeerId(0xabc));
        assert_eq!(PeerId(0xabc).to_string(), text);
        assert_eq!(PeerId(0xabc << 100).short(), "0000abc0");
        let bad = ["", "abc", "0000000000000000000000000000000g", "000000000000000000000000000000000"];
        for bad in bad.into_iter().chain(["+000000000000000000000000000000a"]) {
            assert_eq!(PeerId::parse(bad), Err(InvalidPeerId), "{bad:?}");
        }
    }
}
