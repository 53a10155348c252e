//! Strong entity tags, and the short answer to who has the very same bytes already.

use std::fmt::Write as _;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::http::error::ApiError;
use crate::http::json::APPLICATION_JSON;

/// Bytes of the hash that go into a tag: enough that no two answers share one.
const TAG_BYTES: usize = 16;

/// A list as JSON, which may be kept but must be asked for again each time.
pub(in crate::http) fn list(request: &HeaderMap, list: &impl Serialize) -> Response {
    match serde_json::to_vec(list) {
        Ok(bytes) => tagged(request, bytes.into(), APPLICATION_JSON, HeaderValue::from_static("no-cache")),
        Err(error) => ApiError::Internal(error.to_string()).into_response(),
    }
}

/// `bytes` with their tag, or 304 if the client named that tag.
pub(in crate::http) fn tagged(
    request: &HeaderMap,
    bytes: Bytes,
    media_type: HeaderValue,
    cache: HeaderValue,
) -> Response {
    let tag = tag(&bytes);
    let known = request.get_all(header::IF_NONE_MATCH).iter().any(|names| names_tag(names, &tag));
    let headers = [(header::ETAG, tag), (header::CACHE_CONTROL, cache)];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, media_type)], bytes).into_response()
}

/// The tag of these bytes.
pub(in crate::http) fn tag(bytes: &[u8]) -> HeaderValue {
    let mut tag = String::with_capacity(2 * TAG_BYTES + 2);
    tag.push('"');
    for byte in &Sha256::digest(bytes)[..TAG_BYTES] {
        // Writing to a string does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::try_from(tag).expect("quotes and hex digits")
}

/// Whether an `If-None-Match` names the tag. It compares weakly: a `W/` that a proxy put before it does not matter.
pub(in crate::http) fn names_tag(names: &HeaderValue, tag: &HeaderValue) -> bool {
    let Ok(names) = names.to_str() else { return false };
    names
        .split(',')
        .map(str::trim)
        .any(|name| name == "*" || name.strip_prefix("W/").unwrap_or(name).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_named_alone_in_a_list_weakly_or_by_a_star() {
        let tag = tag(b"abc");
        let text = tag.to_str().unwrap();
        assert_eq!(text, "\"ba7816bf8f01cfea414140de5dae2223\"");
        let names = |names: String| names_tag(&names.parse().unwrap(), &tag);
        assert!(names(text.to_owned()));
        assert!(names(format!("\"x\" ,W/{text}")));
        assert!(names("*".to_owned()));
        assert!(!names(text.trim_matches('"').to_owned()));
        assert!(!names("\"x\"".to_owned()));
    }
}
