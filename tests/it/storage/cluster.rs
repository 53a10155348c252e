//! A cluster on a fake Cloud Storage: normal operation, and outages of the bucket.

use super::fake_gcs::{BUCKET, FakeGcs, Fault};
use crate::cluster::{Cluster, Plan, is_internal_path, until};
use crate::sample_images::png;

async fn start(fake: &FakeGcs) -> Cluster {
    // With a short deadline of the bucket, the test does not wait long for an outage.
    Plan::quick()
        .env("FIREBASE_BUCKET", BUCKET)
        .env("STORAGE_EMULATOR_HOST", fake.url().trim_start_matches("http://"))
        .env("ROLLCALL_STORAGE_TIMEOUT_MS", "1500")
        .start()
        .await
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
    let paths = fake.paths();
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
        assert_eq!(fake.paths(), paths, "{outage:?}");
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
