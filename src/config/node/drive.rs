//! Google Drive in a node's configuration. The variables are those of requirement 001.

use std::path::Path;

use super::base_url::parse_base_url;
use super::key_file::is_key_itself;
use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::Layers;
use crate::config::setting::Setting;
use crate::storage::DriveConfig;

const EXPECTED_ID: &str = "an id of Google Drive: the last part of the address of the drive or folder in a browser";
const EXPECTED_HOST: &str = "HOST:PORT or a URL, such as \"localhost:4444\"";

/// Reads the folder of a shared drive. `None` if no setting names one. `table_dir` is the directory
/// in which a node keeps the id of its slot table.
pub(super) fn read_drive(layers: &Layers, table_dir: Option<&Path>) -> Result<Option<DriveConfig>, ConfigError> {
    let (drive, folder) = (read_id(layers, &settings::SHARED_DRIVE)?, read_id(layers, &settings::USERS_FOLDER)?);
    let (drive, folder) = match (drive, folder) {
        (None, None) => return Ok(None),
        (Some(drive), Some(folder)) => (drive, folder),
        (None, Some(_)) => {
            return Err(missing(&settings::SHARED_DRIVE, "REGISTERED_USERS_FOLDER_ID names a folder of it"));
        }
        (Some(_), None) => {
            return Err(missing(
                &settings::USERS_FOLDER,
                "SHARED_DRIVE_ID names the shared drive that has this folder",
            ));
        }
    };
    let credentials = layers.path(&settings::DRIVE_CREDENTIALS)?;
    // The path of a key file may be the key itself, which must not appear in an error.
    if is_key_itself(&credentials.to_string_lossy()) {
        return Err(ConfigError::KeyInsteadOfFile { key: settings::DRIVE_CREDENTIALS.key });
    }
    Ok(Some(DriveConfig {
        drive,
        folder,
        credentials,
        endpoint: read_host(layers)?,
        table_dir: table_dir.map(Path::to_owned),
        settle_time: DriveConfig::SETTLE_TIME,
        page_size: DriveConfig::MAX_PAGE_SIZE,
    }))
}

fn read_id(layers: &Layers, setting: &Setting) -> Result<Option<String>, ConfigError> {
    let is_id = |text: &str| {
        (5..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let parse = |text: &str| is_id(text).then(|| text.to_owned());
    Ok(layers.parsed_by(setting, EXPECTED_ID, parse)?.map(|given| given.value))
}

/// Reads the URL of a stand-in for Drive.
pub(super) fn read_host(layers: &Layers) -> Result<Option<String>, ConfigError> {
    let parse = |text: &str| {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        parse_base_url(&url)
    };
    Ok(layers.parsed_by(&settings::DRIVE_EMULATOR, EXPECTED_HOST, parse)?.map(|given| given.value))
}

fn missing(setting: &Setting, why: &str) -> ConfigError {
    ConfigError::Missing { key: setting.key, remedy: format!("{why}; set {}", setting.env) }
}
