//! HTTP server: accepts connections and serves HTTP/1.1 on them. [`limits`](super::limits) bounds
//! every queue and every wait.

mod connection_limit;
mod idle_timer;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::heartbeat_fast_path::{FastPathBody, HeartbeatFastPath};
use super::layers::response_headers::OverConnectionLimit;
use super::limits::{
    ACCEPT_RETRY_PAUSE, DRAIN_TIMEOUT, HEAD_TIMEOUT, MAX_HEAD_BYTES, MAX_HEADERS, MAX_REJECTED_CONNECTIONS,
    REJECTION_TIMEOUT, WRITE_TIMEOUT,
};
use super::params::ClientAddr;
use super::service::ApiService;
use super::slow_read_timeout::SlowReadTimeout;
use connection_limit::{ConnectionLimit, ConnectionSlot};
use idle_timer::{IdleTimer, TrackedBody};
use rollcall_core::canonical_socket_addr;

/// Serves `service` on `listener` until `shutdown`. Then it stops accepting, lets running requests
/// end for up to `DRAIN_TIMEOUT`, and returns. No task outlives it.
pub async fn serve(listener: TcpListener, service: ApiService, shutdown: CancellationToken) {
    HttpServer::new(service, shutdown, connection_limit::max_connections()).run(listener).await;
}

#[derive(Clone)]
struct HttpServer {
    service: Arc<ApiService>,
    tasks: TaskTracker,
    connections: ConnectionLimit,
    rejection_permits: Arc<Semaphore>,
    /// Cancelled at shutdown: connections accept no new requests.
    drain: CancellationToken,
    /// Cancelled after `DRAIN_TIMEOUT`: connections are closed.
    stop: CancellationToken,
}

impl HttpServer {
    fn new(service: ApiService, shutdown: CancellationToken, connections: usize) -> Self {
        Self {
            service: Arc::new(service),
            tasks: TaskTracker::new(),
            connections: ConnectionLimit::new(connections),
            rejection_permits: Arc::new(Semaphore::new(MAX_REJECTED_CONNECTIONS)),
            drain: shutdown,
            stop: CancellationToken::new(),
        }
    }

    async fn run(self, listener: TcpListener) {
        // If this future is dropped, its connections are closed too.
        let _stop = self.stop.clone().drop_guard();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.drain.cancelled() => break,
            };
            match accepted {
                Ok((stream, remote)) => self.admit(stream, canonical_socket_addr(remote)),
                Err(error) if is_transient(&error) => {
                    debug!(%error, "could not accept one connection");
                }
                Err(error) => {
                    warn!(%error, "cannot accept connections on the API port");
                    sleep(ACCEPT_RETRY_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.tasks.close();
        if timeout(DRAIN_TIMEOUT, self.tasks.wait()).await.is_err() {
            info!(connections = self.tasks.len(), "closing connections that did not end in time");
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }

    /// Serves a new connection if there is a slot. Otherwise evicts idle connections and waits for
    /// a slot. Without one, the connection gets a 503; if too many are being rejected, it is
    /// closed.
    fn admit(&self, stream: TcpStream, remote: SocketAddr) {
        let idle = IdleTimer::new();
        if let Some(slot) = self.connections.try_acquire(&idle) {
            self.tasks.spawn(self.serve_connection(stream, remote, idle, Ok(slot)));
        } else if let Ok(rejection_permit) = Arc::clone(&self.rejection_permits).try_acquire_owned() {
            let server = self.clone();
            self.tasks.spawn(async move {
                if let Some(slot) = server.connections.acquire_by_eviction(&idle).await {
                    drop(rejection_permit);
                    server.serve_connection(stream, remote, idle, Ok(slot)).await;
                } else {
                    let rejected = server.serve_connection(stream, remote, idle, Err(OverConnectionLimit));
                    let _ = timeout(REJECTION_TIMEOUT, rejected).await;
                }
            });
        } else {
            debug!(%remote, "closed a connection without a response: too many are being rejected");
        }
    }

    /// Serves one connection from its first request to its end.
    fn serve_connection(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        idle: IdleTimer,
        slot: Result<ConnectionSlot, OverConnectionLimit>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (drain, stop) = (self.drain.clone(), self.stop.clone());
        let slow_read = SlowReadTimeout::default();
        let over_limit = slot.as_ref().err().copied();
        let connection = Arc::new(ConnectionService {
            service: Arc::clone(&self.service),
            remote: remote.ip(),
            is_proxy: self.service.proxies.contains(remote.ip()),
            slow_read: slow_read.clone(),
            idle: idle.clone(),
            over_limit,
        });
        let service = service_fn(move |request| Arc::clone(&connection).call(request));
        let mut http = http1::Builder::new();
        // [`IdleTimer`] replaces hyper's timeout for the head of a request.
        http.header_read_timeout(None)
            .max_header_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .keep_alive(over_limit.is_none());
        async move {
            // Without Nagle's algorithm, small responses are sent at once. If this call fails, they
            // are only delayed.
            let _ = stream.set_nodelay(true);
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(WRITE_TIMEOUT));
            let io = TokioIo::new(Box::pin(stream));
            let mut connection = pin!(http.serve_connection(io, service));
            let evicted = async {
                match &slot {
                    Ok(slot) => slot.evicted().await,
                    Err(OverConnectionLimit) => std::future::pending().await,
                }
            };
            let close = async {
                tokio::select! {
                    () = evicted => CloseReason::Evicted,
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
                    // The running request is still answered.
                    CloseReason::Drain | CloseReason::Evicted => {
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

/// The reason to close a connection that its client keeps open.
enum CloseReason {
    SlowRead,
    Idle,
    /// Its slot was given to another connection.
    Evicted,
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
    /// Set if the connection got no slot. The router then answers 503.
    over_limit: Option<OverConnectionLimit>,
}

impl ConnectionService {
    async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<TrackedBody<FastPathBody>>, Infallible> {
        let active = self.idle.start_request();
        let response = match &self.service.fast_path {
            Some(fast_path) if self.over_limit.is_none() && HeartbeatFastPath::handles(&request) => {
                fast_path.call(self.client(request.headers()), request).await
            }
            // A future is as large as its largest state. The large router future is boxed, so that
            // the fast path stays small.
            _ => Box::pin(self.call_router(request)).await?.map(FastPathBody::Right),
        };
        Ok(response.map(|body| active.until_body_sent(body)))
    }

    async fn call_router(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let client = self.client(request.headers());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(self.slow_read.clone());
        self.over_limit.map(|over_limit| request.extensions_mut().insert(over_limit));
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
