//! The HTTP API as one service: the router, and the fast path for heartbeats beside it.

use std::sync::Arc;

use axum::Router;

use super::app::App;
use super::heartbeat_fast_path::HeartbeatFastPath;
use super::layers::response_headers::ResponseHeaders;
use super::routes::router;

/// The HTTP API, ready to be served by [`super::serve()`].
pub struct ApiService {
    /// All routes. Each request must carry its remote address as an extension.
    pub(super) router: Router,
    /// Answers plain heartbeats without the router. `None` in tests of the connection driver that
    /// use a router of their own.
    pub(super) fast_path: Option<HeartbeatFastPath>,
}

impl ApiService {
    /// Builds the API on top of the given application state.
    #[must_use]
    pub fn new(app: App) -> Self {
        let app = Arc::new(app);
        let headers = ResponseHeaders::new(&app);
        Self { router: router(Arc::clone(&app), &headers), fast_path: Some(HeartbeatFastPath::new(app, &headers)) }
    }
}
