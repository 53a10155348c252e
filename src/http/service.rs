//! The HTTP API as one service: the router, and the fast path for heartbeats beside it.

use std::sync::Arc;

use axum::Router;

use super::app::App;
use super::heartbeat_fast_path::HeartbeatFastPath;
use super::layers::response_headers::ResponseHeaders;
use super::routes::router;
use super::tls::ApiTls;
use rollcall_core::TrustedProxies;

/// The HTTP API, ready to be served by [`super::serve()`].
pub struct ApiService {
    /// All routes. Each request must carry its client address as an extension.
    pub(super) router: Router,
    /// Answers heartbeats without the router if they can be accepted at once. `None` in tests of
    /// `server.rs` that use their own router.
    pub(super) fast_path: Option<HeartbeatFastPath>,
    /// Proxies that report the addresses of their clients.
    pub(super) proxies: TrustedProxies,
    /// TLS of the connections. `None` for plain HTTP.
    pub(super) tls: Option<ApiTls>,
}

impl ApiService {
    /// Builds the API for this application state.
    #[must_use]
    pub fn new(app: App, proxies: TrustedProxies, tls: Option<ApiTls>) -> Self {
        let app = Arc::new(app);
        let headers = ResponseHeaders::new(&app);
        let router = router(Arc::clone(&app), &headers);
        Self { router, fast_path: Some(HeartbeatFastPath::new(app, &headers)), proxies, tls }
    }
}
