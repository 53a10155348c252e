//! HTTP transport under the crate `object_store`: bounded bodies, and typed failures.
//!
//! It reads a response whole before the crate sees it. So every limit and every rule about
//! responses is here: no plain http to other hosts, no redirects, error bodies up to
//! [`MAX_ERROR_BYTES`], and listings that are listings. The crate passes a failure on as the source
//! of its own error, where [`HttpFailure::find`] finds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use reqwest::{Client, Response, Url, redirect};

use super::super::error_text::{error_chain, one_line};
use super::super::{BackendError, MAX_OBJECT_BYTES};
use super::config::{ConnectionConfig, CredentialVariables, HostReach};
use super::http_failure::{HttpFailure, Responder, StatusFailure};
use super::listing::ListingFormat;
use super::secrets::Secrets;

/// Longest part of an error response that is read, in bytes.
const MAX_ERROR_BYTES: usize = 4096;

/// Longest time to connect to a credentials service of this host or cloud. On other machines its
/// address does not answer.
const LOCAL_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time to connect to a store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Marks the request of a listing, as an extension of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListingRequest;

/// Transport of one store.
#[derive(Clone, Debug)]
pub(super) struct HttpTransport {
    /// Client for other hosts. The proxy variables of the environment apply.
    remote: Client,
    /// Client for loopback and link-local addresses. Proxies do not apply.
    local: Client,
    /// URL of the store. Requests to other hosts are for credentials.
    store: Url,
    /// Whether plain http may go to other hosts.
    allow_http: bool,
    /// Values that an error response may repeat.
    credentials: CredentialVariables,
    listing_format: &'static ListingFormat,
    /// Whether the log has a warning about names that are left out of listings.
    has_warned: Arc<AtomicBool>,
}

impl HttpTransport {
    /// Reads the certificates in `ca_file`, and creates the clients.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if the file or the URL is invalid.
    pub(super) fn new(
        store: &str,
        connection: &ConnectionConfig,
        credentials: &CredentialVariables,
        listing_format: &'static ListingFormat,
    ) -> Result<Self, BackendError> {
        let store = Url::parse(store).map_err(|error| BackendError::Permanent(format!("{store:?}: {error}")))?;
        // Does nothing if the process has installed a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let refuse = |why: String| match &connection.ca_file {
            Some(path) => BackendError::Permanent(format!(
                "cannot use the storage_ca_file {}: {why}; it must hold certificates in PEM format",
                path.display()
            )),
            None => BackendError::Permanent(why),
        };
        let failed = |error: reqwest::Error| refuse(error_chain(&error));
        let mut certificates = Vec::new();
        if let Some(path) = &connection.ca_file {
            let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
            certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(failed)?;
            if certificates.is_empty() {
                return Err(refuse("it has no certificate".to_owned()));
            }
        }
        // A store never redirects without a reason that the operator must know, such as another
        // region. A redirect of a proxy must not get a signed request.
        let client = || {
            Client::builder()
                .redirect(redirect::Policy::none())
                .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
                .tls_certs_merge(certificates.clone())
        };
        Ok(Self {
            remote: client().connect_timeout(CONNECT_TIMEOUT).build().map_err(failed)?,
            local: client().connect_timeout(LOCAL_CONNECT_TIMEOUT).no_proxy().build().map_err(failed)?,
            store,
            allow_http: connection.allow_http,
            credentials: credentials.clone(),
            listing_format,
            has_warned: Arc::default(),
        })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|error| HttpFailure::NotSent(format!("the URL of a request is invalid: {error}")))?;
        let responder = self.responder(&url);
        let reach = HostReach::of(url.host_str().unwrap_or_default());
        let is_safe = match reach {
            HostReach::Loopback => true,
            // Clouds serve credentials on the own link of a machine, over http.
            HostReach::Link => responder != Responder::Store,
            HostReach::Remote => false,
        };
        if url.scheme() != "https" && !is_safe && !self.allow_http {
            let host = url.host_str().unwrap_or_default();
            return Err(HttpFailure::NotSent(format!(
                "plain http to {host} is not allowed, because others could read and change the data; use https, or set \
                 storage_allow_http to true"
            )));
        }
        let body = body.collect().await.map_err(|error| HttpFailure::NotSent(error_chain(&error)))?.to_bytes();
        let secrets = Secrets::of_request(&self.credentials, &parts.headers, &url, &body);
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(body.into());
        let client = if reach == HostReach::Remote { &self.remote } else { &self.local };
        let lost =
            |error: reqwest::Error| HttpFailure::NoResponse(responder.clone(), error_chain(&error.without_url()));
        let mut response = client.execute(request).await.map_err(lost)?;
        if !response.status().is_success() {
            let (body, _) = read_body(&mut response, MAX_ERROR_BYTES).await.map_err(lost)?;
            let failure = StatusFailure::new(response.status().as_u16(), response.headers(), &body, &secrets);
            return Err(HttpFailure::Status(responder, failure));
        }
        if response.content_length().is_some_and(|length| length > MAX_OBJECT_BYTES as u64) {
            return Err(HttpFailure::TooLarge);
        }
        let (body, is_whole) = read_body(&mut response, MAX_OBJECT_BYTES).await.map_err(lost)?;
        if !is_whole {
            return Err(HttpFailure::TooLarge);
        }
        let body = if parts.extensions.get::<ListingRequest>().is_some() { self.listing(body)? } else { body };
        let mut whole = HttpResponse::new(body.into());
        *whole.status_mut() = response.status();
        *whole.headers_mut() = std::mem::take(response.headers_mut());
        Ok(whole)
    }

    /// The program at the other end of a request.
    fn responder(&self, url: &Url) -> Responder {
        let is_store = url.host_str() == self.store.host_str()
            && url.port_or_known_default() == self.store.port_or_known_default();
        if is_store {
            Responder::Store
        } else {
            Responder::CredentialsService(url.host_str().unwrap_or_default().to_owned())
        }
    }

    /// Checks a listing, and leaves out objects of other programs that the crate cannot name.
    fn listing(&self, body: Bytes) -> Result<Bytes, HttpFailure> {
        let text = String::from_utf8_lossy(&body);
        self.listing_format.check(&text)?;
        let Some(reduced) = self.listing_format.without_unnameable(&text) else { return Ok(body) };
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let name = format!("{:?}", one_line(&reduced.left_out));
            tracing::warn!(%name, "an object that is not from Rollcall is ignored, and so are others like it");
        }
        Ok(reduced.xml.into())
    }
}

#[async_trait]
impl HttpService for HttpTransport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Boxed, because this future is large.
        let result = Box::pin(self.send(request)).await;
        // Of this kind, the crate never repeats a request.
        result.map_err(|failure| HttpError::new(HttpErrorKind::Unknown, failure))
    }
}

impl HttpConnector for HttpTransport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// Reads a body up to a limit. `false` if there is more.
async fn read_body(response: &mut Response, limit: usize) -> Result<(Bytes, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            body.truncate(limit);
            return Ok((body.into(), false));
        }
    }
    Ok((body.into(), true))
}
