//! Cross-origin resource sharing (CORS): the web pages that may read responses, and the methods
//! that a preflight allows them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::response_headers;
use crate::http::app::SharedApp;
use crate::http::limits::PREFLIGHT_MAX_AGE;
use crate::http::lists::{list_response, stale_reads};
use crate::http::origin_policy::RequestSender;

/// The CORS layer. A preflight allows only `GET` and `HEAD`; [`allow_changes`] adds other methods.
pub(in crate::http) fn layer(app: &SharedApp) -> CorsLayer {
    let origins = if app.origin_policy.any_may_read() {
        AllowOrigin::any()
    } else {
        let app = Arc::clone(app);
        AllowOrigin::predicate(move |_, parts| app.sender(&parts.headers) == RequestSender::TrustedPage)
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
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers(accepted)
        .expose_headers(readable)
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Middleware around [`layer`]: a preflight of a page that may change something allows the method
/// of every route.
pub(in crate::http) async fn allow_changes(
    State((app, methods)): State<(SharedApp, HeaderValue)>,
    request: Request,
    next: Next,
) -> Response {
    let is_from_page = request.method() == Method::OPTIONS && request.headers().contains_key(header::ORIGIN);
    let may_change = is_from_page && app.may_change(app.sender(request.headers()));
    let mut response = next.run(request).await;
    if may_change {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    response
}
