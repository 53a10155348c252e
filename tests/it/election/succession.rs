//! Successor of a leader that is killed, stopped or frozen.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::cluster::{Cluster, Plan, SOON, until};
use crate::sample_images::png;

/// Limit for the election of a successor. It is so far below the documented
/// `election_timeout_min_ms` that only a proof of death or a resignation can be as quick.
const QUICK_SUCCESSION: Duration = Duration::from_secs(2);

const REQUESTS_TO_FROZEN_LEADER: usize = 64;
const ROUNDS: usize = 5;

/// Data that must survive every failure.
struct StoredData {
    id: String,
    picture: Vec<u8>,
    name: String,
}

async fn store_data(cluster: &Cluster) -> StoredData {
    let (id, picture) = (cluster.register("alice", "10.0.0.1:9000").await, png(32, 32, 7));
    let name = cluster.upload("alice", &picture).await;
    StoredData { id, picture, name }
}

async fn check_stored(cluster: &Cluster, stored: &StoredData) {
    let users = cluster.lead().get("/users").await.json();
    assert_eq!((&users["count"], &users["users"][0]["id"]), (&json!(1), &json!(stored.id)), "{users}");
    let images = cluster.lead().get("/images/alice").await.json();
    assert_eq!(images["images"], json!([stored.name]));
    assert_eq!(cluster.lead().get(&format!("/image/alice/{}", stored.name)).await.body, stored.picture);
    cluster.heartbeat("alice").await;
    assert_eq!(cluster.lead().get("/discover").await.json()["count"], 1);
    // The same registration still returns the same id.
    assert_eq!(cluster.register("alice", "10.0.0.1:9000").await, stored.id);
}

#[tokio::test]
async fn a_killed_leader_is_replaced_at_once_and_returns_as_a_follower() {
    let mut cluster = Plan::documented().start().await;
    let stored = store_data(&cluster).await;
    let old = cluster.leader().await;
    let term = cluster.health(old).await.expect("the node answers")["term"].as_u64();
    let killed_at = Instant::now();
    cluster.kill9(old);
    let new = cluster.leader_after(old).await;
    assert!(killed_at.elapsed() < QUICK_SUCCESSION, "took {:?}", killed_at.elapsed());
    assert!(cluster.health(new).await.expect("the node answers")["term"].as_u64() > term);
    check_stored(&cluster, &stored).await;

    cluster.start(old);
    until("the old leader to follow", async || {
        cluster.health(old).await.is_some_and(|health| health["current_leader"] == cluster.name(new))
    })
    .await;
    let health = cluster.health(old).await.expect("the node answers");
    assert_eq!((&health["is_leader"], &health["role"]), (&json!(false), &json!("follower")));
    assert_eq!(cluster.leader().await, new, "a returning node does not depose the leader");
    check_stored(&cluster, &stored).await;
}

#[tokio::test]
async fn a_cluster_that_lost_power_keeps_all_data() {
    let mut cluster = Plan::documented().start().await;
    let stored = store_data(&cluster).await;
    let leader = cluster.leader().await;
    let term = cluster.health(leader).await.expect("the node answers")["term"].as_u64();
    for index in 0..3 {
        cluster.kill9(index);
    }
    for index in 0..3 {
        cluster.start(index);
    }
    let leader = cluster.leader().await;
    assert!(cluster.health(leader).await.expect("the node answers")["term"].as_u64() > term, "no term is used twice");
    check_stored(&cluster, &stored).await;
}

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_exits_with_0_and_is_replaced_at_once() {
    let mut cluster = Plan::documented().start().await;
    let stored = store_data(&cluster).await;
    for _ in 0..2 {
        let old = cluster.leader().await;
        let asked_at = Instant::now();
        let status = cluster.sigterm(old).await;
        assert_eq!(status.code(), Some(0), "{status}");
        let new = cluster.leader_after(old).await;
        assert!(asked_at.elapsed() < QUICK_SUCCESSION, "took {:?}", asked_at.elapsed());
        check_stored(&cluster, &stored).await;
        cluster.start(old);
        // Two of three nodes must be linked before the next leader stops.
        until("the old leader to follow", async || {
            cluster.health(old).await.is_some_and(|health| health["current_leader"] == cluster.name(new))
        })
        .await;
    }
    // All nodes are asked to stop, one after the other. The last ones have no successor, but they
    // exit with 0 too.
    for index in 0..3 {
        let status = cluster.sigterm(index).await;
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

/// Several rounds, because a faulty node would give a wrong answer only if it answers before its
/// timers run.
#[tokio::test]
async fn a_leader_that_was_frozen_past_its_lease_does_not_answer_as_leader() {
    let cluster = Plan::quick().start().await;
    let stored = store_data(&cluster).await;
    for round in 0..ROUNDS {
        freeze_and_wake(&cluster, &format!("half{round}")).await;
        check_stored_and_user_count(&cluster, &stored, &format!("half{round}"), round + 2).await;
    }
}

/// Freezes the leader until another node serves. Meanwhile half of a request to register `username`
/// is in flight.
async fn freeze_and_wake(cluster: &Cluster, username: &str) {
    let old = cluster.leader().await;
    // One request has passed the leader check already: its head has arrived, and half of its body
    // is missing. The others lack the end of their heads. The node has accepted all the
    // connections, so only the last bytes have to arrive when it resumes.
    let body = registration(username);
    let head = format!("POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{}", body.len(), &body[..9]);
    let mut partial_requests = vec![(send_partial_request(cluster, old, &head).await, &body[9..])];
    for n in 0..REQUESTS_TO_FROZEN_LEADER {
        let path = ["/discover", "/users", "/leader", "/discovery/online"][n % 4];
        partial_requests
            .push((send_partial_request(cluster, old, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n")).await, "\r\n"));
    }
    // Wait for an answer on another connection. By then the server has most likely read the partial
    // requests too.
    cluster.at(old).get("/").await;
    cluster.freeze(old);
    let new = cluster.leader_after(old).await;
    for (socket, rest) in &mut partial_requests {
        socket.write_all(rest.as_bytes()).await.expect("the operating system receives the bytes");
    }
    cluster.resume(old);
    for (mut socket, _) in partial_requests {
        let mut answer = [0; 12];
        timeout(SOON, socket.read_exact(&mut answer)).await.expect("an answer in time").expect("the node answers");
        assert!([b"HTTP/1.1 403", b"HTTP/1.1 503"].contains(&&answer), "{}", String::from_utf8_lossy(&answer));
    }
    // No request is answered as the leader until the node follows.
    until("the old leader to follow", async || {
        let status = cluster.at(old).get("/discover").await.status;
        assert!(matches!(status, 403 | 503), "{status}");
        cluster.health(old).await.is_some_and(|health| health["current_leader"] == cluster.name(new))
    })
    .await;
}

async fn send_partial_request(cluster: &Cluster, node: usize, start: &str) -> TcpStream {
    let mut socket = TcpStream::connect(cluster.api(node)).await.expect("the node listens");
    socket.write_all(start.as_bytes()).await.expect("the node reads");
    socket
}

fn registration(username: &str) -> String {
    json!({"username": username, "addr": "10.0.0.9:9000"}).to_string()
}

/// The partial request was refused after it had passed the leader check. So the registration may
/// have happened, as after any 503. From then on the cluster gives the same answer every time.
async fn check_stored_and_user_count(cluster: &Cluster, stored: &StoredData, username: &str, count: usize) {
    let is_stored = cluster.stored().contains(&format!("users/{username}/profile.json"));
    let again = cluster.lead().post("/register", registration(username)).await;
    assert_eq!(again.status, if is_stored { 200 } else { 201 }, "{again}");
    let users = cluster.lead().get("/users").await.json();
    assert_eq!((&users["count"], &users["users"][0]["id"]), (&json!(count), &json!(stored.id)), "{users}");
}
