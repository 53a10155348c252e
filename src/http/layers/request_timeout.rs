//! Timeout for the processing of a request.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::http::limits::{MAX_LONG_POLL_WAIT, REQUEST_TIMEOUT};
use crate::registry::LISTING_TTL_MS;

// The cache of listings dates an upload by the start of its request.
const _: () = assert!(REQUEST_TIMEOUT.as_secs() * 1000 < LISTING_TTL_MS);
use crate::http::lists::encode::DISCOVER_PATH;

/// The timeout as a layer. The path of the long polls gets more time.
pub(in crate::http) async fn limit_request_time(request: Request, next: Next) -> Response {
    let extra_time = if request.uri().path() == DISCOVER_PATH { MAX_LONG_POLL_WAIT } else { Duration::ZERO };
    with_timeout(extra_time, next.run(request)).await
}

/// Waits for the response for at most [`REQUEST_TIMEOUT`] plus `extra_time`. Then answers
/// `request_timeout`.
pub(in crate::http) async fn with_timeout(extra_time: Duration, response: impl Future<Output = Response>) -> Response {
    timeout(REQUEST_TIMEOUT + extra_time, response).await.unwrap_or_else(|_| ApiError::RequestTimeout.into_response())
}
