//! Seal of a secret in the bucket: encryption with a key that is derived from the cluster key.
//! Pure.
//!
//! A sealed secret is the JSON object `{"sealed":"…"}`. The text is base64url without padding of a
//! version byte, a salt, and the encrypted bytes with their tag. The tag also covers the place of
//! the secret: the id of the cluster and the path in its bucket.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use rollcall_core::ClusterKey;

/// Version of sealed bytes: Argon2id with the parameters below, then ChaCha20-Poly1305.
const VERSION: u8 = 1;

/// Length of a salt, in bytes.
pub(super) const SALT_BYTES: usize = 16;

/// Memory of Argon2id, in KiB; its passes and lanes. The second recommendation of OWASP. They make
/// it slow to guess a weak key.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Length of the derived key, in bytes.
const KEY_BYTES: usize = 32;

/// Place of a secret. A sealed secret is not valid in another one.
pub(super) struct SecretPlace {
    /// The cluster to which the bucket belongs.
    pub(super) cluster: Uuid,
    /// The path in the bucket.
    pub(super) path: String,
}

/// A sealed secret, as it stands in the bucket.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed {
    sealed: String,
}

impl Sealed {
    /// Seals a secret for its place. `salt` must be random: each salt gives another key,
    /// so no key encrypts twice.
    pub(super) fn new(plain: &[u8], place: &SecretPlace, key: &ClusterKey, salt: [u8; SALT_BYTES]) -> Self {
        let mut encrypted = plain.to_vec();
        derived_key(key, &salt)
            .seal_in_place_append_tag(nonce(), Aad::from(associated_data(place)), &mut encrypted)
            .expect("a secret is shorter than the limit of the cipher");
        let bytes = [&[VERSION], &salt[..], &encrypted].concat();
        Self { sealed: URL_SAFE_NO_PAD.encode(bytes) }
    }

    /// The sealed secret in these bytes. `None` if they are not sealed.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The bytes for the bucket.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct with one text is JSON")
    }

    /// The secret. `None` if the key or the place is another one, or the bytes were changed.
    pub(super) fn open(&self, place: &SecretPlace, key: &ClusterKey) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.sealed).ok()?;
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (salt, encrypted) = rest.split_first_chunk::<SALT_BYTES>()?;
        let mut encrypted = encrypted.to_vec();
        let associated_data = Aad::from(associated_data(place));
        let plain = derived_key(key, salt).open_in_place(nonce(), associated_data, &mut encrypted).ok()?;
        Some(plain.to_vec())
    }
}

/// Whether these bytes of the bucket are a sealed secret.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    Sealed::parse(bytes).is_some()
}

/// The version and the place. The id has a fixed length, so the parts cannot be confused.
fn associated_data(place: &SecretPlace) -> Vec<u8> {
    [&[VERSION], &place.cluster.as_bytes()[..], place.path.as_bytes()].concat()
}

/// The nonce is constant, because each key encrypts once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn derived_key(key: &ClusterKey, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(KEY_BYTES)).expect("valid parameters");
    let mut derived = [0; KEY_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(key.reveal(), salt, &mut derived)
        .expect("the lengths are valid");
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &derived).expect("the key has the length of the cipher"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ClusterKey {
        text.parse().expect("long enough")
    }

    fn place(cluster: u128, path: &str) -> SecretPlace {
        SecretPlace { cluster: Uuid::from_u128(cluster), path: path.to_owned() }
    }

    fn tokens() -> SecretPlace {
        place(1, "secrets/tokens.json")
    }

    #[test]
    fn a_sealed_secret_has_its_golden_bytes() {
        assert_eq!(VERSION, 1, "a new version needs new golden bytes");
        let golden = r#"{"sealed":"AQcHBwcHBwcHBwcHBwcHBwdJHiSYs7FSvDTt--WK6ToRShDOK37wcyM"}"#;
        let sealed = Sealed::new(b"a secret", &tokens(), &key("the key of the cluster"), [7; SALT_BYTES]);
        assert_eq!(String::from_utf8(sealed.to_bytes()).unwrap(), golden);
        let sealed = Sealed::parse(golden.as_bytes()).unwrap();
        assert_eq!(sealed.open(&tokens(), &key("the key of the cluster")).unwrap(), b"a secret");
    }

    #[test]
    fn a_secret_opens_only_with_its_key_in_its_place_and_unchanged() {
        let right = key("the key of the cluster");
        let sealed = Sealed::new(b"a secret", &tokens(), &right, [7; SALT_BYTES]);
        assert_eq!(sealed.open(&tokens(), &key("the key of the clusteR")), None);
        assert_eq!(sealed.open(&place(1, "secrets/node-key-1.json"), &right), None);
        assert_eq!(sealed.open(&place(2, "secrets/tokens.json"), &right), None);
        let bytes = URL_SAFE_NO_PAD.decode(&sealed.sealed).unwrap();
        for index in [0, 1, SALT_BYTES + 1, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let changed = Sealed { sealed: URL_SAFE_NO_PAD.encode(changed) };
            assert_eq!(changed.open(&tokens(), &right), None, "byte {index}");
        }
        for short in ["", "AQ", "!"] {
            assert_eq!(Sealed { sealed: short.to_owned() }.open(&tokens(), &right), None);
        }
    }

    #[test]
    fn other_files_are_not_sealed() {
        for text in ["", "{}", r#"{"token_key":"x"}"#] {
            assert!(Sealed::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
