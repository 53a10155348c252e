//! Errors of a bucket: what the operator reads in the log. Pure.

use thiserror::Error;

/// Error of a call to the bucket. The text is for logs. Clients learn only that the storage is
/// unavailable.
#[derive(Clone, Debug, Error)]
pub enum BucketError {
    /// No attempt succeeded within the deadline. A write may or may not have taken effect.
    #[error("{operation} {path} did not succeed on the {store} within {deadline_ms} ms: {last_error}")]
    TimedOut {
        /// The operation: `create`, `get`, ...
        operation: &'static str,
        /// The path in the bucket.
        path: String,
        /// The store, as [`Backend::describe`](super::Backend::describe) names it.
        store: String,
        /// The deadline of the whole call, in milliseconds.
        deadline_ms: u128,
        /// The error of the last attempt.
        last_error: String,
    },
    /// The store refused, or the call was not tried because the store is down. An earlier attempt
    /// of a write may have taken effect.
    #[error("{operation} {path} failed on the {store}: {cause}")]
    Unavailable {
        /// The operation: `create`, `get`, ...
        operation: &'static str,
        /// The path in the bucket.
        path: String,
        /// The store, as [`Backend::describe`](super::Backend::describe) names it.
        store: String,
        /// The cause and the remedy.
        cause: String,
    },
    /// This object cannot be read, but others can; see
    /// [`BackendError::Unreadable`](super::BackendError::Unreadable).
    #[error("{operation} {path} failed on the {store}: {cause}")]
    Unreadable {
        /// The operation: `create`, `get`, ...
        operation: &'static str,
        /// The path in the bucket.
        path: String,
        /// The store, as [`Backend::describe`](super::Backend::describe) names it.
        store: String,
        /// The cause and the remedy.
        cause: String,
    },
    /// There is no space for the object; see [`BackendError::Full`](super::BackendError::Full).
    #[error("{operation} {path} failed on the {store}: {cause}")]
    Full {
        /// The operation: `create`, `get`, ...
        operation: &'static str,
        /// The path in the bucket.
        path: String,
        /// The store, as [`Backend::describe`](super::Backend::describe) names it.
        store: String,
        /// The cause and the remedy.
        cause: String,
    },
    /// An object is missing that existed earlier and that Rollcall never deletes. The whole bucket
    /// may be lost.
    #[error(
        "{path} is no longer in the {store}, and Rollcall did not delete it: put it back, or restart the nodes if it is gone for good"
    )]
    Vanished {
        /// The object's path.
        path: String,
        /// The store, as [`Backend::describe`](super::Backend::describe) names it.
        store: String,
    },
}
