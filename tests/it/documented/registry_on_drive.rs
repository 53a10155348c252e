//! Requirement 001: the registry on Google Drive, on a stand-in, and its clients, which send fewer
//! fields. Where the document differs from requirement 004, the form of 004 holds
//! (docs/storage.md).

use std::time::Duration;

use rollcall_test_support::drive_server::{DRIVE, DriveServer, FOLDER};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Cluster, Plan, until};

const TTL: Duration = Duration::from_secs(3);

/// The lines of the document's "expected output", without the addresses.
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

/// All steps in their order, on one cluster with the documented timings and variables.
#[tokio::test]
async fn the_complete_test_flow_on_google_drive_gives_the_documented_answers() {
    let server = DriveServer::start();
    let plan = Plan::documented().env("HEARTBEAT_TTL_SECONDS", "3").env("DRIVE_EMULATOR_HOST", &server.url());
    let plan = plan.env("SHARED_DRIVE_ID", DRIVE).env("REGISTERED_USERS_FOLDER_ID", FOLDER);
    let mut cluster = plan.start().await;
    let leader = cluster.leader().await;
    let output = cluster.stdout(leader);
    let mut rest = output.as_str();
    for line in OUTPUT {
        rest = rest.split_once(line).unwrap_or_else(|| panic!("{line:?} is not in its place in {output}")).1;
    }
    let health = cluster.at(leader).get("/").await.json();
    assert_eq!(
        (&health["status"], &health["is_leader"], &health["online_clients_count"]),
        (&json!("ok"), &json!(true), &json!(0))
    );

    register_clients(&cluster, &server).await;
    for name in ["alice", "bob"] {
        let body = format!(r#"{{"username": "{name}"}}"#);
        let answer = cluster.lead().header("content-type", "application/json").post("/heartbeat", body).await;
        assert_eq!((answer.status, &answer.json()["success"]), (200, &json!(true)), "{answer}");
    }
    check_discovery(&cluster, &["alice", "bob"]).await;

    cluster.kill9(leader);
    let next = cluster.leader_after(leader).await;
    // The list is not empty, as in the document: presence survives a change of the leader.
    let discovered = cluster.at(next).get("/discover").await.json();
    assert_eq!(discovered["is_leader"], true);
    let start = Instant::now();
    until("alice to time out", async || {
        cluster.lead().post("/heartbeat", r#"{"username":"bob"}"#).await;
        online(&cluster).await == ["bob"]
    })
    .await;
    assert!(start.elapsed() < 4 * TTL + Duration::from_secs(10));

    let follower = cluster.running().find(|index| *index != next).expect("a third node");
    let refused = cluster.at(follower).post("/heartbeat", r#"{"username": "charlie"}"#).await;
    assert_eq!(refused.status, 403);
    let message = format!("This node is not the leader. Current leader: {}", cluster.name(next));
    assert_eq!((&refused.json()["success"], &refused.json()["message"]), (&json!(false), &json!(message)));
}

/// Step 2. The users are files of the folder.
async fn register_clients(cluster: &Cluster, server: &DriveServer) {
    for (name, addr) in [("alice", "192.168.1.10:9000"), ("bob", "192.168.1.11:9001")] {
        let body = format!(r#"{{"username": "{name}", "addr": "{addr}"}}"#);
        let answer = cluster.lead().header("content-type", "application/json").post("/register", body).await;
        let json = answer.json();
        assert_eq!((answer.status, &json["success"]), (201, &json!(true)), "{answer}");
        assert_eq!(json["message"], format!("User '{name}' registered successfully at {addr}"));
        let stored = server.contents(&format!("users/{name}/profile.json"));
        let profile: Value = serde_json::from_slice(&stored[0]).expect("JSON");
        assert_eq!((&profile["id"], &profile["addr"]), (&json["user_id"], &json!(addr)));
    }
}

/// Step 4. Lists have objects, as in requirement 004.
async fn check_discovery(cluster: &Cluster, names: &[&str]) {
    assert_eq!(online(cluster).await, names);
    let users = cluster.lead().get("/users").await.json();
    assert_eq!((users["count"].as_u64(), &users["users"][0]["username"]), (Some(2), &json!("alice")), "{users}");
    assert_eq!(users["users"][0]["addr"], "192.168.1.10:9000");
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
