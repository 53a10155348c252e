//! HTTP requests to one node, without retries.

use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;

use super::ClientError;
use super::TrustedAuthorities;
use super::credential_store::CredentialStore;
use super::request::{Idempotency, NodeResponse, RawResponse, RequestOptions, read_response};
use super::response_kind::{self, ResponseKind};
use rollcall_core::api::{Cluster, Health};

/// Timeout of a TCP connection attempt. After it, the client tries another node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of the requests for a node's health and for its view of the cluster.
pub(super) const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// HTTP client for single requests to any node. It does not search for the leader.
#[derive(Clone)]
pub(super) struct NodeClient {
    http: reqwest::Client,
    pub(super) credentials: Arc<CredentialStore>,
}

impl NodeClient {
    /// A client without credentials.
    ///
    /// # Errors
    /// [`ClientError::Setup`] if TLS cannot be set up.
    pub(super) fn new(authorities: &TrustedAuthorities) -> Result<Self, ClientError> {
        // reqwest needs a process-wide TLS provider even for plain HTTP. An error means that one
        // exists already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                // A proxy would answer instead of a dead node. Nodes name the leader in a 403, so
                // the client follows no redirect.
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
        };
        let http = match authorities.of_file() {
            Some(certificates) => builder().tls_certs_only(certificates.iter().cloned()).build(),
            // A machine without root certificates can still use plain HTTP.
            None => builder().build().or_else(|_| builder().tls_certs_only([]).build()),
        };
        let http = http.map_err(ClientError::Setup)?;
        Ok(Self { http, credentials: Arc::default() })
    }

    /// Health of the node at `base`.
    pub(super) async fn health(&self, base: &str) -> Result<Health, ClientError> {
        self.get(base, "/").await?.parse()
    }

    /// All nodes, as the node at `base` knows them.
    pub(super) async fn cluster(&self, base: &str) -> Result<Cluster, ClientError> {
        self.get(base, "/cluster").await?.parse()
    }

    /// Sends a GET request with a small response and without credentials.
    async fn get(&self, base: &str, path: &str) -> Result<NodeResponse, ClientError> {
        let options = RequestOptions::new(Idempotency::Idempotent).timeout(HEALTH_TIMEOUT);
        self.send(base, options, |http, base| http.get(format!("{base}{path}"))).await
    }

    /// Sends one request to the node at `base`, and reads the response.
    ///
    /// # Errors
    /// Each response that is not a success, and each failure of the network.
    pub(super) async fn send(
        &self,
        base: &str,
        options: RequestOptions,
        request: impl Fn(&reqwest::Client, &str) -> RequestBuilder,
    ) -> Result<NodeResponse, ClientError> {
        let mut request = request(&self.http, base).timeout(options.timeout);
        if let Some(token) = self.credentials.token().filter(|_| options.is_authenticated) {
            request = request.bearer_auth(token.reveal());
        }
        let response = read_response(base, options.max_bytes, request.send().await).await?;
        let RawResponse { status, retry_after, body } = response;
        match response_kind::classify(status, retry_after, &body) {
            ResponseKind::Success => Ok(NodeResponse { base: base.to_owned(), status, body }),
            kind => Err(kind.into_error(base)),
        }
    }
}
