//! Storage in a node's configuration: a local directory, or a bucket of Google.

use std::path::{Path, PathBuf};

use super::base_url::parse_base_url;
use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::Layers;

const EXPECTED_BUCKET: &str =
    "the name of a bucket without gs:// and without a path, such as \"your-project.firebasestorage.app\"";

/// What lasts, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StorageConfig {
    /// A directory of this machine.
    Local {
        /// The directory.
        dir: PathBuf,
    },
    /// A bucket of Google Cloud Storage, which is what Firebase Storage is.
    Gcs {
        /// The bucket's name, without a scheme.
        bucket: String,
        /// The service account's JSON file; not read when there is an `endpoint`.
        credentials: PathBuf,
        /// An emulator's URL without a trailing slash, spoken to without credentials.
        endpoint: Option<String>,
    },
}

/// The storage; a local one is in the directory of the data.
pub(super) fn storage(layers: &Layers, data_dir: &Path) -> Result<StorageConfig, ConfigError> {
    let Some(given) = layers.text(&settings::BUCKET, EXPECTED_BUCKET)? else {
        return Ok(StorageConfig::Local { dir: data_dir.join("bucket") });
    };
    if !is_bucket_name(&given.value) {
        return Err(given.invalid(&settings::BUCKET, EXPECTED_BUCKET));
    }
    let credentials = layers.path(&settings::CREDENTIALS)?;
    Ok(StorageConfig::Gcs { bucket: given.value, credentials, endpoint: emulator(layers)? })
}

/// The rule of Google Cloud Storage, as far as it keeps a name apart from a URL or a path.
fn is_bucket_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_well = text.bytes().next().is_some_and(plain) && text.bytes().next_back().is_some_and(plain);
    ends_well && (3..=222).contains(&text.len()) && text.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_' | b'.'))
}

/// The emulator's URL; the variable holds `HOST:PORT` or a URL, as with Google's other clients.
pub(super) fn emulator(layers: &Layers) -> Result<Option<String>, ConfigError> {
    let expected = "HOST:PORT or a URL, such as \"localhost:4443\"";
    let Some(given) = layers.text(&settings::EMULATOR, expected)? else { return Ok(None) };
    let complete = if given.value.contains("://") { given.value.clone() } else { format!("http://{}", given.value) };
    parse_base_url(&complete).map(Some).ok_or_else(|| given.invalid(&settings::EMULATOR, expected))
}
