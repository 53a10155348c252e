//! Requirement 001: the registry on Google Drive, on a stand-in, and its clients, which send fewer
//! fields. Where the document differs from requirement 004, the form of 004 holds
//! (docs/storage.md).

use std::time::Duration;

use rollcall_test_support::drive_server::{DRIVE, DriveServer, FOLDER};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Cluster, Plan, until};

const TTL: Duration = Duration::from_secs(3);

/// The document's `config.toml`.
const CONFIG: [&str; 9] = [
    "this_node = \"127.0.0.1:8080\"  # Will be overridden by --this-node",
    "peers = [\"127.0.0.1:8080\", \"127.0.0.1:8081\", \"127.0.0.1:8082\"]",
    "heartbeat_interval_ms = 1000",
    "election_timeout_min_ms = 3000",
    "election_timeout_max_ms = 5000",
    "leader_term_ms = 10000",
    "net_timeout_ms = 2000",
    "cpu_refresh_ms = 500",
    "election_retry_ms = 100",
];

/// The lines of the document's "expected output", without the addresses. The column of the
/// descriptions is wider, because routes with longer names were added.
const OUTPUT: [&str; 8] = [
    "🚀 HTTP API server listening on http://",
    "   Endpoints:",
    "     GET  /                        - Health check",
    "     POST /register                - Register new user",
    "     POST /heartbeat               - Send heartbeat",
    "     GET  /users                   - List all registered users",
    "     GET  /discover                - List online clients",
    "✓ Leader election TCP listener bound to ",
];

const CLIENTS: [(&str, &str); 2] = [("alice", "192.168.1.10:9000"), ("bob", "192.168.1.11:9001")];

/// All steps in their order, on one cluster with the documented settings, variables and flags.
#[tokio::test]
async fn the_complete_test_flow_on_google_drive_gives_the_documented_answers() {
    let server = DriveServer::start();
    let plan = Plan::documented().env("HEARTBEAT_TTL_SECONDS", "3").env("DRIVE_EMULATOR_HOST", &server.url());
    let plan = plan.env("SHARED_DRIVE_ID", DRIVE).env("REGISTERED_USERS_FOLDER_ID", FOLDER);
    let mut cluster = plan.start().await;
    for index in 0..3 {
        check_output(&cluster, index);
    }
    check_health(&cluster).await;
    register_clients(&cluster, &server).await;
    send_heartbeats(&cluster).await;
    check_discovery(&cluster).await;
    let leader = replace_leader(&mut cluster).await;
    check_timeout(&cluster).await;
    check_rejection_by_follower(&cluster, leader).await;
    register_without_content_type(&cluster).await;
}

#[test]
fn the_documented_settings_are_those_of_the_distribution() {
    let config: Vec<&str> = include_str!("../../../config.toml").lines().collect();
    for line in CONFIG {
        assert!(config.contains(&line), "{line}");
    }
}

/// "Expected output" of the quick start.
fn check_output(cluster: &Cluster, index: usize) {
    let output = cluster.stdout(index);
    let mut rest = output.as_str();
    for line in OUTPUT {
        rest = rest.split_once(line).unwrap_or_else(|| panic!("{line:?} is not in its place in {output}")).1;
    }
    assert!(rest.starts_with(&cluster.name(index)), "{output}");
    assert!(output.contains(&format!("listening on {}", cluster.url(index))), "{output}");
}

/// Step 1, on any node. The leader names itself where the document has a null.
async fn check_health(cluster: &Cluster) {
    let (follower, leader) = cluster.follower().await;
    for (index, is_leader) in [(leader, true), (follower, false)] {
        let health = cluster.at(index).get("/").await.json();
        let expected = json!({
            "status": "ok", "is_leader": is_leader, "online_clients_count": 0, "current_leader": cluster.name(leader),
        });
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(&health[field], value, "{field} in {health}");
        }
    }
}

/// Step 2. The users are files of the folder.
async fn register_clients(cluster: &Cluster, server: &DriveServer) {
    for (name, addr) in CLIENTS {
        let body = format!(r#"{{"username": "{name}", "addr": "{addr}"}}"#);
        let answer = cluster.lead().header("content-type", "application/json").post("/register", body).await;
        let json = answer.json();
        // 200 if the first response was lost in an election and the request was repeated.
        assert!(matches!(answer.status, 200 | 201) && json["success"] == true, "{answer}");
        assert_eq!(json["message"], format!("User '{name}' registered successfully at {addr}"));
        let stored = server.contents(&format!("users/{name}/profile.json"));
        let profile: Value = serde_json::from_slice(&stored[0]).expect("JSON");
        assert_eq!((&profile["id"], &profile["addr"]), (&json["user_id"], &json!(addr)));
    }
}

/// Step 3.
async fn send_heartbeats(cluster: &Cluster) {
    for (name, addr) in CLIENTS {
        let body = format!(r#"{{"username": "{name}"}}"#);
        let answer = cluster.lead().header("content-type", "application/json").post("/heartbeat", body).await;
        assert_eq!((answer.status, &answer.json()["success"]), (200, &json!(true)), "{answer}");
        assert_eq!(answer.json()["message"], format!("Heartbeat accepted for '{name}' at {addr}"));
    }
}

/// Step 4. Lists have objects, as in requirement 004.
async fn check_discovery(cluster: &Cluster) {
    let clients: Vec<Value> = CLIENTS.iter().map(|(name, addr)| json!({ "username": name, "addr": addr })).collect();
    let online = cluster.lead().get("/discover").await.json();
    assert_eq!(online, json!({ "online_clients": clients, "count": 2, "is_leader": true }));
    assert_eq!(cluster.lead().get("/discovery/online").await.json(), json!({ "online": ["alice", "bob"] }));
    let users = cluster.lead().get("/users").await.json();
    assert_eq!(users["count"], 2, "{users}");
    for ((name, addr), user) in CLIENTS.iter().zip(users["users"].as_array().expect("a list")) {
        assert_eq!((&user["username"], &user["addr"]), (&json!(name), &json!(addr)), "{users}");
        assert!(user["id"].as_str().is_some_and(|id| id.parse::<uuid::Uuid>().is_ok()), "{users}");
    }
}

/// Step 5: Ctrl-C on the leader. The clients stay online, unlike in the document.
async fn replace_leader(cluster: &mut Cluster) -> usize {
    let old = cluster.leader().await;
    let gone = format!("{}/discover", cluster.url(old));
    assert_eq!(cluster.ctrl_c(old).await.code(), Some(0));
    let refused = crate::cluster::http_client().get(gone).send().await.expect_err("the node has ended");
    assert!(refused.is_connect(), "connection refused: {refused:?}");
    let next = cluster.leader_after(old).await;
    assert_eq!(cluster.at(next).get("/discover").await.json()["is_leader"], true);
    next
}

/// Step 6: alice has stopped her heartbeats.
async fn check_timeout(cluster: &Cluster) {
    let start = Instant::now();
    until("alice to time out", async || {
        cluster.lead().post("/heartbeat", r#"{"username":"bob"}"#).await;
        online(cluster).await == ["bob"]
    })
    .await;
    assert!(start.elapsed() < 4 * TTL + Duration::from_secs(10));
    assert_eq!(cluster.lead().get("/discover").await.json()["count"], 1);
}

/// Step 7, and the sentence about leader-only endpoints.
async fn check_rejection_by_follower(cluster: &Cluster, leader: usize) {
    let (follower, _) = cluster.follower().await;
    let message = format!("This node is not the leader. Current leader: {}", cluster.name(leader));
    for path in ["/heartbeat", "/register", "/users", "/discover"] {
        let request = cluster.at(follower).header("content-type", "application/json");
        let refused = match path {
            "/heartbeat" | "/register" => request.post(path, r#"{"username": "charlie"}"#).await,
            _ => request.get(path).await,
        };
        assert_eq!(refused.status, 403, "{path}: {refused}");
        let json = refused.json();
        assert_eq!((&json["success"], &json["message"]), (&json!(false), &json!(message)), "{path}");
    }
}

/// "Client usage pattern": curl sends no JSON type there.
async fn register_without_content_type(cluster: &Cluster) {
    let form = || cluster.lead().header("content-type", "application/x-www-form-urlencoded");
    let answer = form().post("/register", r#"{"username":"myclient","addr":"10.0.0.7:9000"}"#).await;
    assert!(matches!(answer.status, 200 | 201), "{answer}");
    assert_eq!(form().post("/heartbeat", r#"{"username":"myclient"}"#).await.status, 200);
    assert!(online(cluster).await.contains(&"myclient".to_owned()));
}

async fn online(cluster: &Cluster) -> Vec<String> {
    let list = cluster.lead().get("/discover").await.json();
    let clients = list["online_clients"].as_array().expect("a list");
    clients.iter().map(|client| client["username"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_heartbeat_needs_no_address() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "192.168.1.10:9000").await;
    let answer = cluster.lead().post("/heartbeat", r#"{"username": "alice"}"#).await;
    assert_eq!(answer.json()["message"], "Heartbeat accepted for 'alice' at 192.168.1.10:9000", "{answer}");
    let online = cluster.lead().get("/discover").await.json();
    assert_eq!(online["online_clients"], json!([{"username": "alice", "addr": "192.168.1.10:9000"}]));
    // From now on the live address replaces the registered one.
    cluster.lead().post("/heartbeat", r#"{"username":"alice","addr":"192.168.1.77:9000"}"#).await;
    cluster.heartbeat("alice").await;
    for path in ["/discover", "/users"] {
        let list = cluster.lead().get(path).await;
        assert!(String::from_utf8_lossy(&list.body).contains("192.168.1.77:9000"), "{path}: {list}");
    }
}

/// `curl -d` without a header declares the body as a form.
#[tokio::test]
async fn a_body_is_parsed_as_json_with_any_content_type() {
    let cluster = Plan::quick().nodes(1).start().await;
    let types = [None, Some("application/x-www-form-urlencoded"), Some("text/plain; charset=latin1"), Some("nonsense")];
    for (n, content_type) in types.into_iter().enumerate() {
        let ask = |cluster| match content_type {
            Some(content_type) => crate::cluster::Cluster::lead(cluster).header("content-type", content_type),
            None => cluster.lead(),
        };
        let registered =
            ask(&cluster).post("/register", format!(r#"{{"username":"client{n}","addr":"10.0.0.1:9000"}}"#)).await;
        assert_eq!(registered.status, 201, "{content_type:?}: {registered}");
        let heartbeat = ask(&cluster).post("/heartbeat", format!(r#"{{"username":"client{n}"}}"#)).await;
        assert_eq!(heartbeat.status, 200, "{content_type:?}: {heartbeat}");
    }
}
