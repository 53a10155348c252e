use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt;

use super::*;
use crate::http::params::ClientAddr;
use crate::http::pool_client::DisplacedConnection;
use crate::http::testing::{TestNode, TestResponse, following, leading_until, request};
use rollcall_election::RoleState;

async fn cursor(node: &TestNode) -> String {
    node.get("/discover").await.header("rollcall-cursor").unwrap().to_owned()
}

async fn send_heartbeat(node: &TestNode, username: &str, addr: &str) {
    let body = format!(r#"{{"username":"{username}","addr":"{addr}"}}"#);
    assert_eq!(node.post("/heartbeat", body).await.status, 200);
}

/// Sends a request, and returns when the request waits.
fn start_request<'n>(node: &'n TestNode, path: String) -> Pin<Box<dyn Future<Output = TestResponse> + 'n>> {
    let mut poll: Pin<Box<dyn Future<Output = TestResponse>>> = Box::pin(async move { node.get(&path).await });
    assert!(poll.as_mut().now_or_never().is_none(), "the request waits");
    poll
}

fn start_poll<'n>(node: &'n TestNode, since: &str) -> Pin<Box<dyn Future<Output = TestResponse> + 'n>> {
    start_request(node, format!("/discover?since={since}&wait=60"))
}

fn changes(answer: &TestResponse) -> Value {
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, Some("no-store")));
    answer.json()["changes"].clone()
}

#[tokio::test]
async fn a_long_poll_is_answered_with_the_changes_when_the_list_changes() {
    let node = TestNode::with_alice_and_bob().await;
    let first = start_poll(&node, &cursor(&node).await);
    send_heartbeat(&node, "bob", "10.0.0.1:1").await;
    let first = first.await;
    let bob = json!({"username": "bob", "addr": "10.0.0.1:1"});
    assert_eq!(changes(&first), json!({"joined": [bob], "left": [], "moved": []}));
    let json = first.json();
    assert_eq!((&json["count"], &json["is_leader"], json.get("reset")), (&json!(1), &json!(true), None));

    let second = start_poll(&node, json["cursor"].as_str().unwrap());
    // A heartbeat without a visible change wakes no request.
    send_heartbeat(&node, "bob", "10.0.0.1:1").await;
    send_heartbeat(&node, "bob", "10.0.0.1:2").await;
    let second = second.await;
    let bob = json!({"username": "bob", "addr": "10.0.0.1:2"});
    assert_eq!(changes(&second), json!({"joined": [], "left": [], "moved": [bob]}));
}

#[tokio::test]
async fn a_long_poll_with_an_old_cursor_is_answered_at_once() {
    let node = TestNode::with_alice_and_bob().await;
    let start = cursor(&node).await;
    send_heartbeat(&node, "alice", "10.0.0.1:1").await;
    for query in ["", "&wait=0", "&wait=60"] {
        let answer = node.get(&format!("/discover?since={start}{query}")).now_or_never().unwrap();
        assert_eq!(changes(&answer)["joined"][0]["username"], "alice", "{query}");
    }
    let now = cursor(&node).await;
    let nothing = node.get(&format!("/discover?since={now}")).now_or_never().unwrap();
    assert_eq!(changes(&nothing), json!({"joined": [], "left": [], "moved": []}));
    assert_eq!(nothing.json()["cursor"], now);
}

#[tokio::test(start_paused = true)]
async fn without_changes_a_long_poll_is_answered_when_its_wait_is_over() {
    let node = TestNode::with_alice_and_bob().await;
    let cursor = cursor(&node).await;
    for (wait, seconds) in [("5", 5), ("55", 55), ("60", 55), ("3600", 55)] {
        let started = Instant::now();
        let answer = node.get(&format!("/discover?since={cursor}&wait={wait}")).await;
        assert_eq!(started.elapsed().as_secs(), seconds);
        assert_eq!(changes(&answer), json!({"joined": [], "left": [], "moved": []}));
        assert_eq!(answer.json()["cursor"], cursor);
    }
}

#[tokio::test]
async fn a_cursor_unknown_to_the_leader_gets_the_whole_list_at_once() {
    let node = TestNode::with_alice_and_bob().await;
    send_heartbeat(&node, "alice", "10.0.0.1:1").await;
    let old = cursor(&node).await;
    let later = old.rsplit_once('-').unwrap().0.to_owned() + "-ffff";
    node.role.send_modify(|role| role.term = role.term.next());
    for unknown in ["0", &old, &later] {
        let answer = node.get(&format!("/discover?since={unknown}&wait=60")).await;
        let alice = json!({"username": "alice", "addr": "10.0.0.1:1"});
        let now = cursor(&node).await;
        let whole_list =
            json!({"reset": true, "cursor": now, "online_clients": [alice], "count": 1, "is_leader": true});
        assert_eq!(answer.json(), whole_list, "{unknown}");
        assert_ne!(now, old);
    }
}

#[tokio::test]
async fn an_invalid_long_poll_is_rejected_at_once() {
    let node = TestNode::with_alice_and_bob().await;
    let cursor = cursor(&node).await;
    let queries = ["since=&wait=60", "since=x&wait=60", "wait=5", "since=0&since=0", "since=0&limit=5"];
    for query in queries.into_iter().map(str::to_owned).chain([format!("since={cursor}&wait=-1")]) {
        node.get(&format!("/discover?{query}")).await.expect_error(400, "invalid_field");
    }
    node.role.send_replace(following());
    node.get(&format!("/discover?since={cursor}&wait=60")).await.expect_error(403, "not_leader");
    node.get("/discover?since=nonsense&wait=60").await.expect_error(403, "not_leader");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_is_not_in_flight_and_is_answered_with_the_next_leader() {
    let node = TestNode::with_alice_and_bob().await;
    let poll = start_poll(&node, &cursor(&node).await);
    assert!(node.app.in_flight.is_empty(), "a handover would wait for the long poll");
    let started = Instant::now();
    node.role.send_modify(|role| {
        let RoleState::Leader { handing_over, .. } = &mut role.state else { unreachable!() };
        *handing_over = true;
    });
    let mut poll = pin!(poll);
    assert!(tokio::time::timeout(Duration::from_millis(100), poll.as_mut()).await.is_err(), "the request is held");
    assert!(node.app.in_flight.is_empty());
    node.role.send_replace(following());
    poll.await.expect_error(403, "not_leader");
    assert!(started.elapsed() < Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_loses_its_lease_ends_all_long_polls() {
    let node = TestNode::with_alice_and_bob().await;
    let poll = start_poll(&node, &cursor(&node).await);
    let started = Instant::now();
    node.role.send_modify(|role| *role = leading_until(clock::boot_now(), role.term));
    poll.await.expect_error(503, "no_leader");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn long_polls_are_limited_and_do_not_block_other_requests() {
    let node = TestNode::with_alice_and_bob().await;
    let cursor = cursor(&node).await;
    let path = format!("/discover?since={cursor}&wait=60");
    let mut waiting: Vec<_> = (0..MAX_LONG_POLLS).map(|_| start_poll(&node, &cursor)).collect();
    node.get(&path).await.expect_error(503, "overloaded");
    assert_eq!(node.get(&format!("/discover?since={cursor}")).await.status, 200);
    assert_eq!(node.get("/discover").await.status, 200);
    waiting.pop();
    waiting.push(start_poll(&node, &cursor));
    send_heartbeat(&node, "alice", "10.0.0.1:1").await;
    let answers = futures_util::future::join_all(waiting).await;
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!(changes(&answers[0])["joined"][0]["username"], "alice");
    let mut head = request("HEAD", &path, "");
    *head.method_mut() = axum::http::Method::HEAD;
    assert_eq!(node.send(head).await.status, 200);
}

#[tokio::test]
async fn the_client_with_all_long_polls_gets_an_answer_without_changes_when_another_client_polls() {
    let node = TestNode::with_alice_and_bob().await;
    let cursor = cursor(&node).await;
    let mut waiting: Vec<_> = (0..MAX_LONG_POLLS).map(|_| start_poll(&node, &cursor)).collect();
    let mut other = request("GET", &format!("/discover?since={cursor}&wait=60"), "");
    other.extensions_mut().insert(ClientAddr([10, 0, 0, 10].into()));
    let mut other = Box::pin(node.router.clone().oneshot(other));
    assert!((&mut other).now_or_never().is_none());
    let displaced = waiting.remove(0).now_or_never().expect("the first one is answered");
    assert_eq!(changes(&displaced), json!({"joined": [], "left": [], "moved": []}));
    assert_eq!(displaced.json()["cursor"], cursor);
    assert!((&mut other).now_or_never().is_none(), "it waits for changes");
    assert!(waiting.iter_mut().all(|poll| poll.now_or_never().is_none()));
    send_heartbeat(&node, "alice", "10.0.0.1:1").await;
    assert_eq!(other.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_long_poll_ends_when_its_connection_is_displaced() {
    let node = TestNode::with_alice_and_bob().await;
    let (mut request, displaced) = (
        request("GET", &format!("/discover?since={}&wait=60", cursor(&node).await), ""),
        DisplacedConnection::default(),
    );
    request.extensions_mut().insert(displaced.clone());
    let mut poll = Box::pin(node.send(request));
    assert!((&mut poll).now_or_never().is_none());
    displaced.0.cancel();
    assert_eq!(changes(&poll.await), json!({"joined": [], "left": [], "moved": []}));
}
