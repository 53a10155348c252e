use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use futures_util::stream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::http::CorsPolicy;
use crate::http::limits::WRITE_TIMEOUT;
use crate::http::testing::{TestNode, following, leading};
use rollcall_core::TrustedProxies;

mod client_addresses;
mod error_table;
mod fair_shares;
mod tls;

struct RunningServer {
    connections: FairPool,
    all_slots: usize,
    addr: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl RunningServer {
    async fn start(router: Router) -> Self {
        Self::start_with_slots(router, 10).await
    }

    async fn start_with_slots(router: Router, all_slots: usize) -> Self {
        Self::start_service(service(router, None), all_slots).await
    }

    async fn start_service(service: ApiService, all_slots: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server =
            HttpServer::new(service, shutdown.clone(), ConnectionLimit { served: all_slots, rejected: all_slots });
        let connections = server.connections.clone();
        let server = TaskTracker::new().spawn(server.run(listener));
        Self { connections, all_slots, addr, shutdown, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Waits until no connection is served.
    async fn wait_until_no_connections(&self) {
        while self.connections.free() < self.all_slots {
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
    }
}

/// A service that trusts no proxy.
fn service(router: Router, fast_path: Option<HeartbeatFastPath>) -> ApiService {
    ApiService { router, fast_path, proxies: TrustedProxies::default(), tls: None }
}

/// A handler that answers with the client's address.
fn client_ip() -> MethodRouter {
    get(|Extension(client): Extension<ClientAddr>| async move { client.ip().to_string() })
}

/// Sends a whole request and reads until the server closes the connection.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    read_to_end(stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// A POST request with a body of `length` spaces.
fn post_with_body_of(length: usize) -> Vec<u8> {
    let head = format!("POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b' '; length]].concat()
}

/// A handler that answers "done" after the test has sent `finish`.
struct SlowHandler {
    handler: MethodRouter,
    entered: watch::Receiver<bool>,
    finish: watch::Sender<bool>,
}

fn slow_handler() -> SlowHandler {
    let (enter, entered) = watch::channel(false);
    let (finish, finished) = watch::channel(false);
    let handler = get(move || {
        enter.send_replace(true);
        let mut finished = finished.clone();
        async move {
            let _ = finished.wait_for(|finished| *finished).await;
            "done"
        }
    });
    SlowHandler { handler, entered, finish }
}

#[tokio::test]
async fn a_request_carries_the_address_of_its_client() {
    let server = RunningServer::start(TestNode::new(leading()).router).await;
    let body = r#"{"username":"alice","addr":":9000"}"#;
    let head = format!("POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}", body.len());
    let answer = exchange(&mut server.connect().await, format!("{head}\r\n\r\n{body}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.contains("registered successfully at 127.0.0.1:9000"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_socket_has_its_ipv4_address() {
    // A machine may have no IPv6.
    let Ok(listener) = TcpListener::bind("[::]:0").await else { return };
    let port = listener.local_addr().unwrap().port();
    let service = service(Router::new().route("/", client_ip()), None);
    let shutdown = CancellationToken::new();
    let server = TaskTracker::new().spawn(serve(
        listener,
        service,
        ConnectionLimit { served: 10, rejected: 10 },
        shutdown.clone(),
    ));
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let answer = exchange(&mut client, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("\r\n127.0.0.1"), "{answer}");
    shutdown.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn a_body_over_the_limit_gets_a_response_and_no_reset() {
    let server = RunningServer::start(TestNode::new(leading()).router).await;
    let answer = exchange(&mut server.connect().await, &post_with_body_of(900 * 1024)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = RunningServer::start(TestNode::new(leading()).router).await;
    let mut stream = server.connect().await;
    let two_requests =
        b"GET /status HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(&mut stream, two_requests).await;
    assert!(answer.contains("HTTP/1.1 200 OK") && answer.contains("HTTP/1.1 404 Not Found"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_rejected_and_a_freed_slot_is_used_again() {
    let server = RunningServer::start_with_slots(TestNode::new(leading()).router, 2).await;
    let mut admitted = vec![server.connect().await, server.connect().await];
    let mut refused = server.connect().await;
    let answer = exchange(&mut refused, b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("too_many_connections") && answer.contains("rollcall-term: 7"), "{answer}");
    admitted.clear();
    server.wait_until_no_connections().await;
    let request = b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(&mut server.connect().await, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_displaced_by_a_new_one_and_a_running_request_is_not_disturbed() {
    let SlowHandler { handler, mut entered, finish } = slow_handler();
    let router = Router::new().route("/slow", handler).route("/", get(|| async { "here" }));
    let server = RunningServer::start_with_slots(router, 2).await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    let request = |path: &str, close: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{close}\r\n").into_bytes();
    busy.write_all(&request("/slow", "Connection: close\r\n")).await.unwrap();
    idle.write_all(&request("/", "")).await.unwrap();
    idle.readable().await.unwrap();
    entered.wait_for(|entered| *entered).await.unwrap();
    sleep(Duration::from_millis(1100)).await;
    let answer = exchange(&mut server.connect().await, &request("/", "Connection: close\r\n")).await;
    assert!(answer.ends_with("here"), "{answer}");
    assert!(read_to_end(&mut idle).await.ends_with("here"));
    finish.send_replace(true);
    assert!(read_to_end(&mut busy).await.ends_with("done"));
    server.stop().await;
}

#[tokio::test]
async fn heartbeats_take_the_fast_path_except_beyond_the_connection_limit() {
    let node = TestNode::new(following());
    let router = Router::new().fallback(|| async { "the router" });
    let server = RunningServer::start_service(service(router, Some(node.fast_path)), 1).await;
    let admitted = server.connect().await;
    let mut refused = server.connect().await;
    let heartbeat = b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n";
    let last = [&heartbeat[..], b"Connection: close\r\n\r\n"].concat();
    let answer = exchange(&mut refused, &last).await;
    assert!(answer.ends_with("the router"), "{answer}");
    drop(admitted);
    server.wait_until_no_connections().await;
    let two_requests = [&heartbeat[..], b"\r\n", &last].concat();
    let answer = exchange(&mut server.connect().await, &two_requests).await;
    assert_eq!(answer.matches("HTTP/1.1 403 Forbidden").count(), 2, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_completes_running_requests_and_accepts_no_others() {
    let SlowHandler { handler, mut entered, finish } = slow_handler();
    let server = RunningServer::start(Router::new().route("/slow", handler)).await;
    let mut idle = server.connect().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    entered.wait_for(|entered| *entered).await.unwrap();
    server.shutdown.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    finish.send_replace(true);
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with("done") && answer.contains("connection: close"), "{answer}");
    server.server.await.unwrap();
    assert!(TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_after_the_drain_timeout() {
    let (entered, mut seen) = watch::channel(false);
    let endless = move || {
        entered.send_replace(true);
        std::future::pending::<()>()
    };
    let server = RunningServer::start(Router::new().route("/endless", get(endless))).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    seen.wait_for(|seen| *seen).await.unwrap();
    // From here on only timers can fire, so the paused clock advances by itself.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    server.stop().await;
    assert!((DRAIN_TIMEOUT..DRAIN_TIMEOUT * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_disconnected() {
    let (streaming, mut seen) = watch::channel(());
    let body = move || {
        let streaming = streaming.clone();
        let part = move || {
            streaming.send_replace(());
            Ok::<_, io::Error>(vec![0_u8; 64 * 1024])
        };
        async move { Body::from_stream(stream::repeat_with(part)) }
    };
    let server = RunningServer::start(Router::new().route("/endless", get(body))).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    seen.changed().await.unwrap();
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    // The buffers of both sides fill up. Then only the timer can fire. The body is dropped with the
    // connection.
    server.wait_until_no_connections().await;
    assert!((WRITE_TIMEOUT..WRITE_TIMEOUT * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn a_connection_is_closed_when_its_response_is_read_too_slowly() {
    let (streaming, mut seen) = watch::channel(false);
    let body = move |Extension(slow_read): Extension<SlowReadTimeout>| {
        streaming.send_replace(true);
        async move { Body::from_stream(slow_read.watch(stream::pending::<io::Result<bytes::Bytes>>())) }
    };
    let server = RunningServer::start(Router::new().route("/endless", get(body))).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    seen.wait_for(|seen| *seen).await.unwrap();
    tokio::time::pause();
    // Nothing is written, so no other timeout can fire.
    server.wait_until_no_connections().await;
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = RunningServer::start(TestNode::new(leading()).router).await;
    let mut stream = server.connect().await;
    // The clock of the test starts before the request. The timeout of the server starts at its
    // response, a moment later.
    let started = tokio::time::Instant::now();
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.readable().await.unwrap();
    tokio::time::pause();
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert!((HEAD_TIMEOUT..HEAD_TIMEOUT * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn a_response_that_fails_in_its_middle_is_cut_off() {
    let body = || async {
        let fails = async {
            // The server sends the first half before the error.
            tokio::task::yield_now().await;
            Err(io::Error::other("gone"))
        };
        Body::from_stream(stream::iter([Ok("half")]).chain(stream::once(fails)))
    };
    let server = RunningServer::start(Router::new().route("/torn", post(body))).await;
    let mut stream = server.connect().await;
    let answer = exchange(&mut stream, b"POST /torn HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    // A complete response would end with an empty chunk.
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_burst_of_connections_waits_in_the_queue_of_the_system() {
    // Twice the usual length of the queue, unless this machine has a lower limit.
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let burst = limit.trim().parse::<usize>().unwrap().min(256);
    // Bound as a node binds its port: the queue is short.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    port.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(port).unwrap();
    lengthen_accept_queue(&listener);
    let addr = listener.local_addr().unwrap();
    let connected = futures_util::future::try_join_all((0..burst).map(|_| TcpStream::connect(addr)));
    let connected = timeout(Duration::from_secs(10), connected).await.expect("nobody accepts connections");
    assert_eq!(connected.unwrap().len(), burst);
}
