//! Fault proxy: an HTTP/1.1 proxy between a client and the server of a store. It injects faults
//! into chosen requests. It knows no store: tests give it the answers of a store as bytes.
//!
//! The proxy listens on a free port of 127.0.0.1 until it is dropped. It must start within a tokio
//! runtime.

use std::future::{pending, ready};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::once;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::{Client, redirect};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A fault injected into one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// No fault: the request is counted and passes.
    Pass,
    /// The request does not reach the server and is never answered.
    Stall,
    /// The request waits for the notification, and then reaches the server.
    Hold(Arc<Notify>),
    /// The request reaches the server, and its response is lost: the client waits.
    StallResponse,
    /// The request does not reach the server, and the connection is closed.
    Cut,
    /// The request reaches the server, and the connection is closed instead of a response.
    CutResponse,
    /// The request reaches the server, and the connection is closed in the middle of the body of
    /// the response. Without a body, before the response.
    Truncate,
    /// The request does not reach the server. The proxy answers.
    Answer(Answer),
    /// The request reaches the server, and the proxy answers in its place.
    Replace(Answer),
    /// The request does not reach the server. The proxy sends the whole body of the answer, and
    /// never ends it.
    EndlessBody(Answer),
    /// One byte of the request's body is changed on the way to the server: the byte this far before
    /// the end.
    CorruptUpload(usize),
    /// One byte of the response's body is changed on the way to the client: the one in the middle.
    CorruptDownload,
    /// The first text is replaced by the second one in the response's body.
    ChangedText(&'static str, &'static str),
}

/// A response of the proxy itself.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    /// A response with a JSON body.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("content-type", "application/json".to_owned())], body: body.into() }
    }

    /// A response with a body of HTML, as proxies send it.
    pub fn html(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("content-type", "text/html".to_owned())], body: body.into() }
    }

    /// The same response with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A fault, and the requests into which it is injected. Without conditions: the next request.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<&'static str>,
    path: &'static str,
    query: &'static str,
    times: usize,
    fault: Fault,
}

impl Rule {
    /// The fault, for one request of any kind.
    pub fn once(fault: Fault) -> Self {
        Self { method: None, path: "", query: "", times: 1, fault }
    }

    /// The fault, for this many requests of any kind.
    pub fn times(times: usize, fault: Fault) -> Self {
        Self { times, ..Self::once(fault) }
    }

    /// The fault, for every request of any kind.
    pub fn always(fault: Fault) -> Self {
        Self::times(usize::MAX, fault)
    }

    /// Only for requests with this method.
    #[must_use]
    pub fn method(self, method: &'static str) -> Self {
        Self { method: Some(method), ..self }
    }

    /// Only for requests whose path contains this text.
    #[must_use]
    pub fn path(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// Only for requests whose query contains this text.
    #[must_use]
    pub fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    /// Whether the rule has no conditions.
    pub fn is_for_any_request(&self) -> bool {
        self.method.is_none() && self.path.is_empty() && self.query.is_empty()
    }

    fn matches(&self, request: &http::request::Parts) -> bool {
        self.times > 0
            && self.method.is_none_or(|method| request.method == method)
            && request.uri.path().contains(self.path)
            && request.uri.query().unwrap_or_default().contains(self.query)
    }
}

/// The proxy.
pub struct FaultProxy {
    addr: SocketAddr,
    state: Arc<State>,
    /// The task of the proxy. It ends with this value, and so do all connections.
    _server: JoinSet<()>,
}

struct State {
    /// URL of the server, without a trailing slash.
    upstream: String,
    client: Client,
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    injected: Vec<Rule>,
    outage_until: Option<Instant>,
    /// The head of each request so far.
    requests: Vec<http::request::Parts>,
}

impl FaultProxy {
    /// Starts a proxy in front of the server at this URL.
    pub fn start(upstream: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let listener = TcpListener::from_std(listener).expect("within a runtime");
        let addr = listener.local_addr().expect("it is bound");
        // Does nothing if another test has installed the provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build().expect("a client");
        let upstream = upstream.trim_end_matches('/').to_owned();
        let state = Arc::new(State { upstream, client, rules: Mutex::default() });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&state)));
        Self { addr, state, _server: server }
    }

    /// The URL of the proxy, which a client uses instead of the server's.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Injects a fault. Of several rules that match a request, the one injected first applies.
    pub fn inject(&self, rule: Rule) {
        lock(&self.state.rules).injected.push(rule);
    }

    /// Removes all faults.
    pub fn clear(&self) {
        lock(&self.state.rules).injected.clear();
    }

    /// Closes every connection without an answer for this long.
    pub fn start_outage(&self, duration: Duration) {
        lock(&self.state.rules).outage_until = Some(Instant::now() + duration);
    }

    /// The head of each request so far, with and without faults.
    pub fn requests(&self) -> Vec<http::request::Parts> {
        lock(&self.state.rules).requests.clone()
    }
}

impl Rules {
    /// Counts the request, and returns its fault.
    fn next_fault(&mut self, request: &http::request::Parts) -> Fault {
        self.requests.push(request.clone());
        if self.outage_until.is_some_and(|until| Instant::now() < until) {
            return Fault::Cut;
        }
        match self.injected.iter_mut().find(|rule| rule.matches(request)) {
            Some(rule) => {
                rule.times -= 1;
                rule.fault.clone()
            }
            None => Fault::Pass,
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| handle(request, &state));
    // A client that disconnects, or a connection closed by a fault, is no error of the proxy.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Error that makes the proxy close the connection.
#[derive(Debug, thiserror::Error)]
#[error("cut by the fault proxy")]
struct CutOff;

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, CutOff>;

async fn handle(request: Request<Incoming>, state: &State) -> Result<Response<Body>, CutOff> {
    let (parts, body) = request.into_parts();
    let fault = lock(&state.rules).next_fault(&parts);
    match fault {
        Fault::Stall => return pending().await,
        Fault::Hold(ref until) => until.notified().await,
        Fault::Cut => return Err(CutOff),
        Fault::Answer(answer) => {
            // The whole request is read, so that closing the connection does not lose the answer.
            let _ = body.collect().await;
            return Ok(complete(answer.into_response()));
        }
        Fault::EndlessBody(answer) => {
            let _ = body.collect().await;
            return Ok(endless(answer.into_response()));
        }
        _ => {}
    }
    let mut body = body.collect().await.map_err(|_| CutOff)?.to_bytes();
    if let Fault::CorruptUpload(from_end) = fault {
        body = with_changed_byte(&body, body.len().checked_sub(from_end));
    }
    let response = state.forward(parts, body).await?;
    match fault {
        Fault::StallResponse => pending().await,
        Fault::CutResponse => Err(CutOff),
        Fault::Truncate if response.body().is_empty() => Err(CutOff),
        Fault::Truncate => Ok(truncated(response)),
        Fault::Replace(answer) => Ok(complete(answer.into_response())),
        Fault::CorruptDownload => {
            let middle = response.body().len() / 2;
            Ok(complete(response.map(|body| with_changed_byte(&body, Some(middle)))))
        }
        Fault::ChangedText(from, to) => {
            Ok(complete(response.map(|body| String::from_utf8_lossy(&body).replace(from, to).into())))
        }
        _ => Ok(complete(response)),
    }
}

impl State {
    /// Sends the request to the server, and returns the whole response.
    async fn forward(&self, request: http::request::Parts, body: Bytes) -> Result<Response<Bytes>, CutOff> {
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let sent = self
            .client
            .request(request.method, format!("{}{path}", self.upstream))
            .headers(end_to_end(request.headers))
            .body(body)
            .send()
            .await
            .map_err(|_| CutOff)?;
        let (status, headers) = (sent.status(), end_to_end(sent.headers().clone()));
        let mut response = Response::new(sent.bytes().await.map_err(|_| CutOff)?);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

impl Answer {
    fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status.try_into().expect("a valid status");
        for (name, value) in self.headers {
            let value = HeaderValue::from_str(&value).expect("a valid header");
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
        response
    }
}

/// The headers without those of the connection. The clients of both sides set them anew.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    headers
}

/// The bytes with one bit changed, in the byte at this place if there is one.
fn with_changed_byte(bytes: &Bytes, place: Option<usize>) -> Bytes {
    let mut changed = bytes.to_vec();
    if let Some(byte) = place.and_then(|place| changed.get_mut(place)) {
        *byte ^= 1;
    }
    changed.into()
}

fn complete(response: Response<Bytes>) -> Response<Body> {
    response.map(|bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
}

/// The head of the response and the first half of its body.
fn truncated(response: Response<Bytes>) -> Response<Body> {
    let length = response.body().len();
    let half = response.body().slice(..length / 2);
    let cut = async {
        // While the body waits, the proxy sends its first half.
        tokio::task::yield_now().await;
        Err(CutOff)
    };
    let frames = once(ready(Ok(Frame::data(half)))).chain(once(cut));
    let mut response = response.map(|_| BodyExt::boxed_unsync(StreamBody::new(frames)));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// The response with its body, which never ends.
fn endless(response: Response<Bytes>) -> Response<Body> {
    response
        .map(|body| BodyExt::boxed_unsync(StreamBody::new(once(ready(Ok(Frame::data(body)))).chain(once(pending())))))
}

fn lock(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().expect("no test panics while it holds the lock")
}
