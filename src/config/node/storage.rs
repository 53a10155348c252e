//! Storage in a node's configuration: a local directory, or a bucket of Google Cloud Storage.

use std::fmt;
use std::path::{Path, PathBuf};

use super::base_url::parse_base_url;
use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::Layers;

const EXPECTED_BUCKET: &str =
    "the name of a bucket without gs:// and without a path, such as \"your-project.firebasestorage.app\"";

/// Kind and place of the durable storage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StorageConfig {
    /// A directory of this machine.
    Local {
        /// The directory.
        dir: PathBuf,
    },
    /// A bucket of Google Cloud Storage. Buckets of Firebase Storage are such buckets.
    Gcs {
        /// The bucket's name, without a scheme.
        bucket: String,
        /// The JSON key file of the service account. Not read if there is an `endpoint`.
        credentials: PathBuf,
        /// The URL of an emulator, without a trailing slash. It needs no credentials.
        endpoint: Option<String>,
    },
}

/// Kind and place, for messages.
impl fmt::Display for StorageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { dir } => write!(f, "local directory {}", dir.display()),
            Self::Gcs { bucket, endpoint: Some(endpoint), .. } => {
                write!(f, "bucket {bucket} of the emulator at {endpoint}")
            }
            Self::Gcs { bucket, credentials, endpoint: None } => {
                write!(f, "bucket {bucket} with the credentials in {}", credentials.display())
            }
        }
    }
}

/// Reads the storage. A local bucket is in the data directory.
pub(super) fn read_storage(layers: &Layers, data_dir: &Path) -> Result<StorageConfig, ConfigError> {
    let Some(given) = layers.text(&settings::BUCKET, EXPECTED_BUCKET)? else {
        return Ok(StorageConfig::Local { dir: data_dir.join("bucket") });
    };
    if !is_bucket_name(&given.value) {
        return Err(given.invalid(&settings::BUCKET, EXPECTED_BUCKET));
    }
    let credentials = layers.path(&settings::CREDENTIALS)?;
    Ok(StorageConfig::Gcs { bucket: given.value, credentials, endpoint: read_emulator_url(layers)? })
}

/// Whether the text can be a bucket's name. This is a part of the rule of Google Cloud Storage,
/// enough to reject URLs and paths.
pub(super) fn is_bucket_name(text: &str) -> bool {
    let is_letter_or_digit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let has_valid_ends =
        text.bytes().next().is_some_and(is_letter_or_digit) && text.bytes().next_back().is_some_and(is_letter_or_digit);
    has_valid_ends
        && (3..=222).contains(&text.len())
        && text.bytes().all(|b| is_letter_or_digit(b) || matches!(b, b'-' | b'_' | b'.'))
}

/// Reads the URL of the emulator. The setting is `HOST:PORT` or a URL, as in Google's other
/// clients.
pub(super) fn read_emulator_url(layers: &Layers) -> Result<Option<String>, ConfigError> {
    let expected = "HOST:PORT or a URL, such as \"localhost:4443\"";
    let Some(given) = layers.text(&settings::EMULATOR, expected)? else { return Ok(None) };
    let with_scheme = if given.value.contains("://") { given.value.clone() } else { format!("http://{}", given.value) };
    parse_base_url(&with_scheme).map(Some).ok_or_else(|| given.invalid(&settings::EMULATOR, expected))
}
