//! Compatibility: the nodes start on a bucket that programs of requirement 004 have filled
//! (`tests/fixtures/bucket-004`), and on profiles that other programs or operators have written.

use std::fs;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cluster::{Cluster, Plan, copy_dir};
use crate::sample_images::png;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/bucket-004/users");
const VERA_ID: &str = "0f5b8a52-1111-4222-8333-444455556666";
const OMAR_ID: &str = "1c2d3e4f-1111-4222-8333-444455556666";

/// Names that are safe path segments and break the rule for new names.
const UNUSUAL_NAMES: [&str; 5] = ["😀", "Zoe\u{308}", "two  spaces", " ", "№ 1"];

/// A profile, and a row of `/users`, as a typed program of requirement 004 reads them.
#[derive(Debug, Deserialize)]
struct User004 {
    id: Uuid,
    username: String,
    addr: String,
    status: String,
    registered_at: String,
    last_seen: Option<String>,
    metadata: Value,
}

fn seed_fixture(data: &Path, _: &[String]) {
    copy_dir(Path::new(FIXTURE), &data.join("bucket/users"));
}

fn put_profile(bucket: &Path, username: &str, profile: impl AsRef<[u8]>) {
    let dir = bucket.join("users").join(username);
    fs::create_dir_all(&dir).expect("the directory is ours");
    fs::write(dir.join("profile.json"), profile).expect("the directory is ours");
}

/// A profile as programs of requirement 004 write it.
fn profile_004(username: &str) -> Value {
    json!({
        "id": VERA_ID, "username": username, "addr": "10.0.0.1:9000", "status": "active",
        "registered_at": "2025-12-06T18:19:25.123456789Z", "last_seen": null, "metadata": {},
    })
}

fn profile_path(cluster: &Cluster, username: &str) -> PathBuf {
    cluster.bucket().join("users").join(username).join("profile.json")
}

/// The users of `/users`, by a typed program of requirement 004.
async fn users(cluster: &Cluster) -> Vec<User004> {
    let answer = cluster.lead().get("/users").await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    serde_json::from_value(answer.json()["users"].clone()).expect("every row has the documented types")
}

async fn heartbeat(cluster: &Cluster, username: &str) -> u16 {
    cluster.lead().post("/heartbeat", json!({"username": username}).to_string()).await.status
}

/// A name as a segment of a path.
fn encoded(username: &str) -> String {
    percent_encode(username.as_bytes(), NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn users_and_images_of_requirement_004_are_listed_served_and_accepted() {
    let mut cluster = Plan::quick().seeded(seed_fixture).start().await;
    let before = [fs::read(profile_path(&cluster, "vera")), fs::read(profile_path(&cluster, "omar"))];
    for round in 0..2 {
        let listed = users(&cluster).await;
        assert_eq!(listed.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(), ["omar", "vera"]);
        let ids: Vec<String> = listed.iter().map(|user| user.id.to_string()).collect();
        assert_eq!(ids, [OMAR_ID, VERA_ID]);
        assert_eq!((listed[1].addr.as_str(), &listed[0].metadata), ("192.168.7.20:9000", &json!({"city": "Cairo"})));
        assert_eq!(listed[1].registered_at, "2025-12-06T18:19:25.123456789Z");
        if round == 0 {
            assert_eq!(listed[1].last_seen.as_deref(), Some("2025-12-06T18:20:25.123456789Z"));
        }
        for (user, images) in [
            ("omar", &["1733512000-e5f6g7h8.jpg"][..]),
            ("vera", &["1733511234-a1b2.png", "1765045165-e1c0e532-f30d-465a-b60b-d205f7647b0e.png"]),
        ] {
            assert_eq!(cluster.lead().get(&format!("/images/{user}")).await.json()["images"], json!(images));
            for image in images {
                let answer = cluster.lead().get(&format!("/image/{user}/{image}")).await;
                let stored = fs::read(Path::new(FIXTURE).join(user).join("images").join(image)).expect("readable");
                assert!(answer.status == 200 && answer.body == stored, "{user}/{image}: {}", answer.status);
            }
            assert_eq!(heartbeat(&cluster, user).await, 200, "{user}");
        }
        let all = cluster.lead().get("/discover_with_images").await.json();
        assert_eq!(all["online_clients"][1]["images"].as_array().map(Vec::len), Some(2), "{all}");
        let again = json!({"username": "omar", "addr": "192.168.7.21:9001", "metadata": {"city": "Cairo"}});
        let answer = cluster.lead().post("/register", again.to_string()).await;
        assert_eq!((answer.status, answer.json()["user_id"].as_str()), (200, Some(OMAR_ID)));
        let other = json!({"username": "omar", "addr": "192.168.7.21:9002"}).to_string();
        cluster.lead().post("/register", other).await.expect_error(409, "user_exists");
        if round == 0 {
            // The next leader has the same users.
            let leader = cluster.leader().await;
            cluster.kill9(leader);
            cluster.leader_after(leader).await;
        }
    }
    let after = [fs::read(profile_path(&cluster, "vera")), fs::read(profile_path(&cluster, "omar"))];
    assert_eq!(before.map(Result::unwrap), after.map(Result::unwrap), "no profile was rewritten");
}

#[tokio::test]
async fn a_new_image_follows_the_images_of_other_programs() {
    let cluster = Plan::quick().nodes(1).seeded(seed_fixture).start().await;
    // Later than the clock of this machine, and longer as text than any Unix time in seconds.
    let future = "9999999999999-a.png";
    fs::write(cluster.bucket().join("users/vera/images").join(future), png(8, 8, 1)).expect("the directory is ours");
    let names = [cluster.upload("vera", &png(8, 8, 2)).await, cluster.upload("vera", &png(8, 8, 3)).await];
    let listed = cluster.lead().get("/images/vera").await.json();
    let listed: Vec<&str> = listed["images"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(listed[2..], [future, &names[0], &names[1]]);
    assert!(names[0].starts_with("10000000000000-") && names[1].starts_with("10000000000001-"), "{names:?}");
}

fn seed_unusual_names(data: &Path, _: &[String]) {
    let bucket = data.join("bucket");
    for name in UNUSUAL_NAMES {
        put_profile(&bucket, name, profile_004(name).to_string());
    }
    // The older form of Rollcall.
    let older = json!({
        "user_id": OMAR_ID, "username": "older", "addr": null, "registered_at": "2026-01-01T00:00:00Z", "metadata": {},
    });
    put_profile(&bucket, "older", older.to_string());
    for (name, profile) in [
        ("cut-off", &profile_004("cut-off").to_string()[..50]),
        ("empty", ""),
        ("foreign", &profile_004("somebody else").to_string()),
        ("no-id", r#"{"username":"no-id","registered_at":"2025-12-06T18:19:25Z"}"#),
        ("list", "[]"),
    ] {
        put_profile(&bucket, name, profile);
    }
}

#[tokio::test]
async fn unusual_names_are_accepted_and_an_unreadable_profile_affects_one_user_and_is_logged_once() {
    let mut cluster = Plan::quick().seeded(seed_unusual_names).start().await;
    let mut names: Vec<&str> = UNUSUAL_NAMES.into_iter().chain(["older"]).collect();
    names.sort_unstable();
    let unreadable = ["cut-off", "empty", "foreign", "no-id", "list"];
    for round in 0..2 {
        let listed = users(&cluster).await;
        assert_eq!(listed.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(), names);
        assert!(listed.iter().all(|user| user.status == "offline" || user.status == "online"));
        for name in &names {
            assert_eq!(heartbeat(&cluster, name).await, 200, "{name:?}");
            let uploaded = cluster.lead().upload(&encoded(name), &png(8, 8, 1)).await;
            assert_eq!(uploaded.status, 201, "{name:?}: {:?}", uploaded.json());
        }
        let again = json!({"username": "😀", "addr": "10.0.0.1:9000"}).to_string();
        assert_eq!(cluster.lead().post("/register", again).await.json()["user_id"], VERA_ID);
        let older = cluster.lead().post("/register", r#"{"username":"older"}"#).await;
        assert_eq!((older.status, older.json()["user_id"].as_str()), (200, Some(OMAR_ID)));
        for name in unreadable {
            let beat = cluster.lead().post("/heartbeat", json!({"username": name}).to_string()).await;
            beat.expect_error(500, "profile_corrupt");
            let registered = cluster.lead().post("/register", json!({"username": name}).to_string()).await;
            registered.expect_error(409, "user_exists");
        }
        let leader = cluster.leader().await;
        for name in unreadable {
            let lines = cluster.stderr(leader);
            let count = lines.lines().filter(|line| line.contains("is unreadable") && line.contains(name)).count();
            assert_eq!(count, 1, "{name}: {lines}");
        }
        if round == 0 {
            cluster.kill9(leader);
            cluster.leader_after(leader).await;
        }
    }
    let again = json!({"username": "👻", "addr": "10.0.0.1:9000"}).to_string();
    cluster.lead().post("/register", again).await.expect_error(400, "invalid_username");
    cluster
        .lead()
        .post("/heartbeat", json!({"username": "👻"}).to_string())
        .await
        .expect_error(404, "user_not_registered");
}

#[tokio::test]
async fn a_typed_program_of_requirement_004_reads_the_profiles_that_rollcall_writes() {
    let cluster = Plan::quick().nodes(1).start().await;
    for registration in [
        json!({"username": "mona ali", "addr": "10.0.0.1:9000", "metadata": {"n": 1}}),
        json!({"username": "Zoë"}),
        json!({"username": "王小明", "password": "secret one"}),
    ] {
        let answer = cluster.lead().post("/register", registration.to_string()).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        let name = registration["username"].as_str().unwrap();
        let profile = fs::read(profile_path(&cluster, name)).expect("it is stored");
        let profile: User004 = serde_json::from_slice(&profile).expect("every field has the documented type");
        assert_eq!((profile.username.as_str(), profile.status.as_str()), (name, "active"));
        assert_eq!(Some(profile.id.to_string().as_str()), answer.json()["user_id"].as_str());
        assert_eq!(profile.addr, registration["addr"].as_str().unwrap_or_default());
        assert_eq!(profile.last_seen, None);
    }
}

#[tokio::test]
async fn a_password_change_keeps_the_fields_of_other_programs() {
    let cluster = Plan::quick().nodes(1).start().await;
    let registered = cluster.lead().post("/register", r#"{"username":"alice","password":"secret one"}"#).await.json();
    let path = profile_path(&cluster, "alice");
    let mut profile: serde_json::Map<String, Value> =
        serde_json::from_slice(&fs::read(&path).expect("it is stored")).expect("JSON");
    profile.insert("status".to_owned(), json!("away"));
    profile.insert("last_seen".to_owned(), json!("2025-12-06T18:20:25.123456789Z"));
    let mut text = serde_json::to_string(&profile).expect("JSON");
    text.insert_str(1, r#""avatar":{"size":123456789012345678901234567890},"#);
    fs::write(&path, text).expect("the directory is ours");
    let change = r#"{"username":"alice","password":"secret one","new_password":"secret two"}"#;
    assert_eq!(cluster.lead().post("/password", change).await.status, 200);
    let written = fs::read_to_string(&path).expect("it is stored");
    assert!(written.contains(r#""avatar":{"size":123456789012345678901234567890}"#), "{written}");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!((&written["status"], &written["last_seen"]), (&json!("away"), &profile["last_seen"]));
    assert_eq!((&written["id"], &written["password_version"]), (&registered["user_id"], &json!(1)));
    assert_eq!(cluster.lead().post("/login", r#"{"username":"alice","password":"secret two"}"#).await.status, 200);
}
