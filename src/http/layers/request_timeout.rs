//! The limit on the time that a request may take.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::http::limits::{MAX_POLL_WAIT, REQUEST_TIME};
use crate::http::lists::encode::DISCOVER;

/// The limit on time as a layer.
pub(in crate::http) async fn limit_time(request: Request, next: Next) -> Response {
    let waits = if request.uri().path() == DISCOVER { MAX_POLL_WAIT } else { Duration::ZERO };
    in_time(waits, next.run(request)).await
}

/// The answer, or that it took too long, `waits` apart.
pub(in crate::http) async fn in_time(waits: Duration, answer: impl Future<Output = Response>) -> Response {
    timeout(REQUEST_TIME + waits, answer).await.unwrap_or_else(|_| ApiError::TooSlow.into_response())
}
