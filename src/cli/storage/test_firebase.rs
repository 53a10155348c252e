//! `cargo run --bin test_firebase`: another name of `storage check`, for the bucket that the
//! environment names. It needs no configuration file.

use clap::Parser;

use super::check::CheckOptions;
use crate::cli::exit::{self, CONFIGURATION, CommandError};
use crate::config::{Config, DEFAULT_CREDENTIALS, StorageConfig};

const BUCKET_VARIABLE: &str = "FIREBASE_BUCKET";

/// Checks whether Rollcall can use a Firebase (Google Cloud Storage) bucket
///
/// Has the same steps and the same output as `rollcall storage check`, and reads only the
/// environment.
#[derive(Debug, Parser)]
#[command(name = "test_firebase", version, after_long_help = after_help())]
pub struct TestFirebase {
    #[command(flatten)]
    pub(super) options: CheckOptions,
}

fn after_help() -> String {
    let codes = exit::help_lines(exit::STORAGE_CODES);
    format!(
        "\
Environment:
  FIREBASE_BUCKET                 the bucket's name, such as your-project.firebasestorage.app
                                  (Firebase console, Storage)
  GOOGLE_APPLICATION_CREDENTIALS  the key file of a service account that has the role \"Storage Object Admin\"
                                  (default: {DEFAULT_CREDENTIALS})
  STORAGE_EMULATOR_HOST           host:port of an emulator, which needs no credentials

Exit codes:{codes}

Example:
  FIREBASE_BUCKET=your-project.firebasestorage.app cargo run --bin test_firebase"
    )
}

/// The bucket of the environment. A missing one is an error: the local directory is not meant.
pub(super) fn storage(env_var: &dyn Fn(&str) -> Option<String>) -> Result<StorageConfig, CommandError> {
    if env_var(BUCKET_VARIABLE).is_none_or(|bucket| bucket.trim().is_empty()) {
        return Err(CommandError::new(
            CONFIGURATION,
            "FIREBASE_BUCKET is not set: give the bucket's name, such as \
             FIREBASE_BUCKET=your-project.firebasestorage.app (Firebase console, Storage)",
        ));
    }
    Ok(Config::read_storage_of_environment(env_var)?)
}
