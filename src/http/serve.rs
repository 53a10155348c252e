//! The driver: accepts connections and speaks HTTP/1.1 on them, everything within bounds.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::params::Remote;
use super::patience::Patience;
use super::stamp::Overloaded;

/// Connections that are served at once.
const MAX_CONNECTIONS: usize = 2048;

/// Connections beyond that number that are told so at once; those beyond both are closed without a word.
const MAX_REFUSALS: usize = 64;

/// The longest that a refused connection is kept for its answer.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// The longest that a client may take for a request's head, and be idle between two requests.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// The longest that a client may leave an answer unread. (A body that comes too slowly meets the limit of the whole
/// request. There is no limit on reading here: it would cut off a long download, during which nothing is to be read.)
const WRITE_STALL: Duration = Duration::from_secs(30);

/// The most bytes of a request's head, and the most header fields.
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;

/// How long requests may take to end once the node is to stop.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The pause after a failed accept: when file descriptors run out, trying at once only burns a processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown`; then stops accepting, lets requests end for up to 10 s and returns.
/// Nothing it started outlives it.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    Server::new(router, shutdown, MAX_CONNECTIONS).run(listener).await;
}

struct Server {
    router: Router,
    tasks: TaskTracker,
    seats: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    /// No new requests.
    drain: CancellationToken,
    /// No requests at all.
    stop: CancellationToken,
}

impl Server {
    fn new(router: Router, shutdown: CancellationToken, seats: usize) -> Self {
        Self {
            router,
            tasks: TaskTracker::new(),
            seats: Arc::new(Semaphore::new(seats)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
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
        if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
            self.tasks.spawn(self.connection(stream, remote, None, seat));
        } else if let Ok(seat) = Arc::clone(&self.refusals).try_acquire_owned() {
            let refused = self.connection(stream, remote, Some(Overloaded), seat);
            self.tasks.spawn(timeout(REFUSAL_TIME, refused));
        } else {
            debug!(%remote, "closed a connection without an answer: too many are refused already");
        }
    }

    /// One connection, from its first request to its end.
    fn connection(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        overloaded: Option<Overloaded>,
        seat: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (drain, stop) = (self.drain.clone(), self.stop.clone());
        let patience = Patience::default();
        let answers = patience.clone();
        let service = self.router.clone().map_request(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Remote(remote));
            request.extensions_mut().insert(answers.clone());
            overloaded.map(|overloaded| request.extensions_mut().insert(overloaded));
            request
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_header_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .keep_alive(overloaded.is_none());
        async move {
            let _seat = seat;
            // Small answers should leave at once; without it they only come later.
            let _ = stream.set_nodelay(true);
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(WRITE_STALL));
            let io = TokioIo::new(Box::pin(stream));
            let mut connection = pin!(http.serve_connection(io, TowerToHyperService::new(service)));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = patience.is_over() => {
                    debug!(%remote, "closed a connection on which an answer was read too slowly");
                    return;
                }
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = stop.cancelled() => return,
                    }
                }
                () = stop.cancelled() => return,
            };
            if let Err(error) = ended {
                debug!(%remote, "connection ended: {error}");
            }
        }
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
mod tests {
    use axum::Extension;
    use axum::routing::{get, post};
    use futures_util::{StreamExt, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    use super::super::testing::{Node, leading};
    use super::*;

    struct Running {
        seats: Arc<Semaphore>,
        all_seats: u32,
        addr: SocketAddr,
        shutdown: CancellationToken,
        server: JoinHandle<()>,
    }

    impl Running {
        async fn start(router: Router) -> Self {
            Self::start_with_seats(router, 10).await
        }

        async fn start_with_seats(router: Router, all_seats: u32) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (addr, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
            let server = Server::new(router, shutdown.clone(), all_seats as usize);
            let seats = Arc::clone(&server.seats);
            let server = TaskTracker::new().spawn(server.run(listener));
            Self { seats, all_seats, addr, shutdown, server }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.addr).await.unwrap()
        }

        /// Waits until no connection is served.
        async fn no_connections(&self) {
            drop(self.seats.acquire_many(self.all_seats).await.unwrap());
        }

        async fn stop(self) {
            self.shutdown.cancel();
            self.server.await.unwrap();
        }
    }

    /// Sends a request whole and reads until the server closes.
    async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
        stream.write_all(request).await.unwrap();
        read_to_end(stream).await
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn post_of(length: usize) -> Vec<u8> {
        let head =
            format!("POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        [head.as_bytes(), &vec![b' '; length]].concat()
    }

    #[tokio::test]
    async fn a_request_is_answered_with_where_it_came_from() {
        let server = Running::start(Node::new(leading()).router).await;
        let body = r#"{"username":"alice","addr":":9000"}"#;
        let head = format!("POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}", body.len());
        let answer = exchange(&mut server.connect().await, format!("{head}\r\n\r\n{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        assert!(answer.contains("registered successfully at 127.0.0.1:9000"), "{answer}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_body_over_the_limit_gets_its_answer_and_no_reset() {
        let server = Running::start(Node::new(leading()).router).await;
        let answer = exchange(&mut server.connect().await, &post_of(900 * 1024)).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("body_too_large"), "{answer}");
        server.stop().await;
    }

    #[tokio::test]
    async fn one_connection_serves_many_requests() {
        let server = Running::start(Node::new(leading()).router).await;
        let mut stream = server.connect().await;
        let twice =
            b"GET /status HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = exchange(&mut stream, twice).await;
        assert!(answer.contains("HTTP/1.1 200 OK") && answer.contains("HTTP/1.1 404 Not Found"), "{answer}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_connection_too_many_is_told_so_and_a_place_that_is_left_is_given_again() {
        let server = Running::start_with_seats(Node::new(leading()).router, 2).await;
        let mut seated = vec![server.connect().await, server.connect().await];
        let mut refused = server.connect().await;
        let answer = exchange(&mut refused, b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("too_many_connections") && answer.contains("rollcall-term: 7"), "{answer}");
        seated.clear();
        server.no_connections().await;
        let request = b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = exchange(&mut server.connect().await, request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_shutdown_lets_a_running_request_end_and_accepts_no_other() {
        let (entered, mut seen) = watch::channel(false);
        let (finish, finished) = watch::channel(false);
        let slow = move || {
            entered.send_replace(true);
            let mut finished = finished.clone();
            async move {
                let _ = finished.wait_for(|finished| *finished).await;
                "done"
            }
        };
        let server = Running::start(Router::new().route("/slow", get(slow))).await;
        let mut idle = server.connect().await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        seen.wait_for(|seen| *seen).await.unwrap();
        server.shutdown.cancel();
        assert_eq!(read_to_end(&mut idle).await, "");
        finish.send_replace(true);
        let answer = read_to_end(&mut stream).await;
        assert!(answer.ends_with("done") && answer.contains("connection: close"), "{answer}");
        server.server.await.unwrap();
        assert!(TcpStream::connect(server.addr).await.is_err());
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_off_when_its_time_is_over() {
        let (entered, mut seen) = watch::channel(false);
        let endless = move || {
            entered.send_replace(true);
            std::future::pending::<()>()
        };
        let server = Running::start(Router::new().route("/endless", get(endless))).await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        seen.wait_for(|seen| *seen).await.unwrap();
        // From here on nothing but timers can happen, so the clock may run by itself.
        tokio::time::pause();
        let started = tokio::time::Instant::now();
        server.stop().await;
        assert!((DRAIN_TIME..DRAIN_TIME * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
        assert_eq!(read_to_end(&mut stream).await, "");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answer_is_cut_off() {
        let (streaming, mut seen) = watch::channel(());
        let body = move || {
            let streaming = streaming.clone();
            let part = move || {
                streaming.send_replace(());
                Ok::<_, io::Error>(vec![0_u8; 64 * 1024])
            };
            async move { Body::from_stream(stream::repeat_with(part)) }
        };
        let server = Running::start(Router::new().route("/endless", get(body))).await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        seen.changed().await.unwrap();
        tokio::time::pause();
        let started = tokio::time::Instant::now();
        // The buffers of both sides fill up, and then nothing but the timer can happen. The body goes with the connection.
        server.no_connections().await;
        assert!((WRITE_STALL..WRITE_STALL * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
        server.stop().await;
    }

    #[tokio::test]
    async fn a_connection_is_closed_when_its_answer_outlasts_the_patience() {
        let (streaming, mut seen) = watch::channel(false);
        let body = move |Extension(patience): Extension<Patience>| {
            streaming.send_replace(true);
            async move { Body::from_stream(patience.watch(stream::pending::<io::Result<bytes::Bytes>>())) }
        };
        let server = Running::start(Router::new().route("/endless", get(body))).await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        seen.wait_for(|seen| *seen).await.unwrap();
        tokio::time::pause();
        // Nothing is written, so no other bound would end it.
        server.no_connections().await;
        server.stop().await;
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_is_asked_is_closed() {
        let server = Running::start(Node::new(leading()).router).await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        tokio::time::pause();
        let started = tokio::time::Instant::now();
        assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 200 "));
        assert!((HEAD_TIME..HEAD_TIME * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
        server.stop().await;
    }

    #[tokio::test]
    async fn an_answer_that_fails_in_its_middle_is_torn_off() {
        let body = || async {
            let fails = async {
                // Lets the first half leave.
                tokio::task::yield_now().await;
                Err(io::Error::other("gone"))
            };
            Body::from_stream(stream::iter([Ok("half")]).chain(stream::once(fails)))
        };
        let server = Running::start(Router::new().route("/torn", post(body))).await;
        let mut stream = server.connect().await;
        let answer = exchange(&mut stream, b"POST /torn HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
        // A whole answer would end in an empty chunk.
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        server.stop().await;
    }
}
