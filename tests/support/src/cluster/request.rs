//! Requests to nodes.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::multipart::{Form, Part};
use reqwest::{Certificate, Method, RequestBuilder};
use tokio::time::{Instant, sleep};

use super::{Cluster, POLL_INTERVAL, Response, SOON};
use crate::certificates::TestAuthority;

/// Longest time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client without redirects, proxies and connection reuse. So a test sees the response to
/// exactly one request.
pub fn http_client() -> reqwest::Client {
    client(None, None)
}

/// Like [`http_client`], for nodes whose certificates this authority has issued.
pub fn https_client(authority: &TestAuthority) -> reqwest::Client {
    client(None, Some(authority))
}

/// Like [`http_client`], at this address of this machine.
pub fn http_client_from(address: IpAddr) -> reqwest::Client {
    client(Some(address), None)
}

fn client(address: Option<IpAddr>, authority: Option<&TestAuthority>) -> reqwest::Client {
    // The call fails only if another test has installed the provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = authority.map(|authority| Certificate::from_pem(authority.cert.as_bytes()).expect("a certificate"));
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .local_address(address)
        .tls_certs_only(trusted)
        .timeout(REQUEST_TIMEOUT)
        .build()
        .expect("it needs no file and no network")
}

/// A request with a target and headers, but without a method and a path.
pub struct Request<'a> {
    cluster: &'a Cluster,
    /// `None` for the leader.
    node: Option<usize>,
    headers: HeaderMap,
}

impl<'a> Request<'a> {
    pub(super) fn new(cluster: &'a Cluster, node: Option<usize>) -> Self {
        Self { cluster, node, headers: HeaderMap::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header's value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Sends a GET request.
    pub async fn get(self, path: &str) -> Response {
        self.send(Method::GET, path, |request| request).await
    }

    /// Sends a HEAD request.
    pub async fn head(self, path: &str) -> Response {
        self.send(Method::HEAD, path, |request| request).await
    }

    /// Sends a DELETE request.
    pub async fn delete(self, path: &str) -> Response {
        self.send(Method::DELETE, path, |request| request).await
    }

    /// Sends a POST request. It has no Content-Type unless the test has set one.
    pub async fn post(self, path: &str, body: impl Into<bytes::Bytes>) -> Response {
        let body = body.into();
        self.send(Method::POST, path, |request| request.body(body.clone())).await
    }

    /// Uploads an image in the field `image` of a form.
    pub async fn upload(self, username: &str, picture: &[u8]) -> Response {
        self.upload_as(username, "image", picture).await
    }

    /// Uploads an image in this field of a form.
    pub async fn upload_as(self, username: &str, field: &'static str, picture: &[u8]) -> Response {
        let path = format!("/upload_image/{username}");
        let form = || Form::new().part(field, Part::bytes(picture.to_vec()).file_name("picture"));
        self.send(Method::POST, &path, |request| request.multipart(form())).await
    }

    async fn send(self, method: Method, path: &str, build: impl Fn(RequestBuilder) -> RequestBuilder) -> Response {
        if let Some(node) = self.node {
            return self
                .send_once(node, method, path, &build)
                .await
                .unwrap_or_else(|error| panic!("{path}: {error:?}"));
        }
        let deadline = Instant::now() + SOON;
        loop {
            let leader = self.cluster.leader().await;
            let answer = self.send_once(leader, method.clone(), path, &build).await;
            // On a busy machine, the leader may change between the check and the request.
            let is_retryable = match &answer {
                Ok(answer) => matches!(answer.code().as_deref(), Some("not_leader" | "no_leader")),
                Err(_) => true,
            };
            if !is_retryable || Instant::now() > deadline {
                return answer.unwrap_or_else(|error| panic!("{path}: {error:?}"));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn send_once(
        &self,
        node: usize,
        method: Method,
        path: &str,
        build: &impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> reqwest::Result<Response> {
        let url = format!("{}{path}", self.cluster.url(node));
        let request = self.cluster.http.request(method, url).headers(self.headers.clone());
        Response::read(build(request).send().await?).await
    }
}
