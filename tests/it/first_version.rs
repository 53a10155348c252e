//! Compatibility: the nodes start on a data directory of the first version,
//! `tests/fixtures/first-version`.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rollcall_core::clock::wall_now;
use rollcall_core::{NodeAddr, Term};
use rollcall_election::{NodeId, Peers, decode_ballot, encode_ballot};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cluster::{Cluster, Plan, Response, copy_dir};

pub(crate) const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/first-version");

/// The term of the fixture's ballots.
const TERM: u64 = 3;

/// The addresses of the fixture's nodes. Node 0 had the vote of every node.
const NAMES: [&str; 3] = ["127.0.0.1:8090", "127.0.0.1:8091", "127.0.0.1:8092"];

/// Bytes of a snapshot's creation time. They follow the first line and the bucket's id.
const CREATED_AT: std::ops::Range<usize> = 36..44;
/// Length of the SHA-256 at the end of a snapshot, in bytes.
const CHECKSUM_BYTES: usize = 32;

/// Copies the fixture. Files that are named after a node get its current address as their name.
/// Ballots keep the old addresses: a vote for a node that is no longer a member still counts as a
/// vote. Snapshots get the present time: otherwise every client would be offline.
pub(crate) fn copy_fixture(data: &Path, names: &[String]) {
    let fixture = Path::new(FIXTURE);
    copy_dir(&fixture.join("bucket"), &data.join("bucket"));
    let traces = data.join("bucket/nodes");
    for (index, name) in names.iter().enumerate() {
        copy_dir(&fixture.join(format!("node-{index}")), &data.join(name));
        set_created_now(&data.join(name).join("snapshot"));
        fs::rename(traces.join(format!("node-{index}.json")), traces.join(format!("{name}.json")))
            .expect("the file exists");
    }
}

fn set_created_now(snapshot: &Path) {
    let mut bytes = fs::read(snapshot).expect("the file was copied");
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is after 1970");
    let now_ms = i64::try_from(now.as_millis()).expect("the milliseconds fit into an i64");
    bytes[CREATED_AT].copy_from_slice(&now_ms.to_le_bytes());
    let content = bytes.len() - CHECKSUM_BYTES;
    let sum = Sha256::digest(&bytes[..content]);
    bytes[content..].copy_from_slice(&sum);
    fs::write(snapshot, bytes).expect("the directory is ours");
}

async fn start_cluster() -> Cluster {
    // A long TTL: on a busy machine too, the online clients must stay online during the test.
    Plan::quick().seeded(copy_fixture).env("HEARTBEAT_TTL_SECONDS", "600").start().await
}

fn token(user: &str) -> String {
    let tokens = fs::read(Path::new(FIXTURE).join("tokens.json")).expect("the fixture is there");
    let tokens: Value = serde_json::from_slice(&tokens).expect("JSON");
    format!("Bearer {}", tokens[user].as_str().expect("a token"))
}

pub(crate) async fn heartbeat_with_token(cluster: &Cluster, user: &str, token_of: &str) -> Response {
    let body = json!({"username": user}).to_string();
    cluster.lead().header("authorization", &token(token_of)).post("/heartbeat", body).await
}

pub(crate) async fn log_in(cluster: &Cluster, user: &str, password: &str) -> u16 {
    let body = json!({"username": user, "password": password}).to_string();
    cluster.lead().post("/login", body).await.status
}

#[test]
fn a_ballot_of_the_first_version_is_read_and_written_the_same() {
    let addrs: Vec<NodeAddr> = NAMES.iter().map(|name| name.parse().expect("an address")).collect();
    let peers = Peers::new(addrs.clone(), addrs[1]).expect("a member");
    let bytes = fs::read(Path::new(FIXTURE).join("node-1/ballot.json")).expect("the fixture is there");
    let ballot = decode_ballot(&bytes, &peers).expect("a ballot");
    assert_eq!((ballot.term, ballot.voted_for), (Term(TERM), Some(NodeId(0))));
    assert_eq!(encode_ballot(ballot, &peers), bytes);
}

#[tokio::test]
async fn the_term_the_users_and_the_online_clients_of_the_first_version_are_kept() {
    let started = wall_now();
    let cluster = start_cluster().await;
    let leader = cluster.leader().await;
    let health = cluster.health(leader).await.expect("the node answers");
    assert!(health["term"].as_u64().expect("a number") > TERM, "{health}");
    let users = cluster.lead().get("/users").await.json();
    let users = users["users"].as_array().expect("a list");
    let listed: Vec<Value> = users
        .iter()
        .map(|user| json!([user["id"], user["username"], user["addr"], user["online"], user["metadata"]]))
        .collect();
    // The online clients and Bob's live address are in the snapshots only.
    let alice = json!({"device": "laptop", "tags": ["a", 1, 2.5, true, null], "nested": {"é": "ü"}});
    let expected = [
        json!(["271ad16e-ce46-4d4f-bba4-4a75eb30e189", "alice", "10.0.0.1:9000", true, alice]),
        json!(["cb95117a-234c-4ea6-894f-b86da3acac77", "bob", "10.0.0.22:9011", true, {}]),
        json!(["34890dbf-6e40-4dd1-ac73-b71052b392d2", "carol", "[2001:db8::3]:9002", true, {}]),
        json!(["56f55cd3-6508-4bdb-9d66-1914e1bbbdc5", "dave", "", false, {}]),
        json!(["22f18580-d020-4fcc-9cb9-d3151825b4de", "erin", "", true, {"n": 1}]),
    ];
    assert_eq!(listed, expected);
    assert!(users.iter().all(|user| user["registered_at"] == "2026-11-30T06:07:29Z"), "{users:?}");
    // The last heartbeats were less than two seconds before the snapshots.
    let (earliest, latest) = (started.minus(2000).to_rfc3339(), wall_now().to_rfc3339());
    for user in users.iter().filter(|user| user["username"] != "dave") {
        let last_seen = user["last_seen"].as_str().expect("a time");
        assert!((earliest.as_str()..=latest.as_str()).contains(&last_seen), "{user}");
    }
    let online = cluster.lead().get("/discovery/online").await;
    assert_eq!(online.json(), json!({"online": ["alice", "bob", "carol", "erin"]}), "{online}");
    for index in 0..3 {
        let log = cluster.stderr(index);
        assert!(!log.contains("the snapshot is ignored") && !log.contains("WARN"), "node {index}:\n{log}");
    }
}

#[tokio::test]
async fn the_passwords_tokens_and_images_of_the_first_version_are_valid() {
    let cluster = start_cluster().await;
    for (user, password, status) in [
        ("carol", "correct horse", 200),
        ("carol", "wrong", 401),
        ("erin", "second one", 200),
        ("erin", "first one", 401),
    ] {
        assert_eq!(log_in(&cluster, user, password).await, status, "{user} with {password}");
    }
    for (user, token_of, status) in [
        ("carol", "carol", 200),
        ("erin", "erin", 200),
        ("erin", "erin_before_the_change_of_her_password", 401),
        ("carol", "erin", 401),
    ] {
        let answer = heartbeat_with_token(&cluster, user, token_of).await;
        assert_eq!(answer.status, status, "{user} with the token of {token_of}: {answer}");
    }
    // The same registration may be repeated. For any other the username is taken.
    let bob = json!({"username": "bob", "addr": "127.0.0.1:9001"}).to_string();
    let again = cluster.lead().post("/register", bob).await;
    assert_eq!((again.status, &again.json()["user_id"]), (200, &"cb95117a-234c-4ea6-894f-b86da3acac77".into()));
    cluster
        .lead()
        .post("/register", r#"{"username":"dave","metadata":{"n":1}}"#)
        .await
        .expect_error(409, "user_exists");

    for user in ["alice", "carol"] {
        let folder = Path::new(FIXTURE).join("bucket/users").join(user).join("images");
        for entry in fs::read_dir(folder).expect("the fixture is there") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            let listed = cluster.lead().get(&format!("/images/{user}")).await;
            assert!(listed.json().to_string().contains(&name), "{name}: {listed}");
            let picture = cluster.lead().get(&format!("/image/{user}/{name}")).await;
            assert_eq!(picture.body, fs::read(path).expect("the fixture is there"), "{name}");
        }
    }
}
