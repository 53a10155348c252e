//! The fast path for heartbeats answers, byte for byte, as the router does.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{Cluster, Plan};

const BODIES: &[&str] = &[
    r#"{"username":"alice","addr":"10.0.0.2:9000"}"#,
    r#"{"username":"alice"}"#,
    r#"{"username":"nobody"}"#,
    r#"{"username":"a b"}"#,
    r#"{"username":"alice","addr":"x"}"#,
    r#"{"username":7}"#,
    "{}",
    "nonsense",
    "",
];

/// Any query sends a request to the router instead of the fast path.
const FAST_PATH: &str = "/heartbeat";
const ROUTER_PATH: &str = "/heartbeat?ordinary";

async fn exchange(cluster: &Cluster, node: usize, request: &str) -> String {
    let mut socket = TcpStream::connect(cluster.api(node)).await.expect("it listens");
    socket.write_all(request.as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer in UTF-8");
    answer
}

/// The interim response that permits the client to send its body.
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// The lines of a response, without those that differ between requests. The header fields are
/// sorted.
fn lines(answer: &str) -> Vec<String> {
    let (leave, answer) = answer.strip_prefix(CONTINUE).map_or(("", answer), |answer| (CONTINUE, answer));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let differs = |line: &&str| !line.starts_with("x-request-id:") && !line.starts_with("date:");
    let mut lines: Vec<String> = head.lines().filter(differs).map(str::to_owned).collect();
    lines[1..].sort();
    let seen = body.split("\"last_seen\":\"").nth(1).and_then(|rest| rest.split('"').next());
    lines.push(seen.map_or_else(|| body.to_owned(), |seen| body.replace(seen, "now")));
    lines.push(leave.to_owned());
    lines
}

#[tokio::test]
async fn both_paths_answer_the_same_bytes_on_the_leader_and_on_a_follower() {
    let cluster = Plan::documented().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let (follower, leader) = cluster.follower().await;
    for node in [leader, follower] {
        for body in BODIES {
            for header in ["", "X-Request-Id: mine.1\r\n", "Expect: 100-continue\r\n"] {
                let ask = async |path: &str| {
                    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}");
                    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                    lines(&exchange(&cluster, node, &request).await)
                };
                assert_eq!(ask(FAST_PATH).await, ask(ROUTER_PATH).await, "node {node}, {header:?} {body}");
            }
            let chunked = async |path: &str| {
                let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
                let chunk = if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
                let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
                lines(&exchange(&cluster, node, &request).await)
            };
            assert_eq!(chunked(FAST_PATH).await, chunked(ROUTER_PATH).await, "node {node}, in chunks: {body}");
        }
    }
}

#[tokio::test]
async fn pipelined_heartbeats_are_answered_in_order() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let leader = cluster.leader().await;
    let heartbeat = |close: &str, port: u16| {
        let body = format!(r#"{{"username":"alice","addr":"10.0.0.1:{port}"}}"#);
        format!("POST {FAST_PATH} HTTP/1.1\r\nHost: x\r\n{close}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let requests: Vec<String> =
        (1..100).map(|port| heartbeat("", port)).chain([heartbeat("Connection: close\r\n", 100)]).collect();
    let answers = exchange(&cluster, leader, &requests.concat()).await;
    let ports: Vec<u16> = answers
        .split("'alice' at 10.0.0.1:")
        .skip(1)
        .map(|rest| rest.split('"').next().and_then(|port| port.parse().ok()).expect("a port"))
        .collect();
    assert_eq!(ports, (1..=100).collect::<Vec<_>>(), "{answers}");
    let mut ids: Vec<&str> = answers.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100, "each request has an id of its own");
}

#[tokio::test]
async fn an_unusual_heartbeat_is_answered_by_the_router() {
    let cluster = Plan::documented().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let (follower, leader) = cluster.follower().await;
    let wrong = cluster.at(leader).get(FAST_PATH).await;
    wrong.expect_error(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
    assert_eq!(cluster.at(leader).head(FAST_PATH).await.status, 405);
    let page =
        cluster.at(leader).header("origin", "https://page.example").post(FAST_PATH, r#"{"username":"alice"}"#).await;
    page.expect_error(403, "origin_not_allowed");
    assert_eq!(page.header("access-control-allow-origin"), Some("*"));
    let redirect = cluster.at(follower).post("/heartbeat?redirect", "{}").await;
    assert_eq!(redirect.status, 307);
    cluster.at(leader).post(FAST_PATH, "x".repeat(64 * 1024 + 1)).await.expect_error(413, "body_too_large");
}
