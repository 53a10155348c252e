//! Fake of Google Cloud Storage: the part of its JSON API that Rollcall uses, with state and
//! injected faults.
//!
//! The fake listens on a free port of 127.0.0.1 until it is dropped. Its [`url`](FakeGcs::url) is a
//! value of `STORAGE_EMULATOR_HOST`, so real node processes can use it too. It must start within a
//! tokio runtime.

mod objects;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::once;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rollcall_core::BucketName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::objects::{Objects, error, message};

/// The only bucket of the fake.
pub(crate) const BUCKET: &str = "your-project.firebasestorage.app";

/// The name of [`BUCKET`].
pub(crate) fn bucket_name() -> BucketName {
    BucketName::parse(BUCKET).expect("it is valid")
}

/// A fault injected into one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// No fault: one request succeeds before the next fault.
    None,
    /// The request takes no effect and is answered with this status.
    Status(u16),
    /// The request takes effect after this delay.
    Slow(Duration),
    /// The request takes no effect, and the connection is closed.
    Cut,
    /// The request takes effect, and the connection is closed instead of a response.
    LoseResponse,
    /// The request takes effect, and the connection is closed in the middle of the response body.
    CutResponse,
    /// The request takes no effect and is never answered.
    Hang,
    /// The request takes effect without regard to its condition, as in emulators without
    /// conditions.
    Overwrite,
    /// The request takes effect, and then the bytes of all objects change.
    DamageObjects,
}

/// The faults of the next requests.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<FaultQueue>);

#[derive(Debug, Default)]
struct FaultQueue {
    next: VecDeque<Fault>,
    outage: Option<Fault>,
    requests: usize,
}

impl Faults {
    /// Injects a fault into `count` requests, after the faults injected before.
    pub(crate) fn inject(&self, count: usize, fault: Fault) {
        lock(&self.0).next.extend(std::iter::repeat_n(fault, count));
    }

    /// Injects a fault into every request without another fault, until `None` is set.
    pub(crate) fn set_outage(&self, fault: Option<Fault>) {
        lock(&self.0).outage = fault;
    }

    /// The number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        lock(&self.0).requests
    }

    fn take(&self) -> Fault {
        let mut queue = lock(&self.0);
        queue.requests += 1;
        queue.next.pop_front().or(queue.outage).unwrap_or(Fault::None)
    }
}

/// The service that answers requests without credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Public {
    /// No service.
    Nothing,
    /// Cloud Storage: `allUsers` has a role.
    CloudStorage,
    /// Firebase Storage: its rules allow it.
    Firebase,
}

/// The fake server.
pub(crate) struct FakeGcs {
    addr: SocketAddr,
    state: Arc<State>,
    /// The task of the server. It ends with this value, and so do all connections.
    _server: JoinSet<()>,
}

#[derive(Default)]
struct State {
    objects: Mutex<Objects>,
    faults: Faults,
    /// `None`: the fake is an emulator, which asks for no credentials.
    public: Mutex<Option<Public>>,
}

impl FakeGcs {
    /// Starts a server with an empty bucket.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let listener = TcpListener::from_std(listener).expect("within a runtime");
        let addr = listener.local_addr().expect("it is bound");
        let state = Arc::<State>::default();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&state)));
        Self { addr, state, _server: server }
    }

    /// The value of `STORAGE_EMULATOR_HOST`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Asks for credentials from now on, except for requests to this service.
    pub(crate) fn set_public(&self, public: Public) {
        *lock(&self.state.public) = Some(public);
    }

    /// The paths of all objects.
    pub(crate) fn paths(&self) -> Vec<String> {
        lock(&self.state.objects).by_name.keys().cloned().collect()
    }

    /// The bytes of an object.
    pub(crate) fn bytes(&self, path: &str) -> Option<Bytes> {
        lock(&self.state.objects).by_name.get(path).map(|object| object.bytes.clone())
    }

    /// The media type that was sent with an object.
    pub(crate) fn media_type(&self, path: &str) -> Option<String> {
        lock(&self.state.objects).by_name.get(path).map(|object| object.media_type.clone())
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
    // A client that disconnects, or a connection closed by a fault, is no error of the server.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Error that makes the server close the connection, because of an injected fault.
#[derive(Debug, thiserror::Error)]
#[error("cut by an injected fault")]
struct CutOff;

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, CutOff>;

async fn handle(request: Request<Incoming>, state: &State) -> Result<Response<Body>, CutOff> {
    let fault = state.faults.take();
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| CutOff)?.to_bytes();
    match fault {
        Fault::Status(status) => return Ok(complete(error(status, message(status)))),
        Fault::Slow(delay) => tokio::time::sleep(delay).await,
        Fault::Cut => return Err(CutOff),
        Fault::Hang => std::future::pending().await,
        Fault::None | Fault::LoseResponse | Fault::CutResponse | Fault::Overwrite | Fault::DamageObjects => {}
    }
    let service = if parts.uri.path().starts_with("/v0/") { Public::Firebase } else { Public::CloudStorage };
    let is_anonymous = !parts.headers.contains_key("authorization");
    if is_anonymous && lock(&state.public).is_some_and(|public| public != service) {
        return Ok(complete(error(401, "Anonymous caller does not have storage.objects.get access")));
    }
    let ignores_conditions = matches!(fault, Fault::Overwrite);
    let mut objects = lock(&state.objects);
    let response = objects.handle(&parts, &body, ignores_conditions);
    if matches!(fault, Fault::DamageObjects) {
        objects.damage_all();
    }
    drop(objects);
    match fault {
        Fault::LoseResponse => Err(CutOff),
        Fault::CutResponse => Ok(truncated(response)),
        _ => Ok(complete(response)),
    }
}

fn complete(response: Response<Bytes>) -> Response<Body> {
    response.map(|bytes| Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync())
}

/// The head of the response and the first half of its body.
fn truncated(response: Response<Bytes>) -> Response<Body> {
    let length = response.body().len();
    let half = response.body().slice(..length / 2);
    let cut = async {
        // While the body waits, the server sends its first half.
        tokio::task::yield_now().await;
        Err(CutOff)
    };
    let frames = once(ready(Ok(Frame::data(half)))).chain(once(cut));
    let mut response = response.map(|_| BodyExt::boxed_unsync(StreamBody::new(frames)));
    response.headers_mut().insert("content-length", length.into());
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds the lock")
}
