//! HTTP server: accepts connections and serves HTTP/1.1 on them. [`limits`](super::limits) bounds
//! every queue and every wait.

pub(super) mod connection_limit;
mod idle_timer;
mod transport;

use std::convert::Infallible;
use std::io;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{unconstrained, yield_now};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::heartbeat_fast_path::{FastPathBody, HeartbeatFastPath};
use super::layers::response_headers::RejectedConnection;
use super::limits::{
    ACCEPT_BATCH, ACCEPT_QUEUE, ACCEPT_RETRY_PAUSE, DISPLACEMENT_GRACE, DRAIN_TIMEOUT, HEAD_TIMEOUT, MAX_HEAD_BYTES,
    MAX_HEADERS, MAX_SLOT_WAIT, REJECTION_TIMEOUT,
};
use super::params::ClientAddr;
use super::pool_client::DisplacedConnection;
use super::service::ApiService;
use super::slow_read_timeout::SlowReadTimeout;
use super::tls::ApiTls;
use crate::fair_pool::{Answer, Claim, ClaimRefusal, FairPool, Piece, PieceProgress};
use connection_limit::ConnectionLimit;
use idle_timer::{ArrivingBody, IdleTimer, TrackedBody};
use rollcall_core::{AddressBlock, canonical_socket_addr};
use transport::OpenTransport;

/// Serves `service` on `listener` until `shutdown`. Then it stops accepting, lets running requests
/// end for up to `DRAIN_TIMEOUT`, and returns. No task outlives it.
pub async fn serve(
    listener: TcpListener,
    service: ApiService,
    connections: ConnectionLimit,
    shutdown: CancellationToken,
) {
    HttpServer::new(service, shutdown, connections).run(listener).await;
}

#[derive(Clone)]
struct HttpServer {
    service: Arc<ApiService>,
    tasks: TaskTracker,
    connections: FairPool,
    /// Cancelled at shutdown: connections accept no new requests.
    drain: CancellationToken,
    /// Cancelled after `DRAIN_TIMEOUT`: connections are closed.
    stop: CancellationToken,
}

impl HttpServer {
    fn new(service: ApiService, shutdown: CancellationToken, connections: ConnectionLimit) -> Self {
        Self {
            service: Arc::new(service),
            tasks: TaskTracker::new(),
            connections: FairPool::new(connections.served, connections.rejected),
            drain: shutdown,
            stop: CancellationToken::new(),
        }
    }

    async fn run(self, listener: TcpListener) {
        // If this future is dropped, its connections are closed too.
        let _stop = self.stop.clone().drop_guard();
        lengthen_accept_queue(&listener);
        loop {
            let first = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.drain.cancelled() => break,
            };
            // The queue of the system is first come, first served. So a burst of one client delays
            // others less if it is emptied before requests are served again.
            let queued = iter::from_fn(|| unconstrained(listener.accept()).now_or_never());
            for accepted in iter::once(first).chain(queued).take(ACCEPT_BATCH) {
                match accepted {
                    Ok((stream, remote)) => self.admit(stream, canonical_socket_addr(remote)),
                    Err(error) if is_transient(&error) => {
                        debug!(%error, "could not accept one connection");
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept connections on the API port");
                        // Without free file descriptors, a connection must end first.
                        self.connections.make_room();
                        sleep(ACCEPT_RETRY_PAUSE).await;
                        break;
                    }
                }
            }
            yield_now().await;
        }
        drop(listener);
        self.tasks.close();
        if timeout(DRAIN_TIMEOUT, self.tasks.wait()).await.is_err() {
            info!(connections = self.tasks.len(), "closing connections that did not end in time");
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }

    /// Serves a new connection if there is a slot. Otherwise it displaces another one and waits for
    /// the slot. Without one, it gets a 503; if too many are being rejected, it is closed.
    fn admit(&self, stream: TcpStream, remote: SocketAddr) {
        let progress = self.connections.new_progress();
        let displaced = DisplacedConnection::default();
        let claim = self.claim(remote.ip(), &progress, &displaced);
        let accepted = AcceptedConnection { stream, remote, idle: IdleTimer::new(progress), displaced };
        match self.connections.request(claim) {
            Answer::Granted(slot) => {
                self.tasks.spawn(self.serve_connection(accepted, Ok(slot)));
            }
            Answer::Waiting(waiting) => {
                let server = self.clone();
                self.tasks.spawn(async move {
                    match waiting.granted(MAX_SLOT_WAIT).await {
                        Ok(slot) => server.serve_connection(accepted, Ok(slot)).await,
                        Err(ClaimRefusal::TimedOut(place)) => {
                            let rejected = server.serve_connection(accepted, Err(RejectedConnection::OverLimit));
                            tokio::select! {
                                _ = timeout(REJECTION_TIMEOUT, rejected) => {}
                                () = place.displaced() => {}
                            }
                        }
                        Err(ClaimRefusal::Full) => {}
                    }
                });
            }
            Answer::Full => debug!(%remote, "closed a connection without a response: too many are being rejected"),
        }
    }

    /// A claim of one slot. A trusted proxy has many clients on few connections. Its connections
    /// are never displaced; their requests count by client.
    fn claim(&self, remote: IpAddr, progress: &PieceProgress, displaced: &DisplacedConnection) -> Claim {
        if self.service.proxies.contains(remote) {
            Claim::uncounted()
        } else {
            Claim::displaceable(AddressBlock::of(remote), progress.clone(), displaced.0.clone())
        }
    }

    /// Serves one connection from its first request to its end.
    fn serve_connection(
        &self,
        accepted: AcceptedConnection,
        slot: Result<Piece, RejectedConnection>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let AcceptedConnection { stream, remote, idle, displaced } = accepted;
        let (drain, stop) = (self.drain.clone(), self.stop.clone());
        let slow_read = SlowReadTimeout::default();
        let mut connection = ConnectionService {
            service: Arc::clone(&self.service),
            remote: remote.ip(),
            is_proxy: self.service.proxies.contains(remote.ip()),
            slow_read: slow_read.clone(),
            idle: idle.clone(),
            displaced: displaced.clone(),
            rejected: slot.as_ref().err().cloned(),
        };
        async move {
            // Without Nagle's algorithm, small responses are sent at once. If this call fails, they
            // are only delayed.
            let _ = stream.set_nodelay(true);
            let stream = if let Some(tls) = &connection.service.tls {
                let waits = async {
                    tokio::select! {
                        () = displaced.0.cancelled() => {}
                        () = idle.expired(HEAD_TIMEOUT) => {}
                        () = drain.cancelled() => {}
                        () = stop.cancelled() => {}
                    }
                };
                // Boxed, because a future has the size of its largest state.
                let opened = Box::pin(open_transport(stream, remote, tls, waits)).await;
                let Some(OpenTransport { stream, rejected }) = opened else { return };
                connection.rejected = connection.rejected.or(rejected);
                stream
            } else {
                transport::plain(stream)
            };
            let mut http = http1::Builder::new();
            // [`IdleTimer`] replaces hyper's timeout for the head of a request.
            http.header_read_timeout(None)
                .max_header_size(MAX_HEAD_BYTES)
                .max_headers(MAX_HEADERS)
                .keep_alive(connection.rejected.is_none());
            let connection = Arc::new(connection);
            let service = service_fn(move |request| Arc::clone(&connection).call(request));
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            // Held until the connection ends.
            let _slot = slot;
            let close = async {
                tokio::select! {
                    () = displaced.0.cancelled() => CloseReason::Displaced,
                    () = slow_read.expired() => CloseReason::SlowRead,
                    () = idle.expired(HEAD_TIMEOUT) => CloseReason::Idle,
                    () = drain.cancelled() => CloseReason::Drain,
                    () = stop.cancelled() => CloseReason::Stop,
                }
            };
            // The set polls this future only when it is woken, and not each time `connection` makes
            // progress.
            let mut close = FuturesUnordered::from_iter([close]);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                Some(reason) = close.next() => match reason {
                    CloseReason::SlowRead => {
                        debug!(%remote, "closed a connection: its client read a response too slowly");
                        return;
                    }
                    CloseReason::Idle => {
                        debug!(%remote, "closed a connection: it was idle for too long");
                        return;
                    }
                    CloseReason::Displaced if !idle.is_working() => {
                        debug!(%remote, "closed a connection: another client needs its place");
                        return;
                    }
                    // The running request is still answered.
                    CloseReason::Displaced => {
                        connection.as_mut().graceful_shutdown();
                        match timeout(DISPLACEMENT_GRACE, connection).await {
                            Ok(ended) => ended,
                            Err(_) => return,
                        }
                    }
                    CloseReason::Drain => {
                        connection.as_mut().graceful_shutdown();
                        // The timeouts still apply.
                        tokio::select! {
                            ended = connection => ended,
                            () = slow_read.expired() => return,
                            () = idle.expired(HEAD_TIMEOUT) => return,
                            () = stop.cancelled() => return,
                        }
                    }
                    CloseReason::Stop => return,
                },
            };
            if let Err(error) = ended {
                debug!(%remote, %error, "the connection ended with an error");
            }
        }
    }
}

/// Accepts a connection to a port with TLS, unless `close` ends first. The handshake waits for the
/// client as the head of a request does.
async fn open_transport(
    stream: TcpStream,
    remote: SocketAddr,
    tls: &ApiTls,
    close: impl Future<Output = ()>,
) -> Option<OpenTransport> {
    tokio::select! {
        opened = transport::accept(stream, tls) => match opened {
            Ok(opened) => Some(opened),
            Err(error) => {
                debug!(%remote, %error, "closed a connection: the TLS handshake failed");
                None
            }
        },
        () = close => {
            debug!(%remote, "closed a connection: the TLS handshake did not end");
            None
        }
    }
}

/// A connection that was accepted.
struct AcceptedConnection {
    stream: TcpStream,
    remote: SocketAddr,
    idle: IdleTimer,
    displaced: DisplacedConnection,
}

/// The reason to close a connection that its client keeps open.
enum CloseReason {
    SlowRead,
    Idle,
    /// Its place was given to another client.
    Displaced,
    Drain,
    Stop,
}

/// The hyper service of one connection.
struct ConnectionService {
    service: Arc<ApiService>,
    /// The other end of the connection.
    remote: IpAddr,
    /// Whether the other end is a trusted proxy.
    is_proxy: bool,
    slow_read: SlowReadTimeout,
    idle: IdleTimer,
    displaced: DisplacedConnection,
    /// Set if all requests are rejected. The router then answers with an error.
    rejected: Option<RejectedConnection>,
}

impl ConnectionService {
    async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<TrackedBody<FastPathBody>>, Infallible> {
        let active = self.idle.start_request();
        let response = match &self.service.fast_path {
            Some(fast_path) if self.rejected.is_none() && HeartbeatFastPath::handles(&request) => {
                let client = self.client(request.headers());
                fast_path.call(client, &self.displaced, request.map(|body| ArrivingBody::new(body, &self.idle))).await
            }
            // A future is as large as its largest state. The large router future is boxed, so that
            // the fast path stays small.
            _ => Box::pin(self.call_router(request)).await?.map(FastPathBody::Right),
        };
        Ok(response.map(|body| active.until_body_sent(body)))
    }

    async fn call_router(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let client = self.client(request.headers());
        let mut request = request.map(|body| Body::new(ArrivingBody::new(body, self.idle.clone())));
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(self.slow_read.clone());
        request.extensions_mut().insert(self.displaced.clone());
        if let Some(rejected) = &self.rejected {
            request.extensions_mut().insert(rejected.clone());
        }
        self.service.router.clone().oneshot(request).await
    }

    /// The client of a request with these headers. They are read only if a trusted proxy sent them.
    fn client(&self, headers: &HeaderMap) -> ClientAddr {
        if !self.is_proxy {
            return ClientAddr(self.remote);
        }
        let proxies = &self.service.proxies;
        let lines = headers.get_all(proxies.header_name()).iter().map(HeaderValue::as_bytes);
        ClientAddr(proxies.client(self.remote, lines))
    }
}

/// Gives the listener a queue of [`ACCEPT_QUEUE`] connections. It has a shorter one from its
/// creation. A second `listen` changes the length only.
fn lengthen_accept_queue(listener: &TcpListener) {
    if let Err(error) = SockRef::from(listener).listen(ACCEPT_QUEUE) {
        warn!(%error, "the queue for new connections on the API port stays short");
    }
}

/// Whether only this call failed: its client disconnected, or a signal interrupted it. The next
/// call may follow at once.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
