//! Headers on every response: the leader, the term, and the request id.
//!
//! The same layer logs a failed request, once, because it knows both the request and the response.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::{error, warn};

use crate::http::app::SharedApp;
use crate::http::body;
use crate::http::error::{ApiError, InternalCause};
use crate::http::limits::MAX_REQUEST_ID_BYTES;
use rollcall_core::clock;
use rollcall_core::{BootMs, Term};
use rollcall_election::{Leader, Role};

const LEADER: HeaderName = HeaderName::from_static("rollcall-leader");
const LEADER_URL: HeaderName = HeaderName::from_static("rollcall-leader-url");
const TERM: HeaderName = HeaderName::from_static("rollcall-term");
/// Header with the id of a request, in requests and responses.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers on every response.
pub(in crate::http) const HEADERS: [HeaderName; 4] = [LEADER, LEADER_URL, TERM, REQUEST_ID];

/// The reason why all requests on a connection are rejected. `server.rs` attaches it to them as an
/// extension.
#[derive(Clone, Debug)]
pub(in crate::http) enum RejectedConnection {
    /// It is beyond the connection limit.
    OverLimit,
    /// It speaks plain HTTP, and this node has TLS. The value is the https URL of the node.
    PlainHttp(Arc<str>),
}

/// Adds [`HEADERS`] to responses.
#[derive(Clone)]
pub(in crate::http) struct ResponseHeaders {
    app: SharedApp,
    ids: Arc<RequestIdGenerator>,
    /// Additional headers for every response.
    defaults: HeaderMap,
    /// The headers that were prepared last. They change only with the leader or the term.
    last: Arc<Mutex<Option<PreparedHeaders>>>,
}

/// The headers of every response while one leader leads one term, with an empty request id.
struct PreparedHeaders {
    term: Term,
    leader: Option<Leader>,
    headers: HeaderMap,
}

impl ResponseHeaders {
    pub(in crate::http) fn new(app: &SharedApp) -> Self {
        Self {
            app: Arc::clone(app),
            ids: Arc::new(RequestIdGenerator::new()),
            defaults: HeaderMap::new(),
            last: Arc::default(),
        }
    }

    /// Returns a copy that also adds `defaults`. If a response already has one of these headers,
    /// the response keeps its own.
    pub(in crate::http) fn with_defaults(&self, defaults: HeaderMap) -> Self {
        Self { defaults, last: Arc::default(), ..self.clone() }
    }

    /// Answers a request and adds the headers to the response. A request on a
    /// [`RejectedConnection`] is rejected.
    pub(in crate::http) async fn respond_with_headers<B, F>(
        &self,
        request: axum::http::Request<B>,
        respond: impl FnOnce(axum::http::Request<B>) -> F,
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Unpin,
        F: Future<Output = Response>,
    {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let id = self.request_id(request.headers());
        let mut response = if let Some(rejected) = request.extensions().get().cloned() {
            body::discard(request).await;
            match rejected {
                RejectedConnection::OverLimit => ApiError::TooManyConnections.into_response(),
                RejectedConnection::PlainHttp(url) => ApiError::HttpsRequired(url).into_response(),
            }
        } else {
            // A panic in a handler fails its own request only.
            match AssertUnwindSafe(respond(request)).catch_unwind().await {
                Ok(response) => response,
                Err(_) => ApiError::Internal("a handler panicked; the panic message is earlier in this log".to_owned())
                    .into_response(),
            }
        };
        if let Some(cause) = response.extensions_mut().remove() {
            log_failure(&cause, response.status(), &id, &method, &uri);
        }
        self.add_to(response.headers_mut(), id);
        response
    }

    /// The headers of a response, if this node serves in `term` at this moment.
    pub(in crate::http) fn headers_if_serving(&self, term: Term, request_headers: &HeaderMap) -> Option<HeaderMap> {
        let role = self.app.cluster.role.borrow();
        // The clock is read after the role; see `App::serving_term`.
        let now = clock::boot_now();
        if role.term != term || !role.is_serving(now) {
            return None;
        }
        let mut headers = self.prepare(&role, now);
        drop(role);
        headers.insert(REQUEST_ID, self.request_id(request_headers));
        Some(headers)
    }

    /// The client's own request id if it is valid, else a new one.
    fn request_id(&self, request_headers: &HeaderMap) -> HeaderValue {
        request_headers.get(REQUEST_ID).filter(|id| is_valid_request_id(id)).cloned().unwrap_or_else(|| self.ids.next())
    }

    fn add_to(&self, headers: &mut HeaderMap, request_id: HeaderValue) {
        let mut all = self.current();
        all.extend(headers.drain());
        all.insert(REQUEST_ID, request_id);
        *headers = all;
    }

    /// The headers for the current leader, with an empty request id.
    fn current(&self) -> HeaderMap {
        let role = self.app.cluster.role.borrow();
        self.prepare(&role, clock::boot_now())
    }

    fn prepare(&self, role: &Role, now: BootMs) -> HeaderMap {
        let leader = self.app.known_leader(role, now);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if last.term == role.term && last.leader.as_ref() == leader => last.headers.clone(),
            Some(_) | None => last.insert(PreparedHeaders::new(role.term, leader, &self.defaults)).headers.clone(),
        }
    }
}

impl PreparedHeaders {
    fn new(term: Term, leader: Option<&Leader>, defaults: &HeaderMap) -> Self {
        let mut headers = defaults.clone();
        headers.insert(TERM, HeaderValue::from(term.0));
        headers.insert(REQUEST_ID, HeaderValue::from_static(""));
        if let Some(leader) = leader {
            headers.insert(LEADER, HeaderValue::try_from(leader.node.to_string()).expect("an IP address and a port"));
            HeaderValue::try_from(&leader.api_url).ok().map(|api_url| headers.insert(LEADER_URL, api_url));
        }
        Self { term, leader: leader.cloned(), headers }
    }
}

/// Logs the cause that the client does not see. A 503 is a warning, because an election or an
/// outage is temporary. Any other failure is a defect.
fn log_failure(InternalCause(cause): &InternalCause, status: StatusCode, id: &HeaderValue, method: &Method, uri: &Uri) {
    let (request_id, path) = (id.to_str().unwrap_or_default(), uri.path());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        warn!(request_id, %status, %method, path, cause, "request failed");
    } else {
        error!(request_id, %status, %method, path, cause, "request failed");
    }
}

/// The outermost layer of the router.
pub(in crate::http) async fn add_headers(
    State(headers): State<ResponseHeaders>,
    request: Request,
    next: Next,
) -> Response {
    headers.respond_with_headers(request, |request| next.run(request)).await
}

/// Generates an id for a request without an id: a random number per process, and a counter. The ids
/// tell requests apart. They need not be secret.
struct RequestIdGenerator {
    process: u64,
    count: AtomicU64,
}

impl RequestIdGenerator {
    #[expect(clippy::disallowed_methods, reason = "request ids are generated at the edge of the program")]
    fn new() -> Self {
        let (process, _) = uuid::Uuid::new_v4().as_u64_pair();
        Self { process, count: AtomicU64::new(0) }
    }

    fn next(&self) -> HeaderValue {
        let id = uuid::Uuid::from_u64_pair(self.process, self.count.fetch_add(1, Ordering::Relaxed));
        let mut text = [0; uuid::fmt::Simple::LENGTH];
        HeaderValue::from_str(id.simple().encode_lower(&mut text)).expect("hex digits")
    }
}

fn is_valid_request_id(id: &HeaderValue) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;

    use super::*;
    use crate::http::testing::{TestNode, leading, request};

    async fn panics() {
        panic!("a panic for this test");
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_fails_its_own_request_only() {
        let mut node = TestNode::new(leading());
        let layer = from_fn_with_state(ResponseHeaders::new(&node.app), add_headers);
        node.router = Router::new().route("/panics", get(panics)).route("/", get(|| async {})).layer(layer);
        let answer = node.send(request("GET", "/panics", "")).await;
        assert!(!answer.expect_error(500, "internal").contains("a panic for this test"));
        assert_eq!(answer.header("rollcall-term"), Some("7"));
        assert_eq!(node.get("/").await.status, 200);
    }

    #[test]
    fn only_a_valid_request_id_is_accepted_from_a_client() {
        let is_valid = |id: &str| is_valid_request_id(&HeaderValue::from_str(id).unwrap());
        assert!(is_valid("a-B_9.z") && is_valid(&"x".repeat(64)));
        assert!(!is_valid("") && !is_valid("a b") && !is_valid("a\"b") && !is_valid(&"x".repeat(65)));
        assert!(is_valid_request_id(&RequestIdGenerator::new().next()));
    }
}
