//! Locator of a store on the command line: `local:PATH`, `gcs:BUCKET`, `s3:BUCKET[/PREFIX]`,
//! `azure:CONTAINER[/PREFIX]` or `drive:DRIVE/FOLDER`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use super::drive::read_drive;
use super::object_store::{read_azure, read_s3};
use super::settings;
use super::storage::{StorageConfig, read_gcs};
use crate::config::error::ConfigError;
use crate::config::layers::Layers;
use crate::config::setting::Setting;

/// Kind and place of a store. Credentials and endpoints are not part of it: they come from the
/// settings of each kind, and so do the rules of the place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreLocator {
    /// A directory of this machine.
    Local {
        /// The directory.
        dir: PathBuf,
    },
    /// A bucket of Google Cloud Storage.
    Gcs {
        /// The value of the setting `firebase_bucket`.
        bucket: String,
    },
    /// A bucket of S3.
    S3 {
        /// The value of the setting `s3_bucket`.
        bucket: String,
    },
    /// A container of Azure Blob Storage.
    Azure {
        /// The value of the setting `azure_container`.
        container: String,
    },
    /// A folder of a Google Shared Drive.
    Drive {
        /// The value of the setting `shared_drive_id`.
        drive: String,
        /// The value of the setting `registered_users_folder_id`.
        folder: String,
    },
}

/// The text is not a [`StoreLocator`]. The message contains the text and the valid forms.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "{given:?} names no store: {problem}; give local:PATH, gcs:BUCKET, s3:BUCKET[/PREFIX], azure:CONTAINER[/PREFIX] or \
     drive:DRIVE/FOLDER"
)]
pub struct InvalidStoreLocator {
    given: String,
    problem: &'static str,
}

/// Longest part of an invalid text that an error shows, in characters.
const MAX_TEXT_CHARS: usize = 80;

impl StoreLocator {
    /// The settings that name a store of this kind, and their values. None for a directory.
    pub(super) fn settings(&self) -> Vec<(&'static Setting, &str)> {
        match self {
            Self::Local { .. } => Vec::new(),
            Self::Gcs { bucket } => vec![(&settings::BUCKET, bucket)],
            Self::S3 { bucket } => vec![(&settings::S3_BUCKET, bucket)],
            Self::Azure { container } => vec![(&settings::AZURE_CONTAINER, container)],
            Self::Drive { drive, folder } => vec![(&settings::SHARED_DRIVE, drive), (&settings::USERS_FOLDER, folder)],
        }
    }

    /// The storage, from layers that contain [`Self::settings`].
    pub(super) fn storage(
        &self,
        layers: &Layers,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<StorageConfig, ConfigError> {
        let storage = match self {
            // The floor is for the writes of users, and a copy is made by the operator.
            Self::Local { dir } => Some(StorageConfig::Local { dir: dir.clone(), min_free_bytes: Some(0) }),
            Self::Gcs { .. } => read_gcs(layers)?,
            Self::S3 { .. } => read_s3(layers, env)?.map(StorageConfig::S3),
            Self::Azure { .. } => read_azure(layers, env)?.map(StorageConfig::Azure),
            // A copy is no node, and keeps no slot table.
            Self::Drive { .. } => read_drive(layers, None)?.map(StorageConfig::Drive),
        };
        Ok(storage.expect("the layers contain the settings"))
    }
}

impl FromStr for StoreLocator {
    type Err = InvalidStoreLocator;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |problem| InvalidStoreLocator { given: text.chars().take(MAX_TEXT_CHARS).collect(), problem };
        let (kind, place) = text.split_once(':').ok_or_else(|| invalid("the kind of the store is missing"))?;
        let locator = match kind {
            "local" => Self::Local { dir: place.into() },
            "gcs" => Self::Gcs { bucket: place.to_owned() },
            "s3" => Self::S3 { bucket: place.to_owned() },
            "azure" => Self::Azure { container: place.to_owned() },
            "drive" => {
                let (drive, folder) = place.split_once('/').unwrap_or((place, ""));
                if folder.is_empty() && !drive.is_empty() {
                    return Err(invalid("its folder is missing"));
                }
                Self::Drive { drive: drive.to_owned(), folder: folder.to_owned() }
            }
            _ => return Err(invalid("the kind of the store is unknown")),
        };
        if place.is_empty() || place.starts_with('/') && kind == "drive" {
            Err(invalid("its place is missing"))
        } else {
            Ok(locator)
        }
    }
}

/// The form that is parsed.
impl fmt::Display for StoreLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { dir } => write!(f, "local:{}", dir.display()),
            Self::Gcs { bucket } => write!(f, "gcs:{bucket}"),
            Self::S3 { bucket } => write!(f, "s3:{bucket}"),
            Self::Azure { container } => write!(f, "azure:{container}"),
            Self::Drive { drive, folder } => write!(f, "drive:{drive}/{folder}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locator_has_the_kind_and_the_place_of_a_store() {
        let dir = PathBuf::from("../old data/bucket");
        for (text, locator) in [
            ("local:../old data/bucket", StoreLocator::Local { dir }),
            ("local:a:b", StoreLocator::Local { dir: "a:b".into() }),
            (
                "gcs:your-project.firebasestorage.app",
                StoreLocator::Gcs { bucket: "your-project.firebasestorage.app".to_owned() },
            ),
            ("s3:my-bucket/team/a", StoreLocator::S3 { bucket: "my-bucket/team/a".to_owned() }),
            ("azure:my-container", StoreLocator::Azure { container: "my-container".to_owned() }),
            (
                "drive:0AExampleDriveIdPVA/1Example-FolderId",
                StoreLocator::Drive { drive: "0AExampleDriveIdPVA".to_owned(), folder: "1Example-FolderId".to_owned() },
            ),
        ] {
            assert_eq!(text.parse(), Ok(locator.clone()));
            assert_eq!(locator.to_string(), text);
        }
    }

    #[test]
    fn the_error_of_a_locator_names_the_text_and_the_valid_forms() {
        for (text, problem) in [
            ("", "the kind of the store is missing"),
            ("data/bucket", "the kind of the store is missing"),
            ("ftp:host", "the kind of the store is unknown"),
            ("Local:data", "the kind of the store is unknown"),
            ("local:", "its place is missing"),
            ("s3:", "its place is missing"),
            ("drive:", "its place is missing"),
            ("drive:/folder", "its place is missing"),
            ("drive:0AExampleDriveIdPVA", "its folder is missing"),
            ("drive:0AExampleDriveIdPVA/", "its folder is missing"),
        ] {
            let error = StoreLocator::from_str(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?} names no store: ")), "{error}");
            assert!(error.contains(problem) && error.contains("local:PATH"), "{error}");
        }
        let error = StoreLocator::from_str(&"x".repeat(1000)).expect_err("too long").to_string();
        assert!(error.len() < 250, "{error}");
    }
}
