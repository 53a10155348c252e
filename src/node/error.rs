//! Why a node does not start.

use thiserror::Error;

/// Why a node did not start. Display is one line with the remedy.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The node may not run with this configuration.
    #[error("{0}")]
    Configuration(String),
    /// The storage cannot be reached.
    #[error("{0}")]
    Storage(String),
    /// An address cannot be bound, or the system refuses something else that is needed.
    #[error("{0}")]
    Bind(String),
}
