//! HTTP requests to one node, each sent once.

use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;

use super::ClientError;
use super::answer::{self, Verdict};
use super::ask::{Answer, Ask, Repeat, read};
use super::proof::Proof;
use rollcall_core::api::{Cluster, Health};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Client of any node. Knows no leader.
#[derive(Clone)]
pub(super) struct NodeClient {
    http: reqwest::Client,
    pub(super) proof: Arc<Proof>,
}

impl NodeClient {
    /// # Errors
    /// [`ClientError::Setup`] if TLS cannot be set up.
    pub(super) fn new() -> Result<Self, ClientError> {
        // reqwest asks for a process-wide provider even for plain http; an error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                // A proxy would answer in place of a node that is dead, and a redirect is the client's own business.
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
        };
        // A machine without root certificates can still speak plain http.
        let http = builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(ClientError::Setup)?;
        Ok(Self { http, proof: Arc::default() })
    }

    /// What the node at `base` says of itself.
    pub(super) async fn health(&self, base: &str) -> Result<Health, ClientError> {
        self.get(base, "/").await?.parse()
    }

    /// What the node at `base` knows of all nodes.
    pub(super) async fn cluster(&self, base: &str) -> Result<Cluster, ClientError> {
        self.get(base, "/cluster").await?.parse()
    }

    /// Asks for something that is small and needs no proof.
    async fn get(&self, base: &str, path: &str) -> Result<Answer, ClientError> {
        let ask = Ask::new(Repeat::Safe).timeout(HEALTH_TIMEOUT);
        self.send(base, ask, |http, base| http.get(format!("{base}{path}"))).await
    }

    pub(super) async fn send(
        &self,
        base: &str,
        ask: Ask,
        request: impl Fn(&reqwest::Client, &str) -> RequestBuilder,
    ) -> Result<Answer, ClientError> {
        let mut request = request(&self.http, base).timeout(ask.timeout);
        if let Some(token) = self.proof.token().filter(|_| ask.is_proven) {
            request = request.bearer_auth(token.reveal());
        }
        let (status, body) = read(base, ask.max_bytes, request.send().await).await?;
        match answer::judge(status, &body) {
            Verdict::Done => Ok(Answer { base: base.to_owned(), status, body }),
            verdict => Err(verdict.into_error(base)),
        }
    }
}
