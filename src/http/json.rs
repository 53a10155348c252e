//! JSON responses.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Initial size of a response buffer, in bytes. Most responses fit, so the buffer rarely grows.
const RESPONSE_BUFFER_BYTES: usize = 384;

/// The media type of every JSON response.
pub(super) const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A response that is serialised to JSON.
pub(super) struct Json<T>(pub(super) T);

/// A response that is already serialised as JSON.
pub(super) struct RawJson(pub(super) Vec<u8>);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        // Lists are serialised in `lists/encode.rs`, because they are longer.
        let mut bytes = Vec::with_capacity(RESPONSE_BUFFER_BYTES);
        serde_json::to_writer(&mut bytes, &self.0).expect("all keys are strings, and writing to memory cannot fail");
        RawJson(bytes).into_response()
    }
}

impl IntoResponse for RawJson {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, APPLICATION_JSON)], self.0).into_response()
    }
}
