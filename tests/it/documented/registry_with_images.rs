//! Requirement 004, the main one. Its step 6, the download script, is tested in `cli/download.rs`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Cluster, Plan, until};
use crate::sample_images::png;

const TTL: Duration = Duration::from_secs(3);
const ALICE: &str = r#"{"username": "alice", "addr": "10.40.6.26:9000"}"#;
const BOB: &str = r#"{"username": "bob", "addr": "10.40.6.26:9001"}"#;

/// The banner as the document prints it, with the routes that were added later. `STORAGE`, `API`
/// and `NODE` are placeholders.
const BANNER: &str = "\
===========================================
Distributed System: Leader Election + User Registration
===========================================

✓ User registration system initialized (STORAGE)
🚀 HTTP API server listening on http://API
   Endpoints:
     GET  /                        - Health check
     POST /register                - Register new user
     POST /heartbeat               - Send heartbeat
     POST /login                   - Get a token for a password
     POST /password                - Change a password
     GET  /users                   - List all registered users
     GET  /discover                - List online clients
     GET  /discover_with_images    - List online clients with images
     POST /upload_image/:username  - Upload image (max 128x128)
     GET  /images/:username        - List user's images
     GET  /image/:username/:file   - Download specific image

✓ Leader election TCP listener bound to NODE
✓ All systems operational!
";

/// All steps but step 6, in their order, on one cluster with the documented timings.
#[tokio::test]
async fn the_complete_test_flow_gives_the_documented_answers() {
    let mut cluster = Plan::documented().env("HEARTBEAT_TTL_SECONDS", "3").start().await;
    let leader = cluster.leader().await;
    check_health(&cluster, leader).await;
    register_clients(&cluster).await;
    upload_images(&cluster).await;
    send_heartbeats_and_discover(&cluster).await;
    let leader = replace_leader(&mut cluster, leader).await;
    check_timeout(&cluster).await;
    check_rejection_by_follower(&cluster, leader).await;
}

/// Step 1.
async fn check_health(cluster: &Cluster, leader: usize) {
    let health = cluster.at(leader).get("/").await;
    assert_eq!(health.status, 200);
    let start = format!(
        r#"{{"status":"ok","is_leader":true,"online_clients_count":0,"current_leader":"{}""#,
        cluster.name(leader)
    );
    assert!(health.body.starts_with(start.as_bytes()), "{health}");
}

/// Step 2, with the document's spaces in the bodies and its Content-Type.
async fn register_clients(cluster: &Cluster) {
    for (body, name, addr) in [(ALICE, "alice", "10.40.6.26:9000"), (BOB, "bob", "10.40.6.26:9001")] {
        let answer = cluster.lead().header("content-type", "application/json").post("/register", body).await;
        assert_eq!(answer.status, 201, "{answer}");
        let json = answer.json();
        assert_eq!(json["success"], true);
        assert_eq!(json["message"], format!("User '{name}' registered successfully at {addr}"));
        let id: Result<uuid::Uuid, _> = json["user_id"].as_str().expect("text").parse();
        assert!(id.is_ok(), "{answer}");
    }
}

/// Step 3.
async fn upload_images(cluster: &Cluster) {
    let (blue, red) = (png(128, 128, 0), png(100, 100, 255));
    let mut names = Vec::new();
    for (user, picture) in [("alice", &blue), ("alice", &red), ("bob", &blue)] {
        let answer = cluster.lead().upload(user, picture).await;
        assert_eq!(answer.status, 201, "{answer}");
        let json = answer.json();
        assert_eq!((&json["success"], &json["message"]), (&json!(true), &json!("Image uploaded successfully")));
        let name = json["filename"].as_str().expect("text").to_owned();
        assert!(is_documented_name(&name), "{name}");
        names.push(name);
    }
    let listed = cluster.lead().get("/images/alice").await.json();
    assert_eq!(listed, json!({"images": names[..2], "count": 2}));
    let downloaded = cluster.lead().get(&format!("/image/alice/{}", names[0])).await;
    assert_eq!((downloaded.status, downloaded.header("content-type")), (200, Some("image/png")));
    assert_eq!(downloaded.body, blue);
    // The section "Firebase Storage Structure".
    let mut paths: Vec<String> = ["alice", "bob"].map(|user| format!("users/{user}/profile.json")).to_vec();
    paths.extend(names[..2].iter().map(|name| format!("users/alice/images/{name}")));
    paths.push(format!("users/bob/images/{}", names[2]));
    paths.sort_unstable();
    assert_eq!(cluster.stored(), paths);
}

/// The form of `1733511234-a1b2c3d4.png`.
fn is_documented_name(name: &str) -> bool {
    let Some((seconds, rest)) = name.split_once('-') else { return false };
    let Some(hex) = rest.strip_suffix(".png") else { return false };
    seconds.len() == 10
        && seconds.bytes().all(|byte| byte.is_ascii_digit())
        && hex.len() == 8
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Steps 4 and 5.
async fn send_heartbeats_and_discover(cluster: &Cluster) {
    for (body, name, addr) in [(ALICE, "alice", "10.40.6.26:9000"), (BOB, "bob", "10.40.6.26:9001")] {
        let answer = cluster.lead().header("content-type", "application/json").post("/heartbeat", body).await;
        assert_eq!(answer.status, 200, "{answer}");
        let json = answer.json();
        assert_eq!(json["success"], true);
        assert_eq!(json["message"], format!("Heartbeat accepted for '{name}' at {addr}"));
    }
    let online = cluster.lead().get("/discover").await;
    let documented = r#"{"online_clients":[{"username":"alice","addr":"10.40.6.26:9000"},{"username":"bob","addr":"10.40.6.26:9001"}],"count":2,"is_leader":true}"#;
    assert_eq!(String::from_utf8_lossy(&online.body), documented);

    let with_images = cluster.lead().get("/discover_with_images").await.json();
    let counts: Vec<usize> =
        clients(&with_images).iter().map(|client| client["images"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!((counts, &with_images["count"]), (vec![2, 1], &json!(2)));
    let data = with_images["online_clients"][0]["images"][0]["data"].as_str().expect("text");
    assert!(data.starts_with("iVBORw0KGgo"), "a PNG in base64");

    let users = cluster.lead().get("/users").await.json();
    assert_eq!((&users["count"], &users["users"][0]["username"]), (&json!(2), &json!("alice")));
    assert_eq!(users["users"][0]["addr"], "10.40.6.26:9000");
    assert!(users["users"][0]["id"].is_string());
}

fn clients(list: &Value) -> &Vec<Value> {
    list["online_clients"].as_array().expect("a list")
}

/// Step 7: Ctrl-C on the leader; "new leader elected within ~5 seconds".
async fn replace_leader(cluster: &mut Cluster, old: usize) -> usize {
    let old_name = cluster.name(old);
    let started = Instant::now();
    assert!(cluster.sigterm(old).await.success());
    let leader = cluster.leader_after(old).await;
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    let health = cluster.health(leader).await.expect("the node answers");
    assert_eq!((&health["status"], &health["is_leader"]), (&json!("ok"), &json!(true)));
    assert_eq!(health["current_leader"], cluster.name(leader));
    assert_ne!(health["current_leader"], old_name);
    leader
}

/// Step 8: one of two clients stops its heartbeats. The test measures the times and does not sleep.
/// The silent client goes offline no earlier than after the TTL, and the other client is online all
/// the time.
async fn check_timeout(cluster: &Cluster) {
    // The test starts its clock before the request. The server counts from a later moment, in whole
    // milliseconds.
    let last_beat = Instant::now();
    let soonest = TTL.saturating_sub(Duration::from_millis(1));
    cluster.heartbeat("alice").await;
    until("alice's time-out", async || {
        cluster.heartbeat("bob").await;
        let asked = Instant::now();
        let online = cluster.lead().get("/discover").await.json();
        let names: Vec<&str> = clients(&online).iter().filter_map(|client| client["username"].as_str()).collect();
        assert!(names.contains(&"bob"), "{online}");
        let is_gone = !names.contains(&"alice");
        assert!(!is_gone || last_beat.elapsed() >= soonest, "gone after {:?}", last_beat.elapsed());
        assert!(is_gone || asked.duration_since(last_beat) < TTL * 2, "still there after {:?}", last_beat.elapsed());
        is_gone
    })
    .await;
    let online = cluster.lead().get("/discover").await.json();
    assert_eq!(
        online,
        json!({"online_clients": [{"username": "bob", "addr": "10.40.6.26:9001"}], "count": 1, "is_leader": true})
    );
}

/// Step 9.
async fn check_rejection_by_follower(cluster: &Cluster, leader: usize) {
    let (follower, _) = cluster.follower().await;
    let body = r#"{"username": "charlie", "addr": "10.40.6.26:9002"}"#;
    let answer = cluster.at(follower).header("content-type", "application/json").post("/heartbeat", body).await;
    assert_eq!(answer.status, 403);
    let json = answer.json();
    assert_eq!(json["success"], false);
    assert_eq!(json["message"], format!("This node is not the leader. Current leader: {}", cluster.name(leader)));
}

#[tokio::test]
async fn the_banner_has_the_documented_lines_in_their_order() {
    let cluster = Plan::documented().start().await;
    let printed = cluster.stdout(1);
    let api = cluster.url(1).replace("http://", "");
    let storage = printed.lines().find_map(|line| line.strip_prefix("✓ User registration system initialized ("));
    let storage = storage.expect("the storage is named").trim_end_matches(')');
    assert!(storage.contains("bucket"), "{storage}");
    let expected =
        BANNER.replace("STORAGE", storage).replace("API\n", &format!("{api}\n")).replace("NODE", &cluster.name(1));
    // Other lines may stand between the documented ones. All documented lines must be there, in
    // their order.
    let mut lines = printed.lines();
    for line in expected.lines() {
        assert!(lines.any(|printed| printed == line), "{line:?} is not in its place in\n{printed}");
    }
    assert_eq!(lines.next(), None);
}

#[tokio::test]
async fn the_documented_upload_error_is_word_for_word() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "10.40.6.26:9000").await;
    let answer = cluster.lead().upload("alice", &png(256, 256, 0)).await;
    let message = answer.expect_error(400, "image_dimensions");
    assert_eq!(message, "Upload failed: Validation error: Image too large: 256x256 (max 128x128)");
}

#[tokio::test]
async fn the_list_with_images_has_at_most_the_newest_twenty_of_a_user() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "10.40.6.26:9000").await;
    cluster.heartbeat("alice").await;
    let mut names = Vec::new();
    for shade in 0..21 {
        names.push(cluster.upload("alice", &png(8, 8, shade)).await);
    }
    let list = cluster.lead().get("/discover_with_images").await.json();
    let images = clients(&list)[0]["images"].as_array().expect("a list");
    let given: Vec<&str> = images.iter().filter_map(|image| image["filename"].as_str()).collect();
    assert_eq!(given, names[1..]);
}
