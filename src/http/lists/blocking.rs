//! Runs work on a blocking thread if it would block a runtime thread for too long.

use tokio::task::spawn_blocking;

use crate::http::error::ApiError;

/// Runs `work` on a blocking thread.
///
/// # Errors
/// `internal` if it panics.
pub(in crate::http) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))
}
