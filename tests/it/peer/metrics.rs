//! Tests of the metrics and the health endpoint of real peers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::peer_process::PeerProcess;
use crate::cluster::{http_client, rollcall, until};

const FLAGS: [&str; 5] = ["--no-lan", "--listen", "127.0.0.1:0", "--metrics", "0"];

/// All metric samples of a peer. The key is the name with its labels, as in the exposition.
async fn samples(peer: &PeerProcess) -> BTreeMap<String, u64> {
    let answer = http_client().get(peer.metrics_url() + "/metrics").send().await.expect("it serves");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let page = answer.text().await.expect("a body");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

async fn sample(peer: &PeerProcess, name: &str) -> u64 {
    let samples = samples(peer).await;
    *samples.get(&format!("rollcall_peer_{name}")).unwrap_or_else(|| panic!("{name} is in {samples:?}"))
}

async fn health(peer: &PeerProcess) -> (u16, Value) {
    let answer = http_client().get(peer.metrics_url() + "/healthz").send().await.expect("it serves");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn messages_of_two_peers_are_counted_exactly() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = PeerProcess::start(dir.path(), "alice", &FLAGS).await;
    let there = alice.mesh_addr();
    let mut bob = PeerProcess::start(dir.path(), "bob", &[&FLAGS[..], &["--peers", &there]].concat()).await;
    // Wait until both history requests are answered. After that, chat arrives only as new posts.
    for peer in [&alice, &bob] {
        until("the history request and its answer", async || {
            sample(peer, r#"messages_received_total{kind="history"}"#).await == 2
        })
        .await;
    }
    for line in ["one", "two", "three"] {
        alice.type_line(line);
    }
    bob.type_line("four");
    bob.type_line("DM alice psst");
    bob.wait_for_post("three").await;
    alice.wait_for_post("four").await;
    until("a direct message", async || alice.count(|event| event["event"] == "direct") == 1).await;
    let chat = |direction: &str| format!(r#"messages_{direction}_total{{kind="chat"}}"#);
    let direct = |direction: &str| format!(r#"messages_{direction}_total{{kind="direct"}}"#);
    for (peer, sent_posts, received_posts, sent_direct, received_direct) in [(&alice, 3, 1, 0, 1), (&bob, 1, 3, 1, 0)] {
        for (name, count) in [
            ("posts_sent_total", sent_posts),
            ("posts_received_total", received_posts),
            (&*chat("sent"), sent_posts),
            (&*chat("received"), received_posts),
            (&*direct("sent"), sent_direct),
            (&*direct("received"), received_direct),
            ("history_entries", 4),
            ("duplicates_total", 0),
            ("connections", 1),
            (r#"known_peers{via="mesh"}"#, 1),
            (r#"errors_total{kind="message"}"#, 0),
            (r#"links_lost_total{reason="slow"}"#, 0),
        ] {
            assert_eq!(sample(peer, name).await, count, "{name} of {}", peer.name);
        }
        until("heartbeats both ways", async || {
            let samples = samples(peer).await;
            samples["rollcall_peer_heartbeats_sent_total"] > 1 && samples["rollcall_peer_heartbeats_received_total"] > 1
        })
        .await;
        assert!(sample(peer, "sent_bytes_total").await > 500);
    }
    let (status, healthy) = health(&bob).await;
    assert_eq!((status, &healthy["status"], &healthy["connections"]), (200, &"ok".into(), &1.into()), "{healthy}");
    assert_eq!(
        (&healthy["name"], &healthy["lan"], &healthy["registry"]),
        (&"bob".into(), &Value::Null, &"none".into())
    );
    assert_eq!(healthy["id"], bob.events()[0]["id"]);

    alice.kill();
    until("failed dials", async || sample(&bob, "dials_failed_total").await > 0).await;
    let after_kill = samples(&bob).await;
    assert_eq!(after_kill[r#"rollcall_peer_links_lost_total{reason="ended"}"#], 1);
    assert_eq!(after_kill["rollcall_peer_connections"], 0);
    assert!(
        after_kill["rollcall_peer_reconnects_total"] >= after_kill["rollcall_peer_dials_failed_total"],
        "{after_kill:?}"
    );
    assert_eq!(health(&bob).await.0, 200, "a peer without links is healthy");
    let url = bob.metrics_url();
    bob.quit().await;
    assert!(http_client().get(url + "/healthz").send().await.is_err(), "it ends with the peer");
}

#[tokio::test]
async fn failed_greetings_and_invalid_messages_are_counted() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().expect("a temporary directory");
    let alice = PeerProcess::start(dir.path(), "alice", &FLAGS).await;
    let connect = || std::net::TcpStream::connect(alice.mesh_addr()).expect("it listens");
    connect().write_all(b"GET / HTTP/1.1\r\n").expect("it reads");
    until("the failed greeting", async || sample(&alice, r#"errors_total{kind="greeting"}"#).await == 1).await;
    let mut noisy = connect();
    noisy.write_all(b"0000000000000000000000000000ffff\n{\"a\":1}{\"b\":2}]").expect("it reads");
    // The connection is closed or reset.
    let _ = noisy.read_to_end(&mut Vec::new());
    until("the broken stream", async || sample(&alice, r#"errors_total{kind="stream"}"#).await == 1).await;
    assert_eq!(sample(&alice, r#"errors_total{kind="message"}"#).await, 2);
    until("the end of the connection", async || sample(&alice, "connections").await == 0).await;
}

#[tokio::test]
async fn an_unusable_metrics_address_is_reported_with_a_remedy() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = listener.local_addr().expect("bound").to_string();
    for (given, code, words) in [
        (taken.as_str(), 71, vec!["cannot serve metrics at", taken.as_str(), "--metrics host:port"]),
        ("here", 78, vec!["metrics_addr", "\"here\"", "host:port"]),
    ] {
        let mut command = rollcall(dir.path());
        command.args(["peer", "--name", "alice", "--no-lan", "--listen", "127.0.0.1:0", "--metrics", given]);
        let output = command.output().expect("the program was built");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{words:?} in {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[tokio::test]
async fn the_health_check_of_containers_detects_an_unhealthy_peer() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let alice = PeerProcess::start(dir.path(), "alice", &FLAGS).await;
    let url = alice.metrics_url();
    let port = url.rsplit(':').next().expect("a port");
    let check = async |args: &[&str]| {
        let mut script = tokio::process::Command::new("bash");
        script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/container_health.sh")).args(args);
        script.stderr(std::process::Stdio::null()).status().await.expect("bash is there").success()
    };
    assert!(check(&[port]).await);
    assert!(!check(&[port, "/nothing"]).await, "a 404 does not count as healthy");
    alice.kill();
    assert!(!check(&[port]).await);
}
