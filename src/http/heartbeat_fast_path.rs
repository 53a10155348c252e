//! Fast path for heartbeats, which bypasses the router. Heartbeats are by far the most frequent
//! requests.
//!
//! The fast path takes plain heartbeats only. A request with another method or a query, and a
//! request of a web page, goes to the router. A heartbeat whose body has already arrived, and that
//! can be accepted, is accepted synchronously. Every other heartbeat passes through the same
//! functions as in the router, in the same order. So both paths give the same response.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Frame, SizeHint};
use tower::{Layer, ServiceExt, service_fn};

use super::app::SharedApp;
use super::credentials::Authorization;
use super::json::APPLICATION_JSON;
use super::json_body::JsonBody;
use super::layers::response_headers::ResponseHeaders;
use super::layers::{cors, request_timeout};
use super::leader_gate::{self, LeaderOnly};
use super::limits::MAX_JSON_BYTES;
use super::origin_policy::SEC_FETCH_SITE;
use super::params::ClientAddr;
use super::pool_client::{DisplacedConnection, PoolClient};
use super::routes::presence;

/// The path of a heartbeat.
const PATH: &str = "/heartbeat";

/// The fast path for heartbeats.
pub(super) struct HeartbeatFastPath {
    app: SharedApp,
    headers: ResponseHeaders,
    /// Headers of a response that accepts a heartbeat.
    accepted_headers: ResponseHeaders,
}

/// Response body: one buffer on the fast path, the body of an axum response on the slow path.
pub(super) type FastPathBody = Either<Full<Bytes>, Body>;

/// The first result of reading a body: a frame, an error, or `None` at its end.
type FirstFrame = Option<Result<Frame<Bytes>, BoxError>>;

/// A request body whose first frame was read and put back.
struct ResumedBody<B> {
    first: Option<FirstFrame>,
    rest: B,
}

impl HeartbeatFastPath {
    /// Creates the fast path. `headers`: the response headers of the router.
    pub(super) fn new(app: SharedApp, headers: &ResponseHeaders) -> Self {
        let mut defaults = cors_headers(&app);
        let headers = headers.with_defaults(defaults.clone());
        defaults.insert(header::CONTENT_TYPE, APPLICATION_JSON);
        let accepted_headers = headers.with_defaults(defaults);
        Self { app, headers, accepted_headers }
    }

    /// Whether a request is a plain heartbeat, which the fast path may take.
    pub(super) fn handles<B>(request: &Request<B>) -> bool {
        let path = request.uri().path_and_query().map(axum::http::uri::PathAndQuery::as_str);
        let is_from_page =
            |headers: &HeaderMap| headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
        request.method() == Method::POST && path == Some(PATH) && !is_from_page(request.headers())
    }

    /// Answers a plain heartbeat.
    pub(super) async fn call<B>(
        &self,
        client: ClientAddr,
        connection: &DisplacedConnection,
        mut request: Request<B>,
    ) -> axum::http::Response<FastPathBody>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        match self.try_accept(client, &mut request) {
            Ok(accepted) => accepted.map(Either::Left),
            // A future has the size of its largest state. The rare slow path is boxed, so that it
            // does not enlarge this future.
            Err(first) => {
                let client = PoolClient { addr: client, connection: connection.clone() };
                Box::pin(self.call_slow_path(client, request, first)).await.map(Either::Right)
            }
        }
    }

    /// Accepts a heartbeat without waiting. That is possible if this node serves, the body has
    /// arrived, and the credentials can be checked in memory.
    ///
    /// # Errors
    /// The first frame of the body, if it was read, for [`Self::call_slow_path`]. The slow path
    /// finds the reason.
    fn try_accept<B>(
        &self,
        client: ClientAddr,
        request: &mut Request<B>,
    ) -> Result<axum::http::Response<Full<Bytes>>, Option<FirstFrame>>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let _in_flight = self.app.in_flight.token();
        let (term, now) = leader_gate::try_leader_term(&self.app).ok_or(None::<FirstFrame>)?;
        let first = match request.body_mut().frame().now_or_never() {
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Err(Some(Some(Ok(trailers)))),
            },
            Some(other) => return Err(Some(other.map(|end| end.map_err(Into::into)))),
            None => return Err(None),
        };
        let put_back = |first| Some(Some(Ok(Frame::data(first))));
        if !request.body().is_end_stream() || first.len() > MAX_JSON_BYTES {
            return Err(put_back(first));
        }
        let body = JsonBody::from_bytes(first);
        let accept = || presence::try_heartbeat(&self.app, client, now, request.headers(), &body);
        let accepted = catch_unwind(AssertUnwindSafe(accept));
        // After a panic, the slow path runs the same code, panics again and reports the panic.
        let Ok(Some(accepted)) = accepted else { return Err(put_back(body.into_bytes())) };
        // The same check as after every request of a leader: the same term must still serve.
        let Some(headers) = self.accepted_headers.headers_if_serving(term, request.headers()) else {
            return Err(put_back(body.into_bytes()));
        };
        let mut response = axum::http::Response::new(Full::from(accepted));
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Answers a heartbeat with the same steps as the router.
    async fn call_slow_path<B>(&self, client: PoolClient, request: Request<B>, first: Option<FirstFrame>) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let request = request.map(|rest| ResumedBody { first, rest });
        let heartbeat = |leader, request| self.heartbeat(leader, client, request);
        let respond = |request| {
            request_timeout::with_timeout(Duration::ZERO, leader_gate::run_as_leader(&self.app, request, heartbeat))
        };
        self.headers.respond_with_headers(request, respond).await
    }

    async fn heartbeat<B>(&self, leader: LeaderOnly, client: PoolClient, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let authorization = Authorization::from_headers(request.headers());
        match JsonBody::read(request).await {
            Ok(body) => {
                let app = State(SharedApp::clone(&self.app));
                presence::heartbeat(leader, app, client, authorization, body).await.into_response()
            }
            Err(error) => error.into_response(),
        }
    }
}

impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin> HttpBody for ResumedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FirstFrame> {
        let this = self.get_mut();
        match this.first.take() {
            Some(first) => Poll::Ready(first),
            None => Pin::new(&mut this.rest).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first_bytes = match &self.first {
            Some(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len) as u64,
            _ => 0,
        };
        let rest = self.rest.size_hint();
        let mut total = SizeHint::new();
        total.set_lower(rest.lower().saturating_add(first_bytes));
        if let Some(upper) = rest.upper() {
            total.set_upper(upper.saturating_add(first_bytes));
        }
        total
    }
}

/// The headers that the router's CORS layer adds to a response for a request without `Origin`.
fn cors_headers(app: &SharedApp) -> HeaderMap {
    let layer = cors::layer(app);
    let empty_response =
        service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty())));
    let request = Request::builder().method(Method::POST).uri(PATH).body(Body::empty()).expect("a path and no body");
    let response =
        layer.layer(empty_response).oneshot(request).now_or_never().expect("the layer and this service never wait");
    response.map_or_else(|never| match never {}, |response| response.into_parts().0.headers)
}

#[cfg(test)]
mod tests;
