use serde_json::json;

use super::append_escaped;
use crate::http::testing::{TestNode, leading, request};
use crate::storage::Fault;

#[tokio::test]
async fn a_heartbeat_answers_as_documented() {
    let node = TestNode::with_alice_and_bob().await;
    let answer = node.post("/heartbeat", r#"{"username":"alice","addr":"10.40.6.26:9000"}"#).await;
    let json = answer.json();
    assert_eq!(answer.status, 200);
    let message = "Heartbeat accepted for 'alice' at 10.40.6.26:9000";
    assert_eq!(
        json,
        json!({
            "success": true, "status": "ok", "message": message, "last_seen": json["last_seen"],
            "ttl_ms": 30_000, "next_heartbeat_ms": 10_000,
        })
    );
    assert!(json["last_seen"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_heartbeat_of_a_known_user_does_not_read_the_bucket() {
    let node = TestNode::with_alice_and_bob().await;
    node.memory.faults().set_outage(Some(Fault::Permanent));
    assert_eq!(node.post("/heartbeat", r#"{"username":"alice"}"#).await.status, 200);
    assert_eq!(node.get("/discover").await.json()["count"], 1);
}

#[tokio::test]
async fn online_clients_are_listed_with_their_current_addresses() {
    let node = TestNode::with_alice_and_bob().await;
    let empty = json!({"online_clients": [], "count": 0, "is_leader": true});
    assert_eq!(node.get("/discover").await.json(), empty);
    // This request has no Content-Type. The next one has the Content-Type that `curl -d` sends.
    node.post("/heartbeat", r#"{"username":"bob","addr":":9001"}"#).await;
    let mut form = request("POST", "/heartbeat", r#"{"username":"alice"}"#);
    form.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(node.send(form).await.status, 200);
    let clients = json!([
        {"username": "alice", "addr": "10.40.6.26:9000"},
        {"username": "bob", "addr": "10.0.0.9:9001"},
    ]);
    let found = json!({"online_clients": clients, "count": 2, "is_leader": true});
    assert_eq!(node.get("/discover").await.json(), found);
    assert_eq!(node.get("/discovery/online").await.json(), json!({"online": ["alice", "bob"]}));
    assert_eq!(node.get("/discovery/online?after=alice&limit=1").await.json(), json!({"online": ["bob"]}));
    assert_eq!(node.get("/discover?limit=1").await.json()["online_clients"], json!([clients[0]]));
    assert_eq!(node.get("/discover?after=alice").await.json()["online_clients"], json!([clients[1]]));
    assert_eq!(node.get("/discover?prefix=al").await.json()["count"], 1);
}

#[tokio::test]
async fn a_client_without_an_address_is_listed_with_empty_text() {
    let node = TestNode::with_alice_and_bob().await;
    let answer = node.post("/heartbeat", r#"{"username":"bob"}"#).await;
    assert_eq!(answer.json()["message"], "Heartbeat accepted for 'bob'");
    let bob = json!([{"username": "bob", "addr": ""}]);
    assert_eq!(node.get("/discover").await.json()["online_clients"], bob);
    let changes = node.get("/discover?since=0").await.json();
    assert_eq!(changes["online_clients"], bob, "{changes}");
}

#[test]
fn text_inside_a_json_string_is_escaped() {
    for text in ["alice", "Zoë 李", "a\"b", "a\\b", "a\u{1}b", "", "a/b'<>"] {
        let mut json = b"\"".to_vec();
        append_escaped(&mut json, text);
        json.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
    }
}

#[tokio::test]
async fn a_username_with_characters_that_json_escapes_is_sent_as_valid_json() {
    let node = TestNode::with_alice_and_bob().await;
    let body = json!({"username": "mona \"m\" \\ali"});
    assert_eq!(node.post("/register", body.to_string()).await.status, 201);
    let answer = node.post("/heartbeat", body.to_string()).await;
    assert_eq!(answer.json()["message"], "Heartbeat accepted for 'mona \"m\" \\ali'");
    for list in ["/discover", "/discover_with_images", "/discover?since=0"] {
        assert_eq!(node.get(list).await.json()["online_clients"][0]["username"], body["username"], "{list}");
    }
}

#[tokio::test]
async fn an_empty_address_in_a_heartbeat_counts_as_absent() {
    let node = TestNode::with_alice_and_bob().await;
    node.post("/heartbeat", r#"{"username":"alice","addr":"10.0.0.9:9000"}"#).await;
    let answer = node.post("/heartbeat", r#"{"username":"alice","addr":""}"#).await;
    assert_eq!(answer.json()["message"], "Heartbeat accepted for 'alice' at 10.0.0.9:9000");
    node.post("/heartbeat", r#"{"username":"bob","addr":""}"#).await;
    let clients = json!([{"username": "alice", "addr": "10.0.0.9:9000"}, {"username": "bob", "addr": ""}]);
    assert_eq!(node.get("/discover").await.json()["online_clients"], clients);
}

#[tokio::test]
async fn an_ipv4_address_in_ipv6_form_does_not_move_a_client() {
    let node = TestNode::with_alice_and_bob().await;
    node.post("/heartbeat", r#"{"username":"alice","addr":"10.0.0.9:9000"}"#).await;
    let cursor = node.get("/discover").await.header("rollcall-cursor").unwrap().to_owned();
    let answer = node.post("/heartbeat", r#"{"username":"alice","addr":"[::ffff:10.0.0.9]:9000"}"#).await;
    assert_eq!(answer.json()["message"], "Heartbeat accepted for 'alice' at 10.0.0.9:9000");
    let changes = node.get(&format!("/discover?since={cursor}")).await.json();
    assert_eq!(changes["changes"], json!({"joined": [], "left": [], "moved": []}));
}

#[tokio::test]
async fn invalid_heartbeats_are_rejected() {
    let node = TestNode::with_alice_and_bob().await;
    for (body, status, code) in [
        (r#"{"username":"nobody"}"#, 404, "user_not_registered"),
        (r#"{"addr":"10.0.0.1:1"}"#, 400, "missing_field"),
        (r#"{"username":["alice"]}"#, 400, "invalid_field"),
        (r#"{"username":"a/b"}"#, 400, "invalid_username"),
        (r#"{"username":"alice","addr":"10.0.0.1"}"#, 400, "invalid_addr"),
        ("alice", 400, "invalid_json"),
        (r#"["alice"]"#, 400, "invalid_json"),
    ] {
        node.post("/heartbeat", body).await.expect_error(status, code);
    }
    assert_eq!(node.get("/discover").await.json()["count"], 0);
}

#[tokio::test]
async fn a_user_that_another_leader_registered_is_read_from_the_bucket() {
    let node = TestNode::with_alice_and_bob().await;
    let other = TestNode::with_backend(
        leading(),
        node.memory.clone(),
        std::sync::Arc::new(node.memory.clone()),
        crate::http::CorsPolicy::Origins(Vec::new()),
    );
    let answer = other.post("/heartbeat", r#"{"username":"alice"}"#).await;
    assert_eq!(answer.json()["message"], "Heartbeat accepted for 'alice' at 10.40.6.26:9000");
    node.memory.faults().set_outage(Some(Fault::Transient));
    other.post("/heartbeat", r#"{"username":"bob"}"#).await.expect_error(503, "storage_unavailable");
}

#[tokio::test]
async fn invalid_query_parameters_are_rejected() {
    let node = TestNode::with_alice_and_bob().await;
    for query in
        ["limit=abc", "limit=0", "limit=-1", "limit=%2B1", "limit=", "limit=1&limit=2", "limit=99999999999999999999"]
    {
        for list in ["discover", "discovery/online", "users"] {
            node.get(&format!("/{list}?{query}")).await.expect_error(400, "invalid_field");
        }
    }
}
