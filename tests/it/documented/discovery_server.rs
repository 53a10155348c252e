//! Requirement 000: clients of the first discovery server still work.

use serde_json::json;

use crate::cluster::{Plan, until};
use crate::sample_images::png;

#[tokio::test]
async fn the_routes_of_the_first_discovery_server_answer_as_documented() {
    let cluster = Plan::quick().start().await;
    let leader = cluster.leader().await;
    for index in 0..3 {
        let status = json!({"status": "ok", "is_leader": index == leader});
        assert_eq!(cluster.at(index).get("/status").await.json(), status);
    }
    let registered = cluster.lead().post("/register", r#"{"username":"alice","password":"secret"}"#).await;
    assert_eq!((registered.status, &registered.json()["status"]), (201, &json!("ok")), "{registered}");

    assert_eq!(cluster.lead().get("/discovery/online").await.body, r#"{"online":[]}"#);
    // This differs from the first server: a user with a password must authenticate.
    cluster.lead().post("/heartbeat", r#"{"username":"alice"}"#).await.expect_error(401, "unauthorized");
    let bearer = format!("Bearer {}", registered.json()["token"].as_str().expect("a token"));
    let heartbeat =
        cluster.lead().header("authorization", &bearer).post("/heartbeat", r#"{"username":"alice"}"#).await.json();
    assert_eq!(heartbeat["status"], "ok");
    let last_seen = heartbeat["last_seen"].as_str().expect("text");
    assert!(last_seen.ends_with('Z') && last_seen.contains('T'), "{last_seen}");
    assert_eq!(cluster.lead().get("/discovery/online").await.body, r#"{"online":["alice"]}"#);
}

#[tokio::test]
async fn the_client_of_the_first_discovery_server_works_with_its_setting() {
    let plan = Plan::quick().nodes(1).env("ROLLCALL_DISCOVERY_SERVER_COMPAT", "true");
    let cluster = plan.env("HEARTBEAT_TTL_SECONDS", "3").start().await;
    let json_type = || cluster.lead().header("content-type", "application/json");
    assert!(cluster.stderr(0).contains("discovery_server_compat is on"), "{}", cluster.stderr(0));
    let registered = json_type().post("/register", r#"{"username":"alice","password":"secret123"}"#).await;
    assert!(registered.status == 201 && registered.json()["status"] == "ok", "{registered}");
    let taken = json_type().post("/register", r#"{"username":"alice","password":"other"}"#).await;
    taken.expect_error(400, "user_exists");
    assert_eq!(taken.json()["error"], "exists");
    let heartbeat = json_type().post("/heartbeat", r#"{"username":"alice"}"#).await;
    assert!(heartbeat.status == 200 && heartbeat.json()["status"] == "ok", "{heartbeat}");
    assert!(heartbeat.json()["last_seen"].as_str().is_some_and(|time| time.ends_with('Z')), "{heartbeat}");
    assert_eq!(cluster.lead().get("/discovery/online").await.json(), json!({"online": ["alice"]}));
    until("the client to go offline", async || {
        cluster.lead().get("/discovery/online").await.json() == json!({"online": []})
    })
    .await;
    let forged = json_type().header("authorization", "Bearer forged");
    forged.post("/heartbeat", r#"{"username":"alice"}"#).await.expect_error(401, "unauthorized");
    cluster.lead().upload("alice", &png(8, 8, 0)).await.expect_error(401, "unauthorized");
}

#[tokio::test]
async fn a_username_with_a_password_cannot_be_registered_without_it() {
    let cluster = Plan::quick().nodes(1).start().await;
    let first = cluster.lead().post("/register", r#"{"username":"alice","password":"secret"}"#).await;
    assert_eq!(first.status, 201, "{first}");
    let again = cluster.lead().post("/register", r#"{"username":"alice","password":"secret"}"#).await;
    assert_eq!((again.status, &again.json()["user_id"]), (200, &first.json()["user_id"]), "{again}");
    for body in [r#"{"username":"alice","password":"guess"}"#, r#"{"username":"alice"}"#] {
        let other = cluster.lead().post("/register", body).await;
        other.expect_error(409, "user_exists");
        assert_eq!(other.json()["error"], "exists");
    }
    let profile =
        std::fs::read_to_string(cluster.bucket().join("users/alice/profile.json")).expect("the profile is stored");
    assert!(!profile.contains("secret"), "{profile}");
}
