//! Cross-origin resource sharing (CORS): the web pages that may read responses.

use axum::http::{HeaderName, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::response_headers;
use crate::http::app::CorsPolicy;
use crate::http::limits::PREFLIGHT_MAX_AGE;
use crate::http::lists::{list_response, stale_reads};

/// The CORS layer, or `None` if no page of another origin may read responses. Only `GET` and `HEAD`
/// are allowed in a preflight. A `POST` that needs no preflight is not rejected here.
pub(in crate::http) fn layer(cors: &CorsPolicy) -> Option<CorsLayer> {
    let origins = match cors {
        CorsPolicy::Any => AllowOrigin::any(),
        CorsPolicy::Origins(origins) => AllowOrigin::list(origins.iter().cloned()),
        CorsPolicy::Off => return None,
    };
    let [leader, leader_url, term, request_id] = response_headers::HEADERS;
    let readable: [HeaderName; 8] = [
        leader,
        leader_url,
        term,
        request_id,
        list_response::CURSOR_HEADER,
        stale_reads::AGE_HEADER,
        header::ETAG,
        header::RETRY_AFTER,
    ];
    // Browsers do not count `authorization` in `*`. The other names are for proxies and libraries
    // that do not know `*`.
    let accepted: [HeaderName; 5] = [
        HeaderName::from_static("*"),
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_NONE_MATCH,
        response_headers::REQUEST_ID,
    ];
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers(accepted)
        .expose_headers(readable)
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}
