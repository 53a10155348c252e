//! Options of one request, and its response.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

use super::ClientError;

/// Default timeout of one attempt. After it, the client searches for the leader again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest response body accepted by default, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Largest response body with a list, in bytes. Enough for about 100,000 users with metadata.
pub(super) const MAX_LIST_BYTES: usize = 256 * 1024 * 1024;
/// Largest response body with an image, in bytes. The registry accepts images of 512 KiB, and
/// serves images of 4 MiB that other programs have stored in its bucket.
pub(super) const MAX_IMAGE_BYTES: usize = 4 * 1024 * 1024;

/// Longest wait that a server may ask for, in seconds. Every caller gives up long before, and a
/// longer wait would exceed the range of the clock.
const MAX_RETRY_AFTER_SECONDS: u64 = 3600;

/// Whether a request may be executed twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Idempotency {
    /// A second execution has no further effect, so the client retries after any failure.
    Idempotent,
    /// The client retries only if no connection was established. If the response is lost, the
    /// result is [`ClientError::OutcomeUnknown`].
    NotIdempotent,
}

/// Options of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestOptions {
    /// Whether the request may be executed twice.
    pub(super) idempotency: Idempotency,
    /// Timeout of one attempt.
    pub(super) timeout: Duration,
    /// Largest response body accepted, in bytes.
    pub(super) max_bytes: usize,
    /// Whether the request contains the client's token, if there is one.
    pub(super) is_authenticated: bool,
}

impl RequestOptions {
    /// Options with the default limits and without a token.
    pub(super) fn new(idempotency: Idempotency) -> Self {
        Self { idempotency, timeout: REQUEST_TIMEOUT, max_bytes: MAX_BODY_BYTES, is_authenticated: false }
    }

    /// Sets the timeout of one attempt.
    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets the largest response body.
    pub(super) fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sends the client's token with the request, if there is one.
    pub(super) fn authenticated(self) -> Self {
        Self { is_authenticated: true, ..self }
    }
}

/// Response of a node with a success status, or 304 (not modified).
#[derive(Debug)]
pub(super) struct NodeResponse {
    /// Base URL of the node.
    pub(super) base: String,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl NodeResponse {
    /// Parses the body as JSON.
    ///
    /// # Errors
    /// [`ClientError::InvalidResponse`] if the body is not a valid `T`.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::InvalidResponse { base: self.base.clone(), what: error.to_string() })
    }
}

/// Response of any status.
#[derive(Debug)]
pub(super) struct RawResponse {
    pub(super) status: StatusCode,
    /// The header `Retry-After`, if it has a number of seconds.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// Reads a response body of at most `max_bytes` bytes.
///
/// # Errors
/// [`ClientError::Unreachable`] if the response or a part of it does not arrive,
/// [`ClientError::InvalidResponse`] if the body is longer.
pub(super) async fn read_response(
    base: &str,
    max_bytes: usize,
    response: reqwest::Result<Response>,
) -> Result<RawResponse, ClientError> {
    let unreachable = |cause: reqwest::Error| ClientError::of_network(base, cause);
    let mut response = response.map_err(unreachable)?;
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?));
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > max_bytes {
            let what = format!("its response has more than {max_bytes} bytes");
            return Err(ClientError::InvalidResponse { base: base.to_owned(), what });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawResponse { status: response.status(), retry_after, body: body.freeze() })
}

/// Reads a `Retry-After` header in seconds (RFC 9110, section 10.2.3). Dates are not supported.
fn parse_retry_after(text: &str) -> Option<Duration> {
    let seconds: u64 = text.parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_RETRY_AFTER_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_a_server_asks_for_is_bounded() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("3600", Some(3600)),
            ("3601", Some(3600)),
            ("9223372036854775807", Some(3600)),
            ("18446744073709551615", Some(3600)),
            ("18446744073709551616", None),
            ("Mon, 30 Nov 2026 10:00:00 GMT", None),
        ] {
            assert_eq!(parse_retry_after(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
