//! Digest of the key of an object. Pure.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// SHA-256 of an object's path. The file of the object has it as a property.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub(super) fn of(path: &str) -> Self {
        Self(Sha256::digest(path).into())
    }

    /// One of `count` numbers, at most 256, for a lock that few keys share.
    pub(super) fn lock_number(&self, count: usize) -> usize {
        usize::from(self.0[0]) % count
    }

    /// Reads what [`Self::hex`] wrote.
    pub(super) fn from_hex(hex: &str) -> Option<Self> {
        let byte = |n: usize| u8::from_str_radix(hex.get(2 * n..2 * n + 2)?, 16).ok();
        let mut bytes = [0; 32];
        for (n, place) in bytes.iter_mut().enumerate() {
            *place = byte(n)?;
        }
        (hex.len() == 64).then_some(Self(bytes))
    }

    /// As a property of a file has it.
    pub(super) fn hex(&self) -> String {
        self.0.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
            hex
        })
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_hex_digits_are_a_digest() {
        let hex = KeyDigest::of("x").hex();
        assert_eq!(KeyDigest::from_hex(&hex), Some(KeyDigest::of("x")));
        for wrong in ["", &hex[1..], &format!("{hex}0"), &hex.replacen(&hex[..1], "g", 1), &"é".repeat(32)] {
            assert_eq!(KeyDigest::from_hex(wrong), None, "{wrong}");
        }
    }
}
