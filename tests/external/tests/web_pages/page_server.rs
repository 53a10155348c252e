//! Web server of the page, at a name that only the browser of these tests resolves.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Host name of the page. To a browser, it is another site than the node's.
pub(super) const PAGE_HOST: &str = "page.test";

const PAGE: &str = include_str!("page.html");

/// Serves the page, and receives its results.
pub(super) struct PageServer {
    port: u16,
    results: mpsc::UnboundedReceiver<Value>,
    _task: JoinSet<()>,
}

impl PageServer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (sender, results) = mpsc::unbounded_channel();
        let serve = async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve_connection(stream, sender.clone()));
            }
        };
        Self { port, results, _task: JoinSet::from_iter([serve]) }
    }

    /// Origin of the page.
    pub(super) fn origin(&self) -> String {
        format!("http://{PAGE_HOST}:{}", self.port)
    }

    /// Waits for the results of the page.
    pub(super) async fn results(&mut self) -> Value {
        self.results.recv().await.expect("the server runs")
    }
}

/// Answers one request. A connection that ends early has none.
async fn serve_connection(stream: TcpStream, results: mpsc::UnboundedSender<Value>) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let start = head.len();
        if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
            return;
        }
        if let Some(value) = head[start..].to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("browsers send a number");
        }
    }
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    if head.starts_with("POST /results ") {
        let _ = results.send(serde_json::from_slice(&body).expect("the page sends JSON"));
    }
    let (status, page) = if head.starts_with("GET /?") { ("200 OK", PAGE) } else { ("404 Not Found", "") };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}
