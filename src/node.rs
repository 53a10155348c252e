//! The composition root: binds, starts and stops what a node is made of.

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Why a node did not start, or ended by itself. Display is one line with the remedy.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The node may not run with this configuration.
    #[error("{0}")]
    Configuration(String),
    /// The storage cannot be reached.
    #[error("{0}")]
    Storage(String),
    /// An address cannot be bound.
    #[error("{0}")]
    Bind(String),
    /// This build has no server.
    #[error("this build has no server yet; build one from the branch main")]
    Unfinished,
}

/// Runs a node until `shutdown` is cancelled, then ends it in good order.
///
/// # Errors
/// [`NodeError`] if it could not start, or ended by itself.
pub async fn run(_config: Config, _shutdown: CancellationToken) -> Result<(), NodeError> {
    std::future::ready(Err(NodeError::Unfinished)).await
}
