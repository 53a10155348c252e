//! TLS of the API as connections use it.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

/// TLS of the API. Clones share the current certificate.
#[derive(Clone, Debug)]
pub struct ApiTls {
    /// The configuration with the current certificate. `CertificateReload` replaces it.
    config: watch::Receiver<Arc<ServerConfig>>,
    /// Base URL of this node's API, for clients that speak plain HTTP.
    url: Arc<str>,
}

impl ApiTls {
    pub(super) fn new(config: watch::Receiver<Arc<ServerConfig>>, url: &str) -> Self {
        Self { config, url: url.into() }
    }

    /// The configuration for a new connection.
    pub(in crate::http) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.borrow())
    }

    /// The https URL for clients that speak plain HTTP.
    pub(in crate::http) fn url(&self) -> Arc<str> {
        Arc::clone(&self.url)
    }
}
