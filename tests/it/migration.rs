//! TLS between nodes and the cluster key are switched on and off on existing data, with the steps
//! of docs/operations.md.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Plan, Process, free_port, rollcall, until};
use crate::first_version::{FIXTURE, copy_fixture, heartbeat_with_token, log_in};

const CLUSTER_KEY: &str = "0123456789abcdef0123456789abcdef";

/// The log message about a secret that others could read.
const REPLACED: &str = "replaced a secret that was not sealed with the cluster_key";

/// The secrets in the bucket, by name.
fn secrets(cluster: &Cluster) -> Vec<(String, String)> {
    let folder = cluster.bucket().join("secrets");
    let entries = fs::read_dir(&folder).expect("the nodes made it").map(|entry| entry.expect("readable").path());
    let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    let read = |path: &Path| fs::read_to_string(path).expect("readable");
    let mut found: Vec<_> = entries.filter(|path| path.is_file()).map(|path| (name(&path), read(&path))).collect();
    found.sort_unstable();
    found
}

fn is_sealed(text: &str) -> bool {
    text.starts_with(r#"{"sealed":""#)
}

/// The logs of all nodes.
fn logs(cluster: &Cluster) -> String {
    (0..3).map(|index| cluster.stderr(index)).collect()
}

async fn stop_all(cluster: &mut Cluster) {
    for index in 0..3 {
        cluster.terminate(index);
    }
    for index in 0..3 {
        assert!(cluster.end(index).await.success(), "node {index} ends in order");
    }
}

/// Starts all nodes with these values of a variable.
async fn start_all(cluster: &mut Cluster, variable: &str, value: &str) {
    for index in 0..3 {
        cluster.set_env(index, variable, value);
        cluster.start(index);
    }
    cluster.leader().await;
}

/// Logs in. Returns the header with the new token.
async fn token(cluster: &Cluster, username: &str, password: &str) -> String {
    let body = json!({"username": username, "password": password}).to_string();
    let answer = cluster.lead().post("/login", body).await;
    assert_eq!(answer.status, 200, "{answer}");
    format!("Bearer {}", answer.json()["token"].as_str().expect("a token"))
}

/// The status of a heartbeat with a token.
async fn heartbeat(cluster: &Cluster, username: &str, token: &str) -> u16 {
    let body = json!({"username": username}).to_string();
    cluster.lead().header("authorization", token).post("/heartbeat", body).await.status
}

async fn usernames(cluster: &Cluster) -> Vec<String> {
    let users = cluster.lead().get("/users").await.json();
    let name = |user: &Value| user["username"].as_str().expect("a name").to_owned();
    users["users"].as_array().expect("a list").iter().map(name).collect()
}

/// Waits until all nodes have links to all others.
async fn wait_until_linked(cluster: &Cluster) {
    until("links between all nodes", async || {
        let mut linked = true;
        for index in 0..3 {
            let members = cluster.at(index).get("/cluster").await.json();
            let nodes = members["nodes"].as_array().expect("a list");
            linked &= nodes.len() == 3 && nodes.iter().all(|node| node["reachable"] == true);
        }
        linked
    })
    .await;
}

#[tokio::test]
async fn data_from_before_tls_keeps_its_secrets_without_a_cluster_key() {
    let cluster = Plan::quick().seeded(copy_fixture).start().await;
    wait_until_linked(&cluster).await;
    assert_eq!(heartbeat_with_token(&cluster, "carol", "carol").await.status, 200, "her token is from before");
    let found = secrets(&cluster);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["node-key-1.json", "tokens.json"], "the nodes made their first key pair");
    let before = fs::read_to_string(Path::new(FIXTURE).join("bucket/secrets/tokens.json")).expect("the fixture");
    assert_eq!(found[1].1, before);
    assert!(!is_sealed(&found[0].1) && !logs(&cluster).contains(REPLACED));
}

#[tokio::test]
async fn data_from_before_tls_gets_new_sealed_secrets_with_a_cluster_key_and_users_log_in_again() {
    // A long TTL: on a busy machine too, the online clients must stay online during the test.
    let plan = Plan::quick().seeded(copy_fixture).env("HEARTBEAT_TTL_SECONDS", "600");
    let cluster = plan.env("ROLLCALL_CLUSTER_KEY", CLUSTER_KEY).start().await;
    wait_until_linked(&cluster).await;
    let found = secrets(&cluster);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|(_, text)| is_sealed(text)), "{found:?}");
    let log = logs(&cluster);
    let replaced: Vec<&str> = log.lines().filter(|line| line.contains(REPLACED)).collect();
    assert_eq!(replaced.len(), 1, "one node replaces the token key: {replaced:#?}");
    assert!(replaced[0].contains("WARN") && replaced[0].contains("secrets/tokens.json"), "{replaced:?}");
    assert!(!log.contains(CLUSTER_KEY));

    assert_eq!(heartbeat_with_token(&cluster, "carol", "carol").await.status, 401, "her token has ended");
    assert_eq!(log_in(&cluster, "carol", "wrong").await, 401);
    let new = token(&cluster, "carol", "correct horse").await;
    assert_eq!(heartbeat(&cluster, "carol", &new).await, 200);
    assert_eq!(usernames(&cluster).await, ["alice", "bob", "carol", "dave", "erin"]);
    let online = cluster.lead().get("/discovery/online").await.json();
    assert_eq!(online, json!({"online": ["alice", "bob", "carol", "erin"]}), "the snapshots were read");
}

#[tokio::test]
async fn a_cluster_key_is_changed_and_switched_off_with_the_documented_steps() {
    let mut cluster = Plan::quick().env("ROLLCALL_CLUSTER_KEY", CLUSTER_KEY).start().await;
    let body = r#"{"username":"carol","password":"correct horse"}"#;
    let registered = cluster.lead().post("/register", body).await;
    assert!(matches!(registered.status, 200 | 201), "{registered}");
    for (key, seals) in [("fedcba9876543210fedcba9876543210", true), ("", false)] {
        let old = token(&cluster, "carol", "correct horse").await;
        let before = secrets(&cluster);
        assert!(before.iter().all(|(_, text)| is_sealed(text)), "{before:?}");
        stop_all(&mut cluster).await;
        assert_exits_with_the_remedy(&cluster, key).await;
        assert_eq!(secrets(&cluster), before, "the failed start changed nothing");
        for (name, _) in before {
            fs::remove_file(cluster.bucket().join("secrets").join(name)).expect("it was listed");
        }
        start_all(&mut cluster, "ROLLCALL_CLUSTER_KEY", key).await;
        wait_until_linked(&cluster).await;
        let after = secrets(&cluster);
        assert_eq!(after.len(), 2, "{after:?}");
        assert!(after.iter().all(|(_, text)| is_sealed(text) == seals), "{after:?}");
        assert_eq!(heartbeat(&cluster, "carol", &old).await, 401);
        let new = token(&cluster, "carol", "correct horse").await;
        assert_eq!(heartbeat(&cluster, "carol", &new).await, 200);
    }
}

/// A node with another key than that of the sealed secrets, or without one, does not start.
async fn assert_exits_with_the_remedy(cluster: &Cluster, key: &str) {
    let mut command = rollcall(cluster.dir());
    command.args(["--config", "config.toml", "--this-node", &cluster.name(0)]);
    command.env("API_PORT", free_port().to_string()).env("ROLLCALL_API_BIND", "127.0.0.1");
    command.env("ROLLCALL_CLUSTER_KEY", key);
    let files = ["out", "err"].map(|kind| cluster.dir().join(format!("early-{}.{kind}", key.len())));
    let status = Process::start(command, &files[0], &files[1]).wait().await;
    let log = fs::read_to_string(&files[1]).expect("the log was written");
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("secrets/tokens.json") && log.contains("give it the cluster_key"), "{log}");
}

#[tokio::test]
async fn tls_between_the_nodes_is_switched_on_and_off_with_the_documented_steps() {
    let mut cluster = Plan::quick().env("ROLLCALL_NODE_TLS", "off").start().await;
    let registered = cluster.lead().post("/register", r#"{"username":"carol","password":"correct horse"}"#).await;
    assert!(matches!(registered.status, 200 | 201), "{registered}");
    let token = token(&cluster, "carol", "correct horse").await;
    wait_until_linked(&cluster).await;
    assert!(secrets(&cluster).iter().all(|(name, _)| name == "tokens.json"), "without TLS there is no key pair");
    for value in ["on", "off", "on"] {
        stop_all(&mut cluster).await;
        start_all(&mut cluster, "ROLLCALL_NODE_TLS", value).await;
        wait_until_linked(&cluster).await;
        assert_eq!(heartbeat(&cluster, "carol", &token).await, 200, "node_tls = {value}");
        assert_eq!(usernames(&cluster).await, ["carol"]);
    }
    let pairs = secrets(&cluster).into_iter().filter(|(name, _)| name.starts_with("node-key-")).count();
    assert_eq!(pairs, 1, "the pair of the first start with TLS is used again");
}

#[tokio::test]
async fn nodes_with_and_without_tls_refuse_each_other_and_a_node_says_so() {
    let cluster = Plan::quick().env_of(2, "ROLLCALL_NODE_TLS", "off").start().await;
    let leader = cluster.leader().await;
    assert_ne!(leader, 2, "it has no majority");
    until("the reason in the log of a node with TLS", async || {
        (0..2).any(|index| cluster.stderr(index).contains("give all nodes the same node_tls"))
    })
    .await;
    let members = cluster.at(leader).get("/cluster").await.json();
    let names = members["nodes"].as_array().expect("a list").iter();
    let reachable = names.filter(|node| node["reachable"] == true).map(|node| node["node"].clone());
    assert!(reachable.into_iter().all(|name| name != cluster.name(2)), "{members}");
}
