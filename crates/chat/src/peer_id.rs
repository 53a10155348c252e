//! Identifier of a mesh peer.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// Random 128-bit id of a peer, stored in its data directory.
///
/// On the wire and in files it is written as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId(pub u128);

/// Error: the text is not 32 hex digits.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("a peer id has exactly 32 hex digits")]
pub struct InvalidPeerId;

/// Number of hex digits of an id.
pub const PEER_ID_DIGITS: usize = 32;
/// Number of hex digits that [`hex_word`] writes at once. The short form of an id has as many.
const WORD_DIGITS: usize = 8;
/// The value 1 in each byte.
const ONE_PER_BYTE: u64 = u64::from_ne_bytes([1; WORD_DIGITS]);

impl PeerId {
    /// Parses 32 hex digits.
    ///
    /// # Errors
    /// [`InvalidPeerId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidPeerId> {
        Self::parse_digits(text.as_bytes())
    }

    /// Parses 32 hex digits from bytes that need not be UTF-8.
    pub(super) fn parse_digits(digits: &[u8]) -> Result<Self, InvalidPeerId> {
        if digits.len() != PEER_ID_DIGITS {
            return Err(InvalidPeerId);
        }
        // Two 64-bit halves are parsed faster than one 128-bit number.
        let (high, low) = digits.split_at(PEER_ID_DIGITS / 2);
        Ok(Self(u128::from(parse_half(high)?) << 64 | u128::from(parse_half(low)?)))
    }

    /// The 32 hex digits.
    pub(super) fn digits(self) -> [u8; PEER_ID_DIGITS] {
        let mut digits = [0; PEER_ID_DIGITS];
        for (word, bytes) in digits.as_chunks_mut().0.iter_mut().zip(self.0.to_be_bytes().as_chunks().0) {
            *word = hex_word(u32::from_be_bytes(*bytes));
        }
        digits
    }

    /// The first 8 hex digits. Enough for users to tell peers apart.
    #[must_use]
    pub fn short(self) -> String {
        let [a, b, c, d, ..] = self.0.to_be_bytes();
        as_text(&hex_word(u32::from_be_bytes([a, b, c, d]))).to_owned()
    }
}

fn parse_half(digits: &[u8]) -> Result<u64, InvalidPeerId> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(InvalidPeerId)?;
        Ok(value << 4 | u64::from(digit))
    })
}

/// Writes eight hex digits without a loop: each nibble of `word` is moved to a byte of its own.
fn hex_word(word: u32) -> [u8; WORD_DIGITS] {
    let mut nibbles = u64::from(word);
    nibbles = (nibbles << 16 | nibbles) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles << 8 | nibbles) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles << 4 | nibbles) & 0x0f0f_0f0f_0f0f_0f0f;
    // Has the value 1 in each byte whose nibble is above 9 and becomes a letter.
    let letters = (nibbles + ONE_PER_BYTE * 6) >> 4 & ONE_PER_BYTE;
    (nibbles + ONE_PER_BYTE * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

fn as_text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).expect("hex digits are ASCII")
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(as_text(&self.digits()))
    }
}

// Serialisation and parsing allocate no string, because every mesh message contains an id.
impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(as_text(&self.digits()))
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PeerIdVisitor)
    }
}

struct PeerIdVisitor;

impl Visitor<'_> for PeerIdVisitor {
    type Value = PeerId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 hex digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PeerId, E> {
        PeerId::parse(text).map_err(E::custom)
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
        let mixed = PeerId::parse("0123456789abcdefFEDCBA9876543210").unwrap();
        assert_eq!(mixed.to_string(), "0123456789abcdeffedcba9876543210");
        assert_eq!(serde_json::to_string(&mixed).unwrap(), format!("\"{mixed}\""));
        assert_eq!(serde_json::from_str::<PeerId>(&format!("\"{mixed}\"")).unwrap(), mixed);
        assert!(serde_json::from_str::<PeerId>("\"0\"").is_err() && serde_json::from_str::<PeerId>("7").is_err());
        assert_eq!(PeerId(0xabc << 100).short(), "0000abc0");
        let bad = ["", "abc", "0000000000000000000000000000000g", "000000000000000000000000000000000"];
        for bad in bad.into_iter().chain(["+000000000000000000000000000000a"]) {
            assert_eq!(PeerId::parse(bad), Err(InvalidPeerId), "{bad:?}");
        }
    }
}
