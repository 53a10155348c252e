//! All nodes end and are started again: what their snapshots are worth.

use std::fs;
use std::path::PathBuf;

use crate::cluster::{Cluster, Plan};

fn snapshot(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.node_dir(index).join("snapshot")
}

async fn end_all(cluster: &mut Cluster) {
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
async fn a_cold_start_remembers_profiles_and_who_was_seen_but_believes_no_name_that_the_bucket_does_not_have() {
    let mut cluster = Plan::documented().start().await;
    for name in ["alice", "bob", "carol"] {
        cluster.register(name, "10.0.0.1:9000").await;
    }
    let beat = r#"{"username":"alice","addr":"10.7.7.7:777"}"#;
    assert_eq!(cluster.lead().post("/heartbeat", beat).await.status, 200);
    // The nodes write what they know when they end; those that end first know less.
    end_all(&mut cluster).await;
    // Alice's profile cannot be read any more, so what is known of her was remembered; Bob is gone from the bucket.
    let users = cluster.bucket().join("users");
    fs::write(users.join("alice/profile.json"), "torn").expect("writable");
    fs::remove_dir_all(users.join("bob")).expect("there");
    start_all(&mut cluster).await;
    assert_eq!(usernames(&cluster).await, ["alice", "carol"]);
    let users = cluster.lead().get("/users").await.json();
    let alice = &users["users"][0];
    assert_eq!(alice["addr"], "10.7.7.7:777", "her live address is remembered: {alice}");
    assert!(alice["last_seen"].is_string(), "{alice}");
    assert_eq!(cluster.lead().post("/heartbeat", r#"{"username":"bob"}"#).await.status, 404);
}

#[tokio::test]
async fn snapshots_that_are_torn_or_gone_are_made_again_from_the_bucket() {
    let mut cluster = Plan::documented().start().await;
    for name in ["alice", "bob"] {
        cluster.register(name, "10.0.0.1:9000").await;
    }
    end_all(&mut cluster).await;
    for index in 0..2 {
        let bytes = fs::read(snapshot(&cluster, index)).expect("written at the end");
        fs::write(snapshot(&cluster, index), &bytes[..bytes.len() / 2]).expect("writable");
    }
    fs::remove_file(snapshot(&cluster, 2)).expect("there");
    start_all(&mut cluster).await;
    assert_eq!(usernames(&cluster).await, ["alice", "bob"]);
    assert!(cluster.stderr(0).contains("is left aside"), "the log says why");
    end_all(&mut cluster).await;
    assert!((0..3).all(|index| snapshot(&cluster, index).exists()));
}
