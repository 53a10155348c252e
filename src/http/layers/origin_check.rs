//! Origin check: rejects requests of foreign web pages that would change something.
//!
//! A browser sends some requests for any page without asking the server first: for example forms,
//! and `POST` requests with a plain text body. CORS does not stop them.

use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::app::SharedApp;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::limits::MAX_QUOTED_CHARS;

/// Whether a request with this method may change something. It is `true` for each method of the
/// route table but `GET`, and for methods that no route has.
///
/// A `GET` that acts for a user must be added here.
pub(in crate::http) fn is_change(method: &Method) -> bool {
    !method.is_safe()
}

/// Middleware for all routes.
pub(in crate::http) async fn reject_foreign_changes(
    State(app): State<SharedApp>,
    request: Request,
    next: Next,
) -> Response {
    if !is_change(request.method()) || app.may_change(app.sender(request.headers())) {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()));
    let origin = origin.map(|origin| origin.chars().take(MAX_QUOTED_CHARS).collect());
    body::discard(request).await;
    ApiError::OriginNotAllowed(origin).into_response()
}
