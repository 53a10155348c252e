//! Baseline for the node: an HTTP server of hyper without further code. It reads each request to
//! its end and always sends the same response.

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rollcall_test_support::certificates::{TestCertificate, server_config};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::comparison::MeasuredServer;
use crate::http_client;
use crate::process::Process;
use crate::tls::Certificate;

/// First argument of a process that runs this server.
pub(crate) const COMMAND: &str = "bare";

/// A running bare server.
#[derive(Debug)]
pub(crate) struct BareServer {
    pub(crate) process: Process,
    pub(crate) addr: SocketAddr,
    _answer: NamedTempFile,
}

impl BareServer {
    /// Starts a server that always answers with this response, over TLS if it has a certificate.
    pub(crate) fn start(answer: &http_client::Response<'_>, tls: Option<&Certificate>) -> anyhow::Result<Self> {
        let file = NamedTempFile::new()?;
        fs::write(file.path(), [answer.head.as_bytes(), answer.body].concat())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).arg(file.path());
        if let Some(Certificate { cert, key, .. }) = tls {
            command.arg(cert).arg(key);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let mut line = String::new();
        BufReader::new(process.child().stdout.as_mut().context("no pipe")?).read_line(&mut line)?;
        let addr = line.trim().parse().context("the bare server did not start")?;
        Ok(Self { process, addr, _answer: file })
    }

    pub(crate) fn server(&self) -> MeasuredServer<'_> {
        MeasuredServer { name: "bare hyper", process: &self.process, addr: self.addr }
    }
}

/// Serves the response in `file` until standard input ends. `tls`: the files of the certificate and
/// its key.
pub(crate) fn run(file: Option<&Path>, tls: Option<(&Path, &Path)>) -> anyhow::Result<()> {
    let answer = fs::read(file.context("no file with the answer")?)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the header lines")? + 4;
    let (status, headers) = parse(std::str::from_utf8(&answer[..end])?)?;
    let body = Bytes::from(answer).slice(end..);
    let acceptor = match tls {
        Some((cert, key)) => {
            let made = TestCertificate { cert: fs::read_to_string(cert)?, key: fs::read_to_string(key)? };
            Some(TlsAcceptor::from(Arc::new(server_config(&made))))
        }
        None => None,
    };
    // A node uses the same multi-threaded runtime.
    let runtime = tokio::runtime::Runtime::new()?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    runtime.block_on(serve(status, headers, body, acceptor))
}

async fn serve(
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    acceptor: Option<TlsAcceptor>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (headers, body) = (headers.clone(), body.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (headers, body) = (headers.clone(), body.clone());
            async move {
                let _ = request.into_body().collect().await;
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Ok::<_, Infallible>(response)
            }
        });
        match acceptor.clone() {
            Some(acceptor) => {
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            None => {
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }
    }
}

/// The status and the header fields, without those that hyper adds itself.
fn parse(head: &str) -> anyhow::Result<(StatusCode, HeaderMap)> {
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.get(9..12)).context("no status line")?.parse()?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if !["content-length", "date"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
            headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value.trim())?);
        }
    }
    Ok((status, headers))
}
