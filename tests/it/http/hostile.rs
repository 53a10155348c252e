//! Slow, broken and hostile clients do not hinder other clients.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::cluster::{Cluster, Plan};

/// Number of hostile clients that are connected at the same time.
const HOSTILE_CLIENTS: usize = 40;

/// Limit on the time of valid requests meanwhile. The server needs much less, but the machine may
/// be busy.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(3);

async fn connect(cluster: &Cluster, node: usize) -> TcpStream {
    TcpStream::connect(cluster.api(node)).await.expect("the node listens")
}

async fn check_responsive(cluster: &Cluster) {
    for n in 0..10 {
        let started = Instant::now();
        let username = format!("user{n}");
        cluster.register(&username, "10.0.0.1:9000").await;
        cluster.heartbeat(&username).await;
        assert!(started.elapsed() < MAX_REQUEST_TIME, "took {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn incomplete_requests_do_not_hinder_other_clients() {
    let cluster = Plan::documented().nodes(1).start().await;
    let leader = cluster.leader().await;
    let mut hostile_sockets = Vec::new();
    for n in 0..HOSTILE_CLIENTS {
        let unfinished = [
            "",
            "G",
            "GET / HTTP/1.1\r\nhost: x\r\n",
            "POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n{\"username\":",
            "POST /upload_image/user0 HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\ntransfer-encoding: chunked\r\n\r\n5\r\n--b",
        ];
        let mut socket = connect(&cluster, leader).await;
        socket.write_all(unfinished[n % unfinished.len()].as_bytes()).await.expect("the node listens");
        hostile_sockets.push(socket);
    }
    check_responsive(&cluster).await;
    // A further byte does not complete a request either.
    for socket in &mut hostile_sockets {
        let _ = socket.write_all(b"x").await;
    }
    check_responsive(&cluster).await;
    drop(hostile_sockets);
    assert_eq!(cluster.lead().get("/users").await.json()["count"], 10);
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_hinder_other_clients() {
    let cluster = Plan::documented().nodes(1).start().await;
    check_responsive(&cluster).await;
    let leader = cluster.leader().await;
    let mut hostile_sockets = Vec::new();
    // Only a few clients, because the server works on all their requests. That load is not under
    // test here.
    for _ in 0..HOSTILE_CLIENTS / 4 {
        let mut socket = connect(&cluster, leader).await;
        let requests = "GET /users HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
        // The server may stop reading before it has all of them, so the test must not wait.
        let _ = timeout(Duration::from_millis(50), socket.write_all(requests.as_bytes())).await;
        hostile_sockets.push(socket);
    }
    check_responsive(&cluster).await;
}

#[tokio::test]
async fn garbage_is_rejected_and_its_connection_closed() {
    let cluster = Plan::documented().nodes(1).start().await;
    let leader = cluster.leader().await;
    let mebibyte: Vec<u8> =
        (0..1_048_576_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).expect("8 bits")).collect();
    let endless_head = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(1_048_576));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let too_large_length =
        "POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n".to_owned();
    let two_lengths =
        "POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 20\r\n\r\n{}".to_owned();
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100);
    let kinds: [Vec<u8>; 6] =
        [mebibyte, endless_head.into(), many_headers.into(), too_large_length.into(), two_lengths.into(), tls];
    for (n, garbage) in kinds.into_iter().enumerate() {
        let socket = connect(&cluster, leader).await;
        let (mut reading, mut writing) = socket.into_split();
        let mut answer = Vec::new();
        let exchange = async {
            let write = async {
                // The server may close the connection before it has read all of it.
                let _ = writing.write_all(&garbage).await;
                let _ = writing.shutdown().await;
            };
            let ((), _) = tokio::join!(write, reading.read_to_end(&mut answer));
        };
        timeout(MAX_REQUEST_TIME, exchange).await.unwrap_or_else(|_| panic!("kind {n}: the connection stays open"));
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "kind {n}: {text}");
    }
    check_responsive(&cluster).await;
    assert_eq!(cluster.stored().len(), 10);
    assert!(!cluster.stderr(leader).contains("panicked"), "{}", cluster.stderr(leader));
}

#[tokio::test]
async fn garbage_on_the_election_port_does_not_disturb_the_cluster() {
    let cluster = Plan::documented().start().await;
    let leader = cluster.leader().await;
    let term = cluster.health(leader).await.expect("the node answers")["term"].clone();
    for index in 0..3 {
        for garbage in
            [vec![0xff; 100_000], vec![0; 100_000], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), Vec::new()]
        {
            let election = cluster.name(index);
            let mut socket = TcpStream::connect(election).await.expect("the node listens");
            let _ = socket.write_all(&garbage).await;
            if garbage.starts_with(b"GET") {
                let mut answer = [0; 4096];
                let length =
                    timeout(MAX_REQUEST_TIME, socket.read(&mut answer)).await.expect("an answer").expect("readable");
                let text = String::from_utf8_lossy(&answer[..length]);
                let (_, port) = cluster.api(index);
                assert!(text.contains(&port.to_string()), "it names the API port: {text}");
            }
        }
    }
    check_responsive(&cluster).await;
    let health = cluster.health(leader).await.expect("the node answers");
    assert_eq!((&health["is_leader"], &health["term"]), (&serde_json::json!(true), &term));
}
