//! TLS of the API: the certificate of this node with its key, and their reload from the files.

mod api_certificate;
mod certificate_reload;
mod certificate_warnings;

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

pub use api_certificate::{ApiCertificateError, ApiCertificateFiles};
pub use certificate_reload::CertificateReload;

/// TLS of the API. Clones share the current certificate.
#[derive(Clone, Debug)]
pub struct ApiTls {
    /// The configuration with the current certificate. [`CertificateReload`] replaces it.
    config: watch::Receiver<Arc<ServerConfig>>,
    /// Base URL of this node's API, for clients that speak plain HTTP.
    url: Arc<str>,
}

impl ApiTls {
    /// The configuration for a new connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.borrow())
    }

    /// The https URL for clients that speak plain HTTP.
    pub(super) fn url(&self) -> Arc<str> {
        Arc::clone(&self.url)
    }
}
