//! Lists that change while many clients read them: entity tags, changes since a cursor, long polls,
//! and overload.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::cluster::{Cluster, Plan, Response, until};

/// Clients that wait for changes at once.
const POLLS: usize = 50;

/// The current cursor of the list of online clients.
async fn cursor(cluster: &Cluster) -> String {
    cluster.lead().get("/discover").await.header("rollcall-cursor").expect("a cursor").to_owned()
}

async fn since(cluster: &Cluster, cursor: &str, wait: u64) -> Value {
    let answer = cluster.lead().get(&format!("/discover?since={cursor}&wait={wait}")).await;
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()
}

async fn heartbeat_with_addr(cluster: &Cluster, username: &str, addr: &str) {
    let body = json!({"username": username, "addr": addr}).to_string();
    assert_eq!(cluster.lead().post("/heartbeat", body).await.status, 200);
}

#[tokio::test]
async fn lists_show_each_acknowledged_write_at_once() {
    let cluster = Plan::quick().nodes(1).start().await;
    let mut tags = Vec::new();
    for n in 1..=5 {
        let name = format!("user{n}");
        cluster.register(&name, "10.0.0.1:9000").await;
        assert_eq!(cluster.lead().get("/users").await.json()["count"], n);
        cluster.heartbeat(&name).await;
        let online = cluster.lead().get("/discover").await;
        assert_eq!(online.json()["count"], n);
        tags.push(online.header("etag").expect("a tag").to_owned());
        let names = cluster.lead().get("/discovery/online").await.json()["online"].clone();
        assert_eq!(names.as_array().map(Vec::len), Some(n));
        assert_eq!(cluster.lead().get("/users").await.json()["users"][n - 1]["online"], true);
    }
    // A heartbeat without a visible change keeps the tag. A 304 has the cursor too.
    cluster.heartbeat("user1").await;
    let again = cluster.lead().header("if-none-match", &tags[4]).get("/discover").await;
    assert_eq!((again.status, again.body.len()), (304, 0), "{again}");
    assert_eq!(again.header("rollcall-cursor").map(str::to_owned), Some(cursor(&cluster).await));
    tags.dedup();
    assert_eq!(tags.len(), 5);
}

#[tokio::test]
async fn a_long_poll_reports_clients_that_joined_moved_and_left() {
    let cluster = Plan::quick().nodes(1).env("HEARTBEAT_TTL_SECONDS", "2").start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let mut last_cursor = cursor(&cluster).await;
    let alice = json!([{"username": "alice", "addr": "10.0.0.1:9000"}]);
    let elsewhere = json!([{"username": "alice", "addr": "10.0.0.2:9000"}]);
    let gone = json!([{"username": "alice", "reason": "timeout"}]);

    let comes = async { heartbeat_with_addr(&cluster, "alice", "10.0.0.1:9000").await };
    let (joined, ()) = tokio::join!(since(&cluster, &last_cursor, 60), comes);
    assert_eq!(joined["changes"], json!({"joined": alice, "left": [], "moved": []}));
    joined["cursor"].as_str().expect("text").clone_into(&mut last_cursor);

    let goes = async { heartbeat_with_addr(&cluster, "alice", "10.0.0.2:9000").await };
    let (moved, ()) = tokio::join!(since(&cluster, &last_cursor, 60), goes);
    assert_eq!(moved["changes"], json!({"joined": [], "left": [], "moved": elsewhere}));
    assert_eq!((&moved["count"], &moved["is_leader"]), (&json!(1), &json!(true)));
    moved["cursor"].as_str().expect("text").clone_into(&mut last_cursor);

    // No request is sent meanwhile. The timeout itself is the change.
    let left = since(&cluster, &last_cursor, 60).await;
    assert_eq!(left["changes"], json!({"joined": [], "left": gone, "moved": []}));
    assert_eq!((&left["count"], left.get("reset")), (&json!(0), None));
}

#[tokio::test]
async fn a_long_poll_without_changes_is_answered_when_its_wait_is_over() {
    let cluster = Plan::quick().nodes(1).start().await;
    let last_cursor = cursor(&cluster).await;
    let started = Instant::now();
    let nothing = since(&cluster, &last_cursor, 1).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(nothing["changes"], json!({"joined": [], "left": [], "moved": []}));
    assert_eq!(nothing["cursor"], last_cursor);
    assert_eq!(since(&cluster, &last_cursor, 0).await["cursor"], last_cursor);
}

#[tokio::test]
async fn a_cursor_of_another_leader_gets_the_whole_list() {
    let mut cluster = Plan::quick().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster.heartbeat("alice").await;
    let last_cursor = cursor(&cluster).await;
    let old = cluster.leader().await;
    cluster.kill9(old);
    cluster.leader_after(old).await;
    cluster.heartbeat("alice").await;
    let whole = since(&cluster, &last_cursor, 60).await;
    assert_eq!((&whole["reset"], &whole["count"]), (&json!(true), &json!(1)), "{whole}");
    assert_eq!(whole["online_clients"], json!([{"username": "alice", "addr": "10.0.0.1:9000"}]));
    let now = since(&cluster, whole["cursor"].as_str().expect("text"), 0).await;
    assert_eq!(now.get("reset"), None, "{now}");
}

/// A leader that stops must not wait for long polls, and must answer them.
#[tokio::test]
async fn a_leader_that_stops_answers_long_polls_with_its_successor() {
    let mut cluster = Plan::documented().env("RUST_LOG", "info,rollcall::http=debug").start().await;
    let old = cluster.leader().await;
    let last_cursor = cursor(&cluster).await;
    let path = format!("/discover?since={last_cursor}&wait=60");
    let asked = join_all((0..POLLS).map(|_| cluster.at(old).get(&path)));
    let ask_to_end = async {
        let waiting = || cluster.stderr(old).matches("a client waits for changes").count();
        until("all to wait", async || waiting() == POLLS).await;
        cluster.terminate(old);
    };
    let (answers, ()) = tokio::join!(asked, ask_to_end);
    let of = |status: u16| answers.iter().filter(|answer| answer.status == status).collect::<Vec<&Response>>();
    for answer in of(403) {
        answer.expect_error(403, "not_leader");
        assert_ne!(answer.json()["leader"], cluster.name(old));
    }
    assert_eq!(of(403).len() + of(503).len(), answers.len());
    assert!(of(403).len() * 2 > answers.len(), "most learn who leads: {} of {}", of(403).len(), answers.len());
    assert!(cluster.end(old).await.success());
    let log = cluster.stderr(old);
    assert!(!log.contains("did not end in time"), "{log}");
}

/// A node whose list of users has about 6 MB. The users are in the bucket before the node starts.
async fn cluster_with_long_list() -> Cluster {
    let mut cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let template = fs::read_to_string(cluster.bucket().join("users/alice/profile.json")).expect("it is stored");
    let mut profile: Value = serde_json::from_str(&template).expect("it is JSON");
    profile["metadata"] = json!({"a": "x".repeat(4000)});
    for n in 0..1500 {
        let name = format!("user{n}");
        let dir = cluster.bucket().join("users").join(&name);
        profile["username"] = json!(name);
        fs::create_dir_all(&dir).expect("the directory is ours");
        fs::write(dir.join("profile.json"), profile.to_string()).expect("the directory is ours");
    }
    cluster.kill9(0);
    cluster.start(0);
    until("the whole list", async || cluster.lead().get("/users").await.json()["count"] == 1501).await;
    cluster
}

#[tokio::test]
async fn stalled_readers_make_room_for_further_readers_and_do_not_hinder_heartbeats() {
    let cluster = cluster_with_long_list().await;
    let mut readers = Vec::new();
    for _ in 0..60 {
        let mut reader = TcpStream::connect(cluster.api(0)).await.expect("it listens");
        reader.write_all(b"GET /users HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
        let mut status = [0; 12];
        reader.read_exact(&mut status).await.expect("it answers");
        readers.push((status, reader));
    }
    assert!(readers.iter().all(|(status, _)| matches!(status, b"HTTP/1.1 200" | b"HTTP/1.1 503")));
    // The readers hold all permits. The list of one that has not read for a second is given up,
    // even for a reader at the same address.
    until("room for the list", async || cluster.at(0).get("/users").await.status == 200).await;
    let heartbeat = cluster.at(0).post("/heartbeat", r#"{"username":"alice"}"#).await;
    assert_eq!(heartbeat.status, 200, "{heartbeat}");
    cluster.register("bob", "10.0.0.2:9000").await;
    drop(readers);
}
