//! Stores of a command: their configuration and their opening.

use std::path::Path;
use std::sync::Arc;

use rand::RngExt;

use crate::cli::exit::{CONFIGURATION, CommandError};
use crate::config::StorageConfig;
use crate::node::{NodeError, open_backend, open_backend_read_only};
use crate::storage::Backend;
use crate::storage::bucket_check::OpenError;

/// An environment variable as the configuration reads it.
pub(in crate::cli) fn env_var(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Opens a store that must be there. A local directory is not created: a wrong path would become an
/// empty store. `remedy` is the remedy for such a path.
pub(in crate::cli) async fn open_existing(
    config: &StorageConfig,
    page_size: Option<usize>,
    remedy: &str,
) -> Result<Arc<dyn Backend>, OpenError> {
    if let StorageConfig::Local { dir, .. } = config {
        require_directory(dir, remedy).map_err(OpenError::Misconfigured)?;
    }
    open_backend(config, page_size).await.map_err(|error| match error {
        // A local directory does not become usable by waiting.
        NodeError::Storage(cause) if !matches!(config, StorageConfig::Local { .. }) => OpenError::Unreachable(cause),
        error => OpenError::Misconfigured(error.to_string()),
    })
}

/// Opens a store that must be there, for reading only. Nothing in a local directory or on a drive
/// is created, so it may be a read-only snapshot. `remedy` is the remedy for a directory that is
/// missing.
pub(super) async fn open_read_only(config: &StorageConfig, remedy: &str) -> Result<Arc<dyn Backend>, CommandError> {
    if let StorageConfig::Local { dir, .. } = config {
        require_directory(dir, remedy).map_err(|error| CommandError::new(CONFIGURATION, error))?;
    }
    Ok(open_backend_read_only(config).await?)
}

fn require_directory(dir: &Path, remedy: &str) -> Result<(), String> {
    if dir.is_dir() { Ok(()) } else { Err(format!("there is no directory {}; {remedy}", dir.display())) }
}

/// The number of a check, which names its objects.
#[expect(clippy::disallowed_methods, reason = "a command may use real randomness")]
pub(super) fn random_number() -> u32 {
    rand::rng().random()
}
