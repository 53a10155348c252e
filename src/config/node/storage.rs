//! Storage in a node's configuration: a local directory, or a bucket of a cloud store.

use std::fmt;
use std::path::{Path, PathBuf};

use super::base_url::parse_base_url;
use super::drive::read_drive;
use super::key_file::is_key_itself;
use super::object_store::{read_azure, read_s3};
use super::quotas::MAX_BYTES;
use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::Layers;
use crate::config::setting::Setting;
use crate::storage::{AzureConfig, DriveConfig, S3Config};
use rollcall_core::BucketName;

const EXPECTED_NAME: &str = "the name of a bucket or container in quotes";

/// Kind and place of the durable storage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StorageConfig {
    /// A directory of this machine.
    Local {
        /// The directory.
        dir: PathBuf,
        /// Free space that users' objects leave on the disk, in bytes. `None` depends on the disk;
        /// 0 is none.
        min_free_bytes: Option<u64>,
    },
    /// A bucket of Google Cloud Storage. Buckets of Firebase Storage are such buckets.
    Gcs {
        /// The bucket's name.
        bucket: BucketName,
        /// The JSON key file of the service account. Not read if there is an `endpoint`.
        credentials: PathBuf,
        /// The URL of an emulator, without a trailing slash. It needs no credentials.
        endpoint: Option<String>,
    },
    /// A bucket of Amazon S3, or of a store with the same API.
    S3(S3Config),
    /// A container of Azure Blob Storage.
    Azure(AzureConfig),
    /// A folder of a Google Shared Drive.
    Drive(DriveConfig),
}

impl StorageConfig {
    /// Default of `storage_timeout_ms`, in milliseconds. One attempt may take a quarter of it. A
    /// drive needs a second for many requests, and several seconds for some.
    #[must_use]
    pub fn default_timeout_ms(&self) -> u64 {
        match self {
            Self::Local { .. } | Self::Gcs { .. } | Self::S3(_) | Self::Azure(_) => 5_000,
            Self::Drive(_) => 20_000,
        }
    }
}

/// Kind and place, for messages.
impl fmt::Display for StorageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { dir, .. } => write!(f, "local directory {}", dir.display()),
            Self::S3(config) => config.fmt(f),
            Self::Azure(config) => config.fmt(f),
            Self::Drive(config) => config.fmt(f),
            Self::Gcs { bucket, endpoint: Some(endpoint), .. } => {
                write!(f, "bucket {bucket} of the emulator at {endpoint}")
            }
            Self::Gcs { bucket, credentials, endpoint: None } => {
                write!(f, "bucket {bucket} with the credentials in {}", credentials.display())
            }
        }
    }
}

/// The settings that choose a storage. At most one may be given.
const CHOICES: [&Setting; 4] =
    [&settings::BUCKET, &settings::S3_BUCKET, &settings::AZURE_CONTAINER, &settings::USERS_FOLDER];

/// Reads the storage. A local bucket is in the data directory.
pub(super) fn read_storage(
    layers: &Layers,
    env: &dyn Fn(&str) -> Option<String>,
    data_dir: &Path,
) -> Result<StorageConfig, ConfigError> {
    let min_free_bytes = layers.number_in(&settings::MIN_FREE_BYTES, 0..=MAX_BYTES)?.map(|given| given.value);
    let mut given = Vec::new();
    for setting in CHOICES {
        given.extend(layers.text(setting, EXPECTED_NAME)?.map(|text| (setting.key, text.origin)));
    }
    if let [(key, origin), (other, other_origin), ..] = &given[..] {
        return Err(ConfigError::TwoStorages {
            key,
            origin: origin.clone(),
            other,
            other_origin: other_origin.clone(),
        });
    }
    if let Some(s3) = read_s3(layers, env)? {
        return Ok(StorageConfig::S3(s3));
    }
    if let Some(azure) = read_azure(layers, env)? {
        return Ok(StorageConfig::Azure(azure));
    }
    if let Some(drive) = read_drive(layers, Some(data_dir))? {
        return Ok(StorageConfig::Drive(drive));
    }
    match read_gcs(layers)? {
        Some(gcs) => Ok(gcs),
        None => Ok(StorageConfig::Local { dir: data_dir.join("bucket"), min_free_bytes }),
    }
}

/// Reads the bucket of Cloud Storage. `None` if no setting names one.
pub(super) fn read_gcs(layers: &Layers) -> Result<Option<StorageConfig>, ConfigError> {
    let Some(given) = layers.parsed_by(&settings::BUCKET, BucketName::EXPECTED, BucketName::parse)? else {
        return Ok(None);
    };
    let credentials = layers.path(&settings::CREDENTIALS)?;
    if is_key_itself(&credentials.to_string_lossy()) {
        return Err(ConfigError::KeyInsteadOfFile { key: settings::CREDENTIALS.key });
    }
    Ok(Some(StorageConfig::Gcs { bucket: given.value, credentials, endpoint: read_emulator_url(layers)? }))
}

/// Reads the URL of the emulator. The setting is `HOST:PORT` or a URL, as in Google's other
/// clients.
pub(super) fn read_emulator_url(layers: &Layers) -> Result<Option<String>, ConfigError> {
    let expected = "HOST:PORT or a URL, such as \"localhost:4443\"";
    let Some(given) = layers.text(&settings::EMULATOR, expected)? else { return Ok(None) };
    let with_scheme = if given.value.contains("://") { given.value.clone() } else { format!("http://{}", given.value) };
    parse_base_url(&with_scheme).map(Some).ok_or_else(|| given.invalid(&settings::EMULATOR, expected))
}
