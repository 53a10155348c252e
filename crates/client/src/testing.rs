//! Scripted HTTP server for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Header of every response of the scripted server. Clients read it from status 429 only.
const RETRY_AFTER: &str = "retry-after: 1";

/// Computes the status and body of a response from the request's number and first line.
type Script = Arc<dyn Fn(usize, &str) -> (u16, String) + Send + Sync>;

/// Starts a server on a free port, and returns its base URL.
///
/// The server closes each connection after one response. It stops when `tasks` is dropped. A script
/// that returns status 0 closes the connection without a response. The body of a redirect is its
/// target.
///
/// # Panics
/// If there is no free port, or a client closes the connection within a request.
pub async fn serve(
    tasks: &mut JoinSet<()>,
    script: impl Fn(usize, &str) -> (u16, String) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let script: Script = Arc::new(script);
    let count = AtomicUsize::new(0);
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // Read the whole body: a client must not see a closed connection while it still sends.
            while !is_complete(&request) && stream.read_buf(&mut request).await.unwrap() > 0 {}
            let text = String::from_utf8_lossy(&request).into_owned();
            // Status 0 simulates a server that dies before it responds.
            let (status, body) = script(count.fetch_add(1, Ordering::SeqCst), text.lines().next().unwrap_or_default());
            if status == 0 {
                continue;
            }
            let location = if status / 100 == 3 { format!("location: {body}\r\n") } else { String::new() };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\n{RETRY_AFTER}\r\n{location}content-length: {length}\r\n\r\n"
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    base
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// Response of `GET /`: the health of a node.
#[must_use]
pub fn health(is_leader: bool, leader_url: Option<&str>) -> (u16, String) {
    let url = leader_url.map_or("null".to_owned(), |url| format!("{url:?}"));
    let body = format!(
        r#"{{"status":"ok","is_leader":{is_leader},"online_clients_count":0,"current_leader":null,"leader_url":{url},
        "term":1,"node":"127.0.0.1:8080","role":"follower","version":"0","uptime_seconds":0}}"#
    );
    (200, body)
}
