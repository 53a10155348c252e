//! Cold start: all nodes stop and start again with their snapshots.

use std::fs;
use std::path::PathBuf;

use crate::cluster::{Cluster, Plan};

fn snapshot(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.node_dir(index).join("snapshot")
}

async fn stop_all(cluster: &mut Cluster) {
    for index in 0..3 {
        let status = cluster.sigterm(index).await;
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

async fn start_all(cluster: &mut Cluster) -> usize {
    for index in 0..3 {
        cluster.start(index);
    }
    cluster.leader().await
}

async fn usernames(cluster: &Cluster) -> Vec<String> {
    let users = cluster.lead().get("/users").await.json();
    let users = users["users"].as_array().expect("a list").clone();
    users.iter().map(|user| user["username"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_cold_start_keeps_profiles_and_online_clients_but_no_user_that_the_bucket_lacks() {
    let mut cluster = Plan::documented().start().await;
    for name in ["alice", "bob", "carol"] {
        cluster.register(name, "10.0.0.1:9000").await;
    }
    let heartbeat = r#"{"username":"alice","addr":"10.7.7.7:777"}"#;
    assert_eq!(cluster.lead().post("/heartbeat", heartbeat).await.status, 200);
    // Each node writes its snapshot when it stops. The nodes that stop first may have fewer rows.
    stop_all(&mut cluster).await;
    // Alice's profile in the bucket is damaged, so her data can come from snapshots only. Bob is
    // deleted from the bucket.
    let users = cluster.bucket().join("users");
    fs::write(users.join("alice/profile.json"), "torn").expect("writable");
    fs::remove_dir_all(users.join("bob")).expect("the file exists");
    start_all(&mut cluster).await;
    assert_eq!(usernames(&cluster).await, ["alice", "carol"]);
    let users = cluster.lead().get("/users").await.json();
    let alice = &users["users"][0];
    assert_eq!(alice["addr"], "10.7.7.7:777", "her live address is in the snapshots: {alice}");
    assert!(alice["last_seen"].is_string(), "{alice}");
    assert_eq!(cluster.lead().post("/heartbeat", r#"{"username":"bob"}"#).await.status, 404);
}

#[tokio::test]
async fn damaged_or_missing_snapshots_are_rebuilt_from_the_bucket() {
    let mut cluster = Plan::documented().start().await;
    for name in ["alice", "bob"] {
        cluster.register(name, "10.0.0.1:9000").await;
    }
    stop_all(&mut cluster).await;
    for index in 0..2 {
        let bytes = fs::read(snapshot(&cluster, index)).expect("written at the stop");
        fs::write(snapshot(&cluster, index), &bytes[..bytes.len() / 2]).expect("writable");
    }
    fs::remove_file(snapshot(&cluster, 2)).expect("the file exists");
    start_all(&mut cluster).await;
    assert_eq!(usernames(&cluster).await, ["alice", "bob"]);
    assert!(cluster.stderr(0).contains("the snapshot is ignored"), "the log names the reason");
    stop_all(&mut cluster).await;
    assert!((0..3).all(|index| snapshot(&cluster, index).exists()));
}
