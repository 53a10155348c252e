//! Errors that prevent the start of a node or end it.

use thiserror::Error;

/// Error that prevents the start of a node or ends it. The text is one line with the remedy.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The node cannot run with this configuration. Includes an address that another process has.
    #[error("{0}")]
    Configuration(String),
    /// The storage cannot be reached.
    #[error("{0}")]
    Storage(String),
    /// An address cannot be bound, or the operating system refuses another resource.
    #[error("{0}")]
    Bind(String),
}
