//! The signing key of tokens. The first node that uses a bucket creates it; all nodes share it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::registry::random;
use crate::storage::{Key, SecretError, SecretStore};

/// Key that signs and verifies tokens. Anyone with this key can act for any user.
///
/// Invariant: it is never printed. `Debug` hides it and there is no `Display`.
#[derive(Clone)]
pub struct TokenKey([u8; Self::BYTES]);

/// The key object in the bucket.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    /// Base64url without padding.
    token_key: String,
}

/// The key could not be loaded. `Display` says how to repair it, and never shows the bytes that
/// were read.
#[derive(Debug, Error)]
pub enum TokenKeyError {
    /// The bucket did not reply, or the key is sealed with another cluster key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The object is not a valid key.
    #[error(
        "{} in the {store} is damaged; put it back, or delete that file and restart all nodes: then all users have to log in again",
        Key::TokenKey
    )]
    Damaged {
        /// The store that has the object.
        store: String,
    },
}

impl TokenKey {
    /// Version of the key file in the bucket. The bytes of version 1 do not carry it. Readers
    /// ignore unknown fields, so a later version may add some. A version that must not be read as
    /// version 1 needs another object name.
    pub const FILE_VERSION: u32 = 1;

    /// Length of the key in bytes; the same as the length of the MAC.
    pub const BYTES: usize = 32;

    /// A key of unpredictable bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The key itself, for computing a MAC.
    pub(crate) fn reveal(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Loads the key of a cluster, or creates it if there is none. If several nodes create one at
    /// the same time, all use the first.
    ///
    /// # Errors
    /// [`TokenKeyError`] if the bucket does not reply, or has a key that cannot be opened or is
    /// invalid.
    pub async fn load_or_create(secrets: &SecretStore) -> Result<Self, TokenKeyError> {
        let stored = secrets.load_or_create(&Key::TokenKey, || Self::new(random::secret_key()).to_file()).await?;
        Self::from_file(&stored).ok_or_else(|| TokenKeyError::Damaged { store: secrets.bucket().describe() })
    }

    fn to_file(&self) -> Vec<u8> {
        let file = KeyFile { token_key: URL_SAFE_NO_PAD.encode(self.reveal()) };
        serde_json::to_vec(&file).expect("a struct with one text is JSON")
    }

    fn from_file(bytes: &[u8]) -> Option<Self> {
        let file: KeyFile = serde_json::from_slice(bytes).ok()?;
        let key = URL_SAFE_NO_PAD.decode(file.token_key).ok()?;
        Some(Self::new(key.try_into().ok()?))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;

    use super::*;
    use crate::storage::{Backend, Bucket, Fault, MemoryBackend, RetryPolicy};

    fn secrets(memory: &MemoryBackend) -> SecretStore {
        let policy = RetryPolicy::one_attempt(std::time::Duration::from_secs(20));
        SecretStore::new(Bucket::new(Arc::new(memory.clone()), policy), uuid::Uuid::nil(), None)
    }

    #[test]
    fn a_key_has_its_golden_bytes() {
        assert_eq!(TokenKey::FILE_VERSION, 1, "a new version needs new golden bytes");
        let golden = r#"{"token_key":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}"#;
        assert_eq!(String::from_utf8(TokenKey::new([7; 32]).to_file()).unwrap(), golden);
        assert_eq!(*TokenKey::from_file(golden.as_bytes()).unwrap().reveal(), [7; 32]);
    }

    #[tokio::test]
    async fn nodes_that_create_a_key_at_the_same_time_agree_on_the_first() {
        let memory = MemoryBackend::new();
        // Every node reads before any node writes: calls are delayed, so each first call takes
        // effect before any second call.
        memory.faults().inject(10, &Fault::Delay(std::time::Duration::from_millis(5)));
        let stores: Vec<SecretStore> = (0..5).map(|_| secrets(&memory)).collect();
        let keys = join_all(stores.iter().map(TokenKey::load_or_create)).await;
        let keys: Vec<[u8; 32]> = keys.into_iter().map(|key| *key.unwrap().reveal()).collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(*TokenKey::load_or_create(&secrets(&memory)).await.unwrap().reveal(), keys[0]);
        assert_ne!(*TokenKey::load_or_create(&secrets(&MemoryBackend::new())).await.unwrap().reveal(), keys[0]);
    }

    #[tokio::test]
    async fn a_damaged_key_file_is_an_error_that_does_not_show_its_content() {
        for damaged in ["", "{}", r#"{"token_key":"c2hvcnQ"}"#, r#"{"token_key":"!"}"#] {
            let memory = MemoryBackend::new();
            memory.create(&Key::TokenKey, damaged.to_owned().into()).await.unwrap();
            let error = TokenKey::load_or_create(&secrets(&memory)).await.unwrap_err().to_string();
            assert!(error.contains("secrets/tokens.json") && !error.contains("c2hvcnQ"), "{error}");
        }
    }
}
