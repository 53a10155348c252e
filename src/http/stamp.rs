//! What every answer carries: who leads, in which term, and the id of the request. It is also the place where a failure
//! is logged, once, since it knows both the request and the answer.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::{error, warn};

use super::app::Shared;
use super::body;
use super::error::{ApiError, Cause};
use crate::clock;
use crate::domain::Term;
use crate::election::Leader;

const LEADER: HeaderName = HeaderName::from_static("rollcall-leader");
const LEADER_URL: HeaderName = HeaderName::from_static("rollcall-leader-url");
const TERM: HeaderName = HeaderName::from_static("rollcall-term");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers that are on every answer.
pub(super) const HEADERS: [HeaderName; 4] = [LEADER, LEADER_URL, TERM, REQUEST_ID];

/// The longest id that is taken over from a client.
const MAX_REQUEST_ID: usize = 64;

/// Marks the requests of a connection that is one too many. The driver of the sockets attaches it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overloaded;

/// The state of the layer.
#[derive(Clone)]
pub(super) struct Stamp {
    app: Shared,
    /// The last leader's headers: they change with the leader, not with each request.
    last: Arc<Mutex<Option<LeaderHeaders>>>,
}

#[derive(Clone)]
struct LeaderHeaders {
    of: Leader,
    node: HeaderValue,
    api_url: Option<HeaderValue>,
}

impl Stamp {
    pub(super) fn new(app: &Shared) -> Self {
        Self { app: Arc::clone(app), last: Arc::default() }
    }

    fn put(&self, headers: &mut HeaderMap, request_id: HeaderValue) {
        let (term, leader) = self.leader();
        headers.insert(TERM, HeaderValue::from(term.0));
        headers.insert(REQUEST_ID, request_id);
        if let Some(leader) = leader {
            headers.insert(LEADER, leader.node);
            leader.api_url.map(|api_url| headers.insert(LEADER_URL, api_url));
        }
    }

    fn leader(&self) -> (Term, Option<LeaderHeaders>) {
        let role = self.app.role.borrow();
        let Some(leader) = self.app.leader(&role, clock::boot_now()) else { return (role.term, None) };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let headers = match &*last {
            Some(headers) if headers.of == *leader => headers.clone(),
            Some(_) | None => last.insert(LeaderHeaders::new(leader)).clone(),
        };
        (role.term, Some(headers))
    }
}

impl LeaderHeaders {
    fn new(leader: &Leader) -> Self {
        let node = HeaderValue::try_from(leader.node.to_string()).expect("an IP address and a port");
        Self { of: leader.clone(), node, api_url: HeaderValue::try_from(&leader.api_url).ok() }
    }
}

/// The outermost layer.
pub(super) async fn stamp(State(stamp): State<Stamp>, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let id = request.headers().get(REQUEST_ID).filter(|id| is_sane(id)).cloned().unwrap_or_else(draw_request_id);
    let mut response = if request.extensions().get::<Overloaded>().is_some() {
        body::discard(request).await;
        ApiError::TooManyConnections.into_response()
    } else {
        // A handler that panics costs its own request only.
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => ApiError::Internal("a handler panicked; the message is above".to_owned()).into_response(),
        }
    };
    if let Some(Cause(cause)) = response.extensions_mut().remove() {
        let (status, id) = (response.status(), id.to_str().unwrap_or_default());
        // An election or an outage passes; anything else is a defect that somebody should look at.
        if status == StatusCode::SERVICE_UNAVAILABLE {
            warn!(request = id, %status, "{method} {} failed: {cause}", uri.path());
        } else {
            error!(request = id, %status, "{method} {} failed: {cause}", uri.path());
        }
    }
    stamp.put(response.headers_mut(), id);
    response
}

fn is_sane(id: &HeaderValue) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(allowed)
}

#[expect(clippy::disallowed_methods, reason = "this is the edge at which ids of requests are drawn")]
fn draw_request_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Simple::LENGTH];
    let id = uuid::Uuid::new_v4().simple().encode_lower(&mut text);
    HeaderValue::from_str(id).expect("hex digits")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;

    use super::super::testing::{Node, leading, request};
    use super::*;

    async fn panics() {
        panic!("as this test wants it");
    }

    #[tokio::test]
    async fn a_handler_that_panics_costs_its_own_request_only() {
        let mut node = Node::new(leading());
        let layer = from_fn_with_state(Stamp::new(&node.app), stamp);
        node.router = Router::new().route("/panics", get(panics)).route("/", get(|| async {})).layer(layer);
        let answer = node.send(request("GET", "/panics", "")).await;
        assert!(!answer.refused(500, "internal").contains("as this test wants it"));
        assert_eq!(answer.header("rollcall-term"), Some("7"));
        assert_eq!(node.get("/").await.status, 200);
    }

    #[test]
    fn only_a_sane_id_is_taken_over_from_a_client() {
        let sane = |id: &str| is_sane(&HeaderValue::from_str(id).unwrap());
        assert!(sane("a-B_9.z") && sane(&"x".repeat(64)));
        assert!(!sane("") && !sane("a b") && !sane("a\"b") && !sane(&"x".repeat(65)));
        assert!(is_sane(&draw_request_id()));
    }
}
