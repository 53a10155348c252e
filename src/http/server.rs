//! The driver: accepts connections and speaks HTTP/1.1 on them, everything within bounds.

mod connection_limit;
mod idle;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
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

use super::api::Api;
use super::heartbeat_fast_path::{Answer, HeartbeatFastPath};
use super::layers::response_headers::Overloaded;
use super::limits::{
    ACCEPT_PAUSE, DRAIN_TIME, HEAD_TIME, MAX_HEAD_BYTES, MAX_HEADERS, MAX_REFUSED_CONNECTIONS, REFUSAL_TIME,
    WRITE_STALL_TIME,
};
use super::params::Remote;
use super::slow_read_timeout::SlowReadTimeout;
use connection_limit::{ConnectionLimit, ConnectionSlot};
use idle::{Answered, Idle};

/// Serves `api` on `listener` until `shutdown`; then stops accepting, lets requests end for up to 10 s and returns.
/// Nothing it started outlives it.
pub async fn serve(listener: TcpListener, api: Api, shutdown: CancellationToken) {
    Server::new(api, shutdown, connection_limit::most_connections()).run(listener).await;
}

#[derive(Clone)]
struct Server {
    api: Arc<Api>,
    tasks: TaskTracker,
    connections: ConnectionLimit,
    refusals: Arc<Semaphore>,
    /// No new requests.
    drain: CancellationToken,
    /// No requests at all.
    stop: CancellationToken,
}

impl Server {
    fn new(api: Api, shutdown: CancellationToken, connections: usize) -> Self {
        Self {
            api: Arc::new(api),
            tasks: TaskTracker::new(),
            connections: ConnectionLimit::new(connections),
            refusals: Arc::new(Semaphore::new(MAX_REFUSED_CONNECTIONS)),
            drain: shutdown,
            stop: CancellationToken::new(),
        }
    }

    async fn run(self, listener: TcpListener) {
        // If this future is dropped, so are its connections.
        let _stop = self.stop.clone().drop_guard();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.drain.cancelled() => break,
            };
            match accepted {
                Ok((stream, remote)) => self.admit(stream, remote),
                Err(error) if is_the_clients(&error) => debug!("a client left before it was accepted: {error}"),
                Err(error) => {
                    warn!("cannot accept connections on the API port: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.tasks.close();
        if timeout(DRAIN_TIME, self.tasks.wait()).await.is_err() {
            info!("closing {} connections that did not end in time", self.tasks.len());
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr) {
        let idle = Idle::new();
        if let Some(slot) = self.connections.take(&idle) {
            self.tasks.spawn(self.connection(stream, remote, idle, Ok(slot)));
        } else if let Ok(refusal) = Arc::clone(&self.refusals).try_acquire_owned() {
            let server = self.clone();
            self.tasks.spawn(async move {
                if let Some(slot) = server.connections.take_anothers(&idle).await {
                    drop(refusal);
                    server.connection(stream, remote, idle, Ok(slot)).await;
                } else {
                    let refused = server.connection(stream, remote, idle, Err(Overloaded));
                    let _ = timeout(REFUSAL_TIME, refused).await;
                }
            });
        } else {
            debug!(%remote, "closed a connection without an answer: too many are refused already");
        }
    }

    /// One connection, from its first request to its end.
    fn connection(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        idle: Idle,
        slot: Result<ConnectionSlot, Overloaded>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (drain, stop) = (self.drain.clone(), self.stop.clone());
        let slow_read = SlowReadTimeout::default();
        let overloaded = slot.as_ref().err().copied();
        let caller = Arc::new(Caller {
            api: Arc::clone(&self.api),
            remote: Remote(remote),
            slow_read: slow_read.clone(),
            idle: idle.clone(),
            overloaded,
        });
        let service = service_fn(move |request| Arc::clone(&caller).answer(request));
        let mut http = http1::Builder::new();
        // hyper would time heads itself; see the module that does.
        http.header_read_timeout(None)
            .max_header_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .keep_alive(overloaded.is_none());
        async move {
            // Small answers should leave at once; without it they only come later.
            let _ = stream.set_nodelay(true);
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(WRITE_STALL_TIME));
            let io = TokioIo::new(Box::pin(stream));
            let mut connection = pin!(http.serve_connection(io, service));
            let wanted = async {
                match &slot {
                    Ok(slot) => slot.is_wanted().await,
                    Err(Overloaded) => std::future::pending().await,
                }
            };
            let end = async {
                tokio::select! {
                    () = wanted => End::Wanted,
                    () = slow_read.is_over() => End::TooSlow,
                    () = idle.is_over(HEAD_TIME) => End::Idle,
                    () = drain.cancelled() => End::Drain,
                    () = stop.cancelled() => End::Stop,
                }
            };
            // Looked at only when it was woken, and not with every request.
            let mut end = FuturesUnordered::from_iter([end]);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                Some(end) = end.next() => match end {
                    End::TooSlow => {
                        debug!(%remote, "closed a connection on which an answer was read too slowly");
                        return;
                    }
                    End::Idle => {
                        debug!(%remote, "closed a connection on which no request came for long");
                        return;
                    }
                    // What is being answered is answered.
                    End::Drain | End::Wanted => {
                        connection.as_mut().graceful_shutdown();
                        // What bounded it until now bounds its end, too.
                        tokio::select! {
                            ended = connection => ended,
                            () = slow_read.is_over() => return,
                            () = idle.is_over(HEAD_TIME) => return,
                            () = stop.cancelled() => return,
                        }
                    }
                    End::Stop => return,
                },
            };
            if let Err(error) = ended {
                debug!(%remote, "connection ended: {error}");
            }
        }
    }
}

/// Why a connection is to end although its client wants it to go on.
enum End {
    TooSlow,
    Idle,
    /// Its place is.
    Wanted,
    Drain,
    Stop,
}

/// Who asks on one connection.
struct Caller {
    api: Arc<Api>,
    remote: Remote,
    slow_read: SlowReadTimeout,
    idle: Idle,
    overloaded: Option<Overloaded>,
}

impl Caller {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answered<Answer>>, Infallible> {
        let busy = self.idle.begin();
        let response = match &self.api.fast_path {
            Some(fast_path) if self.overloaded.is_none() && HeartbeatFastPath::takes(&request) => {
                fast_path.answer(self.remote, request).await
            }
            // In a box since a future is moved about with room for all that it may ever hold.
            _ => Box::pin(self.ask_router(request)).await?.map(Answer::Right),
        };
        Ok(response.map(|body| busy.until_sent(body)))
    }

    async fn ask_router(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.remote);
        request.extensions_mut().insert(self.slow_read.clone());
        self.overloaded.map(|overloaded| request.extensions_mut().insert(overloaded));
        self.api.router.clone().oneshot(request).await
    }
}

/// Whether a failed accept concerns that one client only.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
