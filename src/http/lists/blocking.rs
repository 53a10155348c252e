//! Work that takes too long for a thread of the runtime.

use tokio::task::spawn_blocking;

use crate::http::error::ApiError;

/// Does what would keep a thread of the runtime busy for too long.
pub(in crate::http) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))
}
