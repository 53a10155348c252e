//! Stores of a command: their configuration and their opening.

use std::sync::Arc;

use crate::config::StorageConfig;
use crate::node::open_backend;
use crate::storage::Backend;

/// An environment variable as the configuration reads it.
pub(super) fn env_var(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Opens a store that must be there. A local directory is not created: a wrong path would become an
/// empty store. `remedy` is the remedy for such a path.
pub(super) async fn open_existing(
    config: &StorageConfig,
    page_size: Option<usize>,
    remedy: &str,
) -> Result<Arc<dyn Backend>, String> {
    if let StorageConfig::Local { dir } = config
        && !dir.is_dir()
    {
        return Err(format!("there is no directory {}; {remedy}", dir.display()));
    }
    open_backend(config, page_size).await.map_err(|error| error.to_string())
}
