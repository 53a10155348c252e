//! Locator of a store on the command line: `local:PATH` or `gcs:BUCKET`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use super::settings;
use super::storage::{StorageConfig, is_bucket_name, read_emulator_url};
use crate::config::error::ConfigError;
use crate::config::layers::Layers;

/// Kind and place of a store. Credentials and endpoints are not part of it: they come from the
/// settings of each kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreLocator {
    /// A directory of this machine.
    Local {
        /// The directory.
        dir: PathBuf,
    },
    /// A bucket of Google Cloud Storage.
    Gcs {
        /// The bucket's name, without a scheme.
        bucket: String,
    },
}

/// The text is not a [`StoreLocator`]. The message contains the text and the valid forms.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{given:?} names no store: {problem}; give local:PATH or gcs:BUCKET")]
pub struct InvalidStoreLocator {
    given: String,
    problem: &'static str,
}

/// Longest part of an invalid text that an error shows, in characters.
const MAX_TEXT_CHARS: usize = 80;

impl StoreLocator {
    /// The storage, with the credentials and the endpoint of the settings.
    pub(super) fn storage(&self, layers: &Layers) -> Result<StorageConfig, ConfigError> {
        Ok(match self {
            Self::Local { dir } => StorageConfig::Local { dir: dir.clone() },
            Self::Gcs { bucket } => StorageConfig::Gcs {
                bucket: bucket.clone(),
                credentials: layers.path(&settings::CREDENTIALS)?,
                endpoint: read_emulator_url(layers)?,
            },
        })
    }
}

impl FromStr for StoreLocator {
    type Err = InvalidStoreLocator;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |problem| InvalidStoreLocator { given: text.chars().take(MAX_TEXT_CHARS).collect(), problem };
        match text.split_once(':') {
            Some(("local", "")) => Err(invalid("the path is missing")),
            Some(("local", dir)) => Ok(Self::Local { dir: dir.into() }),
            Some(("gcs", bucket)) if is_bucket_name(bucket) => Ok(Self::Gcs { bucket: bucket.to_owned() }),
            Some(("gcs", _)) => Err(invalid("this is not the name of a bucket")),
            Some(_) => Err(invalid("the kind of the store is unknown")),
            None => Err(invalid("the kind of the store is missing")),
        }
    }
}

/// The form that is parsed.
impl fmt::Display for StoreLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { dir } => write!(f, "local:{}", dir.display()),
            Self::Gcs { bucket } => write!(f, "gcs:{bucket}"),
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
            ("local:", "the path is missing"),
            ("gcs:", "not the name of a bucket"),
            ("gcs:Bucket/path", "not the name of a bucket"),
        ] {
            let error = StoreLocator::from_str(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?} names no store: ")), "{error}");
            assert!(error.contains(problem) && error.contains("local:PATH"), "{error}");
        }
        let error = StoreLocator::from_str(&"x".repeat(1000)).expect_err("too long").to_string();
        assert!(error.len() < 250, "{error}");
    }
}
