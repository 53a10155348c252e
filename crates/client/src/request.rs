//! How one request is sent, and its answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

use super::ClientError;

/// A leader that is silent for longer is looked for again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read if nothing else is said.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The longest list: some 100,000 users with metadata.
pub(super) const MAX_LIST_BYTES: usize = 256 * 1024 * 1024;
/// The longest picture, which is more than the registry takes.
pub(super) const MAX_IMAGE_BYTES: usize = 1024 * 1024;

/// Whether a request may be sent twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Idempotency {
    /// Twice is as good as once.
    Idempotent,
    /// Only if no connection came about; anything else that is no clear answer is [`ClientError::OutcomeUnknown`].
    NotIdempotent,
}

/// How a request is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestOptions {
    pub(super) idempotency: Idempotency,
    pub(super) timeout: Duration,
    pub(super) max_bytes: usize,
    pub(super) is_authenticated: bool,
}

impl RequestOptions {
    pub(super) fn new(idempotency: Idempotency) -> Self {
        Self { idempotency, timeout: REQUEST_TIMEOUT, max_bytes: MAX_BODY_BYTES, is_authenticated: false }
    }

    /// How long the answer may take.
    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long the answer may be.
    pub(super) fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// With what the client proves itself with, if it has anything.
    pub(super) fn authenticated(self) -> Self {
        Self { is_authenticated: true, ..self }
    }
}

/// An answer that says that it was done.
#[derive(Debug)]
pub(super) struct NodeResponse {
    pub(super) base: String,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl NodeResponse {
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::InvalidResponse { base: self.base.clone(), what: error.to_string() })
    }
}

/// Reads an answer to its end, or to the limit.
pub(super) async fn read_response(
    base: &str,
    max_bytes: usize,
    response: reqwest::Result<Response>,
) -> Result<(StatusCode, Bytes), ClientError> {
    let unreachable = |cause: reqwest::Error| ClientError::Unreachable { base: base.to_owned(), cause };
    let mut response = response.map_err(unreachable)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > max_bytes {
            let what = format!("more than {max_bytes} bytes");
            return Err(ClientError::InvalidResponse { base: base.to_owned(), what });
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body.freeze()))
}
