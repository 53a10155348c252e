//! Cross-origin resource sharing (CORS): the web pages that may read responses, and the methods
//! that a preflight allows them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{origin_check, response_headers};
use crate::http::app::SharedApp;
use crate::http::limits::PREFLIGHT_MAX_AGE;
use crate::http::lists::{list_response, stale_reads};
use crate::http::origin_policy::RequestSender;

/// The CORS layer. A preflight allows only `GET` and `HEAD`; [`check_preflight`] adds other
/// methods.
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

/// Middleware around [`layer`]: a preflight for a request that changes something gets the same
/// answer as the request. It allows the methods of all routes, or the page may not even send the
/// request.
///
/// Without the origin in the response, a browser does not send it. The list of methods is not
/// enough, because browsers do not look for `POST` in it.
pub(in crate::http) async fn check_preflight(
    State((app, methods)): State<(SharedApp, HeaderValue)>,
    request: Request,
    next: Next,
) -> Response {
    let requested = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let requested = requested.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    if request.method() != Method::OPTIONS || !requested.is_some_and(|method| origin_check::is_change(&method)) {
        return next.run(request).await;
    }
    let may_change = app.may_change(app.sender(request.headers()));
    let mut response = next.run(request).await;
    if may_change {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    } else {
        response.headers_mut().remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    }
    response
}
