//! HTTP/1.1 server for `/healthz` and `/metrics`.
//!
//! One request per connection. Connections, times and sizes are bounded by the constants below.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::exposition::CONTENT_TYPE;
use super::families::{PageContext, page};
use super::health::{PeerIdentity, StatsUnavailable, health};
use super::stats::PeerStats;
use crate::driver::PeerRequest;
use crate::io_counters::IoCounters;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::registry_task::RegistryStatus;
use rollcall_core::BootMs;
use rollcall_core::clock::boot_now;

/// Largest number of concurrent connections. Further connections wait in the backlog of the
/// listening socket.
const MAX_CONNECTIONS: usize = 16;
/// Longest duration of a connection, the answer included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time until the head of the request is received.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest head of a request, in bytes. The smallest limit that hyper allows.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Largest number of header fields of a request.
const MAX_HEADERS: usize = 64;
/// Timeout for a snapshot from the driver. After it the server reports `busy`.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for unfinished answers after the peer has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Facts about the peer for which the server does not ask the driver.
pub(crate) struct StaticInfo {
    pub(crate) id: PeerId,
    pub(crate) name: Nickname,
    pub(crate) max_connections: usize,
    /// UDP port at which the peer receives LAN answers; `None` without the LAN.
    pub(crate) lan_port: Option<u16>,
    /// Status of the registry; `None` without a registry.
    pub(crate) registry: Option<watch::Receiver<RegistryStatus>>,
    pub(crate) io_counters: Arc<IoCounters>,
    pub(crate) started_at: BootMs,
}

/// State of the server.
pub(crate) struct MetricsServer {
    pub(crate) info: StaticInfo,
    pub(crate) requests: mpsc::Sender<PeerRequest>,
    /// Cancelled when the peer begins to shut down. From then on each answer reports `stopping`.
    pub(crate) stop: CancellationToken,
}

/// Serves requests until `ended` is cancelled, which happens after the links have closed. While the
/// peer shuts down, each answer reports `stopping`.
pub(crate) async fn serve(listener: TcpListener, server: MetricsServer, ended: CancellationToken) {
    let server = Arc::new(server);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = ended.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&server)));
                }
                Err(error) => {
                    warn!(reason = error.to_string(), "cannot accept a connection of the metrics endpoint");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // Connections that remain after the timeout are aborted when the set is dropped.
    let _ = timeout(CLOSE_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve_connection(stream: TcpStream, server: Arc<MetricsServer>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(request.method(), request.uri().path()).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false);
    match timeout(CONNECTION_TIMEOUT, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(reason = error.to_string(), "a request for metrics failed"),
        Err(_) => debug!("a request for metrics timed out"),
    }
}

impl MetricsServer {
    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
            refusal.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match path {
            "/healthz" => self.health().await,
            "/metrics" => self.metrics().await,
            _ => text(StatusCode::NOT_FOUND, "there are /healthz and /metrics\n"),
        }
    }

    async fn health(&self) -> Response<Full<Bytes>> {
        let stats = self.stats().await;
        let code = if stats.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = health(self.identity(), &stats, self.info.lan_port, self.registry_status(), boot_now());
        answer(code, "application/json", body)
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        match self.stats().await {
            Ok(stats) => {
                let context = PageContext {
                    identity: &self.identity(),
                    max_connections: self.info.max_connections,
                    registry: self.registry_status(),
                    io_counters: &self.info.io_counters,
                    resident_bytes: resident_bytes().await,
                };
                answer(StatusCode::OK, CONTENT_TYPE, page(&stats, &context))
            }
            Err(unavailable) => text(StatusCode::SERVICE_UNAVAILABLE, format!("the peer is {}\n", unavailable.name())),
        }
    }

    /// Gets a snapshot from the driver.
    async fn stats(&self) -> Result<PeerStats, StatsUnavailable> {
        let (reply_tx, answer) = oneshot::channel();
        let request_snapshot = async {
            self.requests.send(PeerRequest::Stats(reply_tx)).await.ok()?;
            answer.await.ok()
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(StatsUnavailable::Stopping),
            reply = timeout(DRIVER_TIMEOUT, request_snapshot) => match reply {
                Ok(Some(stats)) => Ok(stats),
                Ok(None) => Err(StatsUnavailable::Stopping),
                Err(_) => Err(StatsUnavailable::Busy),
            },
        }
    }

    fn identity(&self) -> PeerIdentity {
        PeerIdentity {
            id: self.info.id.to_string(),
            name: self.info.name.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: boot_now().since(self.info.started_at) / 1000,
        }
    }

    fn registry_status(&self) -> Option<RegistryStatus> {
        self.info.registry.as_ref().map(|registry_status| *registry_status.borrow())
    }
}

/// Resident memory of this process, in bytes; `None` if the system has no `/proc/self/status`.
async fn resident_bytes() -> Option<u64> {
    let status = tokio::fs::read_to_string("/proc/self/status").await.ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kib: u64| kib * 1024)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body)
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
    let response = response.header(header::CACHE_CONTROL, "no-store");
    response.body(Full::new(body.into())).expect("the status and the headers are valid constants")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct TestServer {
        requests: mpsc::Receiver<PeerRequest>,
        stop: CancellationToken,
        ended: CancellationToken,
        addr: std::net::SocketAddr,
        task: JoinSet<()>,
    }

    async fn start_server() -> TestServer {
        let (request_tx, requests) = mpsc::channel(1);
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let info = StaticInfo {
            id: PeerId(7),
            name: Nickname::parse("alice").unwrap(),
            max_connections: 50,
            lan_port: None,
            registry: None,
            io_counters: Arc::default(),
            started_at: boot_now(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, MetricsServer { info, requests: request_tx, stop: stop.clone() }, ended.clone()));
        TestServer { requests, stop, ended, addr, task }
    }

    async fn ask(addr: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn an_unknown_path_or_method_is_rejected_without_asking_the_driver() {
        let server = start_server().await;
        assert!(ask(server.addr, "GET /").await.starts_with("HTTP/1.1 404 "));
        let refusal = ask(server.addr, "POST /metrics").await;
        assert!(refusal.starts_with("HTTP/1.1 405 ") && refusal.contains("allow: GET, HEAD\r\n"), "{refusal}");
        assert!(server.requests.is_empty());
    }

    #[tokio::test]
    async fn a_stopping_peer_reports_stopping_and_a_blocked_driver_reports_busy() {
        let mut server = start_server().await;
        let hanging = ask(server.addr, "GET /healthz").await;
        assert!(hanging.starts_with("HTTP/1.1 503 ") && hanging.contains(r#""status":"busy""#), "{hanging}");
        server.stop.cancel();
        let stopping = ask(server.addr, "GET /healthz").await;
        assert!(stopping.starts_with("HTTP/1.1 503 ") && stopping.contains(r#""status":"stopping""#), "{stopping}");
        assert!(ask(server.addr, "GET /metrics").await.starts_with("HTTP/1.1 503 "));
        server.ended.cancel();
        server.task.join_next().await.unwrap().unwrap();
        assert!(TcpStream::connect(server.addr).await.is_err());
    }

    #[tokio::test]
    async fn silent_connections_time_out_and_do_not_block_others() {
        let mut server = start_server().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(server.addr).await.unwrap());
        }
        // One of the connections sends a request. A further connection waits until a silent one
        // times out.
        silent[0].write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        silent[0].read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(ask(server.addr, "GET /nothing").await.starts_with("HTTP/1.1 404 "));
        for mut stream in silent.drain(1..) {
            let mut rest = Vec::new();
            let ended = timeout(2 * HEAD_TIMEOUT, stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "a silent connection is closed");
        }
        server.ended.cancel();
        server.task.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_resident_memory_is_known_on_systems_with_proc() {
        let known = resident_bytes().await;
        assert_eq!(known.is_some(), std::path::Path::new("/proc/self/status").exists());
        assert!(known.is_none_or(|bytes| bytes > 100_000), "{known:?}");
    }
}
