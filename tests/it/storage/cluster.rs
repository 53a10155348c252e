//! A cluster on a fake Cloud Storage: normal operation, and outages of the bucket.

use std::time::Duration;

use super::fake_gcs::{BUCKET, FakeGcs, Fault};
use crate::cluster::{Cluster, Plan, is_internal_path, until};
use crate::sample_images::png;
use rollcall_test_support::fault_proxy::{self, Answer, FaultProxy, Rule};

async fn start(fake: &FakeGcs) -> Cluster {
    // With a short deadline of the bucket, the test does not wait long for an outage.
    plan(&fake.url()).env("ROLLCALL_STORAGE_TIMEOUT_MS", "1500").start().await
}

/// A cluster whose bucket is on the server at this URL.
fn plan(url: &str) -> Plan {
    Plan::quick()
        .env("FIREBASE_BUCKET", &format!("gs://{BUCKET}/"))
        .env("STORAGE_EMULATOR_HOST", url.trim_start_matches("http://"))
}

#[tokio::test]
async fn a_cluster_works_on_cloud_storage() {
    let fake = FakeGcs::start();
    let mut cluster = start(&fake).await;
    assert!(cluster.stdout(0).contains("initialized (Firebase Storage)"), "{}", cluster.stdout(0));
    let id = cluster.register("alice", "10.0.0.1:9000").await;
    let picture = png(64, 64, 5);
    let name = cluster.upload("alice", &picture).await;
    cluster.heartbeat("alice").await;
    let image = format!("users/alice/images/{name}");
    let mut stored = fake.paths();
    stored.retain(|path| !is_internal_path(path));
    assert_eq!(stored, [&image, "users/alice/profile.json"]);
    assert_eq!(fake.media_type(&image).as_deref(), Some("image/png"));
    assert!(!cluster.dir().join("data/bucket").exists(), "nothing is stored locally");

    let old = cluster.leader().await;
    cluster.kill9(old);
    cluster.leader_after(old).await;
    cluster.heartbeat("alice").await;
    let list = cluster.lead().get("/discover_with_images").await.json();
    assert_eq!(list["online_clients"][0]["images"][0]["filename"], name.as_str(), "{list}");
    assert_eq!(cluster.lead().get(&format!("/image/alice/{name}")).await.body, picture);
    assert_eq!(cluster.lead().get("/users").await.json()["users"][0]["id"], id.as_str());
    cluster.lead().post("/register", r#"{"username":"alice"}"#).await.expect_error(409, "user_exists");
}

#[tokio::test]
async fn during_an_outage_of_the_bucket_presence_works_and_no_write_takes_effect() {
    let fake = FakeGcs::start();
    let cluster = start(&fake).await;
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster.heartbeat("alice").await;
    let user_paths = || fake.paths().into_iter().filter(|path| !is_internal_path(path)).collect::<Vec<_>>();
    let paths = user_paths();
    for outage in [Fault::Status(503), Fault::Cut, Fault::Hang] {
        fake.faults().set_outage(Some(outage));
        let bob = r#"{"username":"bob","addr":"10.0.0.2:9000"}"#;
        cluster.lead().post("/register", bob).await.expect_error(503, "storage_unavailable");
        cluster.lead().upload("alice", &png(8, 8, 1)).await.expect_error(503, "storage_unavailable");
        cluster.lead().post("/heartbeat", r#"{"username":"bob"}"#).await.expect_error(503, "storage_unavailable");
        cluster.lead().get("/images/alice").await.expect_error(503, "storage_unavailable");
        cluster.heartbeat("alice").await;
        assert_eq!(cluster.lead().get("/discover").await.json()["count"], 1);
        assert_eq!(cluster.lead().get("/users").await.json()["count"], 1);
        let leader = cluster.leader().await;
        until("the node to report that it is not ready", async || {
            cluster.at(leader).get("/readyz").await.status == 503
        })
        .await;
        assert_eq!(cluster.at(leader).get("/livez").await.status, 200, "an outage is no reason to restart the node");
        assert_eq!(user_paths(), paths, "{outage:?}");
        fake.faults().set_outage(None);
        until("the node to be ready again", async || cluster.at(leader).get("/readyz").await.status == 200).await;
    }
    cluster.register("bob", "10.0.0.2:9000").await;
    cluster.upload("alice", &png(8, 8, 1)).await;
    assert_eq!(cluster.lead().get("/users").await.json()["count"], 2);
}

#[tokio::test]
async fn a_registration_succeeds_although_the_response_of_the_bucket_is_lost() {
    let fake = FakeGcs::start();
    let cluster = start(&fake).await;
    cluster.leader().await;
    for (n, fault) in [Fault::LoseResponse, Fault::CutResponse].into_iter().enumerate() {
        fake.faults().inject(1, fault);
        let body = format!(r#"{{"username":"user{n}","addr":"10.0.0.1:9000"}}"#);
        let first = cluster.lead().post("/register", body.clone()).await;
        assert_eq!(first.status, 201, "{fault:?}: {first}");
        let again = cluster.lead().post("/register", body).await;
        assert_eq!((again.status, &again.json()["user_id"]), (200, &first.json()["user_id"]));
    }
}

/// A refusal of Cloud Storage, in JSON.
fn refusal(status: u16, reason: &str) -> fault_proxy::Fault {
    let error = serde_json::json!({ "error": { "message": "no", "errors": [{ "reason": reason }] } });
    fault_proxy::Fault::Answer(Answer::json(status, error.to_string()))
}

#[tokio::test]
async fn a_registration_during_an_outage_of_three_seconds_succeeds() {
    let fake = FakeGcs::start();
    let proxy = FaultProxy::start(&fake.url());
    let cluster = plan(&proxy.url()).nodes(1).start().await;
    cluster.leader().await;
    proxy.start_outage(Duration::from_secs(3));
    cluster.register("alice", "10.0.0.1:9000").await;
    assert!(fake.paths().contains(&"users/alice/profile.json".to_owned()));
}

#[tokio::test]
async fn a_password_change_right_after_the_registration_rides_out_the_rate_limit_of_an_object() {
    let fake = FakeGcs::start();
    let proxy = FaultProxy::start(&fake.url());
    let cluster = plan(&proxy.url()).nodes(1).start().await;
    cluster.leader().await;
    let user = r#"{"username":"alice","password":"first"}"#;
    assert_eq!(cluster.lead().post("/register", user).await.status, 201);
    let limit = Rule::times(3, refusal(429, "rateLimitExceeded")).method("POST").path("/upload/").query("alice");
    proxy.inject(limit);
    let change = r#"{"username":"alice","password":"first","new_password":"second"}"#;
    let changed = cluster.lead().post("/password", change).await;
    assert_eq!(changed.status, 200, "{changed}");
    let uploads = proxy.requests().iter().filter(|r| r.uri.query().is_some_and(|q| q.contains("alice"))).count();
    assert_eq!(uploads, 5, "the registration, three refused changes, and the change");
}

#[tokio::test]
async fn a_node_is_not_ready_while_reads_work_and_writes_fail() {
    let fake = FakeGcs::start();
    let proxy = FaultProxy::start(&fake.url());
    let cluster = plan(&proxy.url()).nodes(1).start().await;
    let leader = cluster.leader().await;
    until("the node to be ready", async || cluster.at(leader).get("/readyz").await.status == 200).await;
    proxy.inject(Rule::always(refusal(403, "forbidden")).method("POST").path("/upload/"));
    let bob = r#"{"username":"bob","addr":"10.0.0.2:9000"}"#;
    cluster.lead().post("/register", bob).await.expect_error(503, "storage_unavailable");
    until("the node to report that it is not ready", async || cluster.at(leader).get("/readyz").await.status == 503)
        .await;
    proxy.clear();
    until("the node to be ready again", async || cluster.at(leader).get("/readyz").await.status == 200).await;
}
