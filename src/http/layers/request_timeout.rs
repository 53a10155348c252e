//! The limit on the time that a request may take.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::http::lists::encode::DISCOVER;
use crate::http::lists::since::MOST_WAIT;

/// The longest that a request may take until its answer begins, its body included, and what it waits on purpose not.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The limit on time as a layer.
pub(in crate::http) async fn limit_time(request: Request, next: Next) -> Response {
    let waits = if request.uri().path() == DISCOVER { MOST_WAIT } else { Duration::ZERO };
    in_time(waits, next.run(request)).await
}

/// The answer, or that it took too long, `waits` apart.
pub(in crate::http) async fn in_time(waits: Duration, answer: impl Future<Output = Response>) -> Response {
    timeout(REQUEST_TIME + waits, answer).await.unwrap_or_else(|_| ApiError::TooSlow.into_response())
}
