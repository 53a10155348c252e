//! The whole API: the router, and the fast path beside it.

use std::sync::Arc;

use axum::Router;

use super::app::App;
use super::heartbeat_fast_path::HeartbeatFastPath;
use super::layers::response_headers::ResponseHeaders;
use super::routes::routes;

/// The whole API.
pub struct Api {
    /// The remote address must be attached to each request.
    pub(super) router: Router,
    /// The short way for what is asked most; none for a router that is no API.
    pub(super) fast_path: Option<HeartbeatFastPath>,
}

/// The whole API, for [`super::serve()`].
#[must_use]
pub fn api(app: App) -> Api {
    let app = Arc::new(app);
    let headers = ResponseHeaders::new(&app);
    Api { router: routes(Arc::clone(&app), &headers), fast_path: Some(HeartbeatFastPath::new(app, &headers)) }
}
