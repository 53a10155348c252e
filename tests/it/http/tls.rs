//! The API with TLS, over real sockets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rollcall_test_support::certificates::{TestAuthority, client_config, test_certificate};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cluster::{Cluster, Plan, http_client, until};

/// Promised time until a rotated certificate is served.
const ROTATION_TIME: Duration = Duration::from_secs(15);

/// A connection to a node, after the handshake.
async fn connect(cluster: &Cluster, node: usize) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(cluster.api(node)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(client_config(&cluster.authority().cert))).connect(name, stream).await
}

/// The certificate that a node serves.
async fn served(cluster: &Cluster, node: usize) -> CertificateDer<'static> {
    let stream = connect(cluster, node).await.expect("it is trusted");
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone()
}

/// Sends a heartbeat on a connection that stays open. Returns the status line.
async fn heartbeat_on(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    let body = r#"{"username":"alice"}"#;
    let head = format!("POST /heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Whether the status line is that of a heartbeat. On a busy machine, the node may have no leader
/// for a moment.
fn is_answer(line: &str) -> bool {
    ["HTTP/1.1 200 OK", "HTTP/1.1 503 Service Unavailable"].contains(&line)
}

#[tokio::test]
async fn all_urls_of_a_cluster_with_tls_are_https() {
    let cluster = Plan::quick().tls().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster.heartbeat("alice").await;
    let (follower, leader) = cluster.follower().await;
    let health = cluster.at(follower).get("/").await.json();
    let leader_url = health["leader_url"].as_str().expect("the follower knows the leader");
    assert!(leader_url.starts_with("https://127.0.0.1:"), "{leader_url}");
    let refused = cluster.at(follower).get("/discover").await;
    // The leader may have changed a moment ago.
    assert!(matches!(refused.status, 403 | 200 | 503), "{refused}");
    if refused.status == 403 {
        assert!(refused.header("rollcall-leader-url").is_some_and(|url| url.starts_with("https://")), "{refused}");
        assert!(refused.json()["leader_url"].as_str().is_some_and(|url| url.starts_with("https://")), "{refused}");
    }
    let nodes = cluster.at(leader).get("/cluster").await.json();
    let urls: Vec<&Value> = nodes["nodes"].as_array().expect("a list").iter().map(|node| &node["api_url"]).collect();
    assert!(urls.iter().all(|url| url.is_null() || url.as_str().is_some_and(|url| url.starts_with("https://"))));
    for node in 0..3 {
        let banner = cluster.stdout(node);
        assert!(banner.contains("HTTP API server listening on https://"), "{banner}");
    }
}

#[tokio::test]
async fn plain_http_to_a_node_with_tls_gets_a_400_that_names_its_https_url() {
    let cluster = Plan::quick().nodes(1).tls().start().await;
    let url = cluster.url(0);
    let plain = url.replacen("https", "http", 1);
    for request in [http_client().get(format!("{plain}/discover")), http_client().post(format!("{plain}/heartbeat"))] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 400);
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["code"], "https_required");
        assert!(body["message"].as_str().expect("text").ends_with(&format!("send it to {url}")), "{body}");
    }
}

/// A cluster of one node with the user `alice`.
async fn node_with_alice() -> Cluster {
    let cluster = Plan::documented().nodes(1).tls().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster
}

#[tokio::test]
async fn a_rotated_certificate_is_served_within_15_s_without_a_lost_request() {
    let cluster = node_with_alice().await;
    let old = served(&cluster, 0).await;
    let mut kept = connect(&cluster, 0).await.expect("it is trusted");
    assert!(is_answer(&heartbeat_on(&mut kept).await.expect("an answer")));
    let (is_done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let new_connections = async {
        while !is_done.load(Ordering::Relaxed) {
            let answer = cluster.at(0).post("/heartbeat", r#"{"username":"alice"}"#).await;
            // On a busy machine, the node may have no leader for a moment.
            assert!(answer.status == 200 || answer.to_string().contains("no_leader"), "{answer}");
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rotation = async {
        for _ in 0..2 {
            let before = served(&cluster, 0).await;
            cluster.authority().issue(|_| ()).write(cluster.dir(), "node");
            let written = Instant::now();
            while served(&cluster, 0).await == before {
                assert!(written.elapsed() < ROTATION_TIME, "the old certificate is still served");
                sleep(Duration::from_millis(100)).await;
            }
        }
        is_done.store(true, Ordering::Relaxed);
    };
    tokio::join!(new_connections, rotation);
    assert!(sent.load(Ordering::Relaxed) > 10);
    assert_ne!(served(&cluster, 0).await, old);
    assert!(is_answer(&heartbeat_on(&mut kept).await.expect("the connection goes on")));
}

#[tokio::test]
async fn a_bad_pair_is_logged_once_and_the_old_certificate_stays() {
    const KEPT: &str = "the old one is still served";
    let cluster = node_with_alice().await;
    let old = served(&cluster, 0).await;
    let stranger = test_certificate(|_| ());
    std::fs::write(cluster.dir().join("node-key.pem"), &stranger.key).expect("the directory is ours");
    until("the warning", async || cluster.stderr(0).contains(KEPT)).await;
    assert_eq!(served(&cluster, 0).await, old);
    cluster.heartbeat("alice").await;
    let new = cluster.authority().issue(|params| params.subject_alt_names.truncate(1));
    new.write(cluster.dir(), "node");
    until("the new certificate", async || cluster.stderr(0).contains("serving a new TLS certificate")).await;
    let log = cluster.stderr(0);
    assert_eq!(log.matches(KEPT).count(), 1, "{log}");
    assert!(log.contains("does not belong") && !log.contains("PRIVATE KEY"), "{log}");
    assert!(!log.contains("clients refuse the TLS certificate"), "it covers the address: {log}");
}

#[tokio::test]
async fn a_certificate_that_clients_refuse_is_reported_at_the_start() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let authority = TestAuthority::new("authority");
    let made = authority.issue(|params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    });
    let (cert, key) = made.write(dir.path(), "old");
    let plan = Plan::quick().nodes(1).env("ROLLCALL_TLS_CERT", &cert.display().to_string());
    let plan = plan.env("ROLLCALL_TLS_KEY", &key.display().to_string());
    let cluster = plan.env("ROLLCALL_API_URL", "https://api.example:3000").start().await;
    let log = cluster.stderr(0);
    assert!(log.contains("it does not cover api.example, the host of api_url"), "{log}");
    assert!(log.contains("it expired at 2020-01-01T00:00:00Z"), "{log}");
    assert_eq!(log.matches("other users of this machine can read the secret in").count(), 1, "{log}");
}
