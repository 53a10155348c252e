//! The driver: answers two questions over HTTP/1.1, one on each connection, everything within bounds.

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

/// Connections that are served at once; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 16;
/// The longest that a connection lasts, from its first byte to the end of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes and fields of a request's head. (hyper allows no less.)
const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// A driver that does not answer within this time is not well.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long answers may take to end once the peer has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// After an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is known without asking the driver.
pub(crate) struct StaticInfo {
    pub(crate) id: PeerId,
    pub(crate) name: Nickname,
    pub(crate) max_connections: usize,
    pub(crate) lan_port: Option<u16>,
    /// `None` without a registry.
    pub(crate) registry: Option<watch::Receiver<RegistryStatus>>,
    pub(crate) io_counters: Arc<IoCounters>,
    pub(crate) started_at: BootMs,
}

/// Who answers.
pub(crate) struct MetricsServer {
    pub(crate) info: StaticInfo,
    pub(crate) requests: mpsc::Sender<PeerRequest>,
    /// Cancelled when the peer begins to end.
    pub(crate) stop: CancellationToken,
}

/// Answers until `ended`, which is when the peer's links have ended: so whoever asks meanwhile is told that it stops.
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
                    warn!(reason = error.to_string(), "cannot accept a connection for metrics");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // Whoever is not done then is cut off with the set.
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
        Ok(Err(error)) => debug!(reason = error.to_string(), "a question for metrics failed"),
        Err(_) => debug!("a question for metrics took too long"),
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

    /// Asks the driver.
    async fn stats(&self) -> Result<PeerStats, StatsUnavailable> {
        let (reply_tx, answer) = oneshot::channel();
        let ask_driver = async {
            self.requests.send(PeerRequest::Stats(reply_tx)).await.ok()?;
            answer.await.ok()
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(StatsUnavailable::Stopping),
            reply = timeout(DRIVER_TIMEOUT, ask_driver) => match reply {
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

/// Resident memory of this process, where the system tells.
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
    response.body(Full::new(body.into())).expect("all its parts are constants or bytes")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Bench {
        requests: mpsc::Receiver<PeerRequest>,
        stop: CancellationToken,
        ended: CancellationToken,
        addr: std::net::SocketAddr,
        task: JoinSet<()>,
    }

    async fn bench() -> Bench {
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
        Bench { requests, stop, ended, addr, task }
    }

    async fn ask(addr: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_is_not_served_is_refused_without_asking_the_driver() {
        let bench = bench().await;
        assert!(ask(bench.addr, "GET /").await.starts_with("HTTP/1.1 404 "));
        let refusal = ask(bench.addr, "POST /metrics").await;
        assert!(refusal.starts_with("HTTP/1.1 405 ") && refusal.contains("allow: GET, HEAD\r\n"), "{refusal}");
        assert!(bench.requests.is_empty());
    }

    #[tokio::test]
    async fn a_peer_that_stops_says_so_until_it_has_ended_and_a_driver_that_hangs_is_no_health() {
        let mut bench = bench().await;
        let hanging = ask(bench.addr, "GET /healthz").await;
        assert!(hanging.starts_with("HTTP/1.1 503 ") && hanging.contains(r#""status":"busy""#), "{hanging}");
        bench.stop.cancel();
        let stopping = ask(bench.addr, "GET /healthz").await;
        assert!(stopping.starts_with("HTTP/1.1 503 ") && stopping.contains(r#""status":"stopping""#), "{stopping}");
        assert!(ask(bench.addr, "GET /metrics").await.starts_with("HTTP/1.1 503 "));
        bench.ended.cancel();
        bench.task.join_next().await.unwrap().unwrap();
        assert!(TcpStream::connect(bench.addr).await.is_err());
    }

    #[tokio::test]
    async fn who_does_not_ask_is_cut_off_and_keeps_nobody_from_an_answer() {
        let mut bench = bench().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(bench.addr).await.unwrap());
        }
        // The last one that fits asks; a further one waits for who is cut off.
        silent[0].write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        silent[0].read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(ask(bench.addr, "GET /nothing").await.starts_with("HTTP/1.1 404 "));
        for mut stream in silent.drain(1..) {
            let mut rest = Vec::new();
            let ended = timeout(2 * HEAD_TIMEOUT, stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "a silent connection is ended");
        }
        bench.ended.cancel();
        bench.task.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_memory_of_this_process_is_known_where_the_system_tells() {
        let known = resident_bytes().await;
        assert_eq!(known.is_some(), std::path::Path::new("/proc/self/status").exists());
        assert!(known.is_none_or(|bytes| bytes > 100_000), "{known:?}");
    }
}
