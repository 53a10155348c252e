//! `rollcall admin`, and the secrets of a cluster in its bucket.

use std::fs;
use std::path::Path;

use crate::cluster::{Cluster, Plan, Process, free_port, rollcall};

const CLUSTER_KEY: &str = "0123456789abcdef0123456789abcdef";

/// Runs a command in the directory of a cluster; returns its exit code and everything that it
/// wrote.
async fn run(dir: &Path, arguments: &[&str], key: Option<&str>) -> (Option<i32>, String) {
    let mut command = rollcall(dir);
    command.args(arguments);
    if let Some(key) = key {
        command.env("ROLLCALL_CLUSTER_KEY", key);
    }
    command.env("API_PORT", free_port().to_string()).env("ROLLCALL_API_BIND", "127.0.0.1");
    let (out, err) = (dir.join("command.out"), dir.join("command.err"));
    for file in [&out, &err] {
        let _ = fs::remove_file(file);
    }
    let status = Process::start_without_flag(command, &out, &err).wait().await;
    let text = [out, err].map(|file| fs::read_to_string(file).expect("the output was written")).concat();
    (status.code(), text)
}

fn secret(cluster: &Cluster, name: &str) -> String {
    fs::read_to_string(cluster.bucket().join("secrets").join(name)).expect("the secret is there")
}

#[tokio::test]
async fn rotate_node_key_makes_the_next_pair_of_a_cluster() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.leader().await;
    let first = secret(&cluster, "node-key-1.json");
    let (code, text) = run(cluster.dir(), &["admin", "rotate-node-key"], None).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Made secrets/node-key-2.json in the "), "{text}");
    let (code, text) = run(cluster.dir(), &["admin", "rotate-node-key", "--json"], None).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with(r#"{"created":"secrets/node-key-3.json","#), "{text}");
    assert_eq!(secret(&cluster, "node-key-1.json"), first, "the pair in use stays");
    let private_key = |text: &str| text.split('"').nth(7).expect("a key").to_owned();
    let keys =
        ["node-key-1.json", "node-key-2.json", "node-key-3.json"].map(|name| private_key(&secret(&cluster, name)));
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert!(keys.iter().all(|key| key.len() > 40 && !cluster.stderr(0).contains(key)), "no log has a key");
}

#[tokio::test]
async fn rotate_node_key_needs_a_bucket_that_nodes_use() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (code, text) = run(dir.path(), &["admin", "rotate-node-key"], None).await;
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("--data-dir"), "{text}");
    fs::create_dir_all(dir.path().join("data/bucket")).expect("writable");
    let (code, text) = run(dir.path(), &["admin", "rotate-node-key"], None).await;
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("start a node first"), "{text}");
}

#[tokio::test]
async fn a_cluster_key_seals_the_secrets_and_a_node_without_it_exits_with_78() {
    let mut cluster = Plan::quick().nodes(1).start().await;
    cluster.leader().await;
    let readable = ["tokens.json", "node-key-1.json"].map(|name| secret(&cluster, name));
    assert!(readable.iter().all(|text| !text.contains("sealed")));
    assert!(cluster.sigterm(0).await.success());

    cluster.set_env(0, "ROLLCALL_CLUSTER_KEY", CLUSTER_KEY);
    cluster.start(0);
    cluster.leader().await;
    let sealed = ["tokens.json", "node-key-1.json"].map(|name| secret(&cluster, name));
    assert!(sealed.iter().all(|text| text.starts_with(r#"{"sealed":""#)), "{sealed:?}");
    assert!(cluster.stderr(0).contains("replaced a secret that was not sealed"), "{}", cluster.stderr(0));
    let (code, text) = run(cluster.dir(), &["admin", "rotate-node-key"], Some(CLUSTER_KEY)).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(secret(&cluster, "node-key-2.json").starts_with(r#"{"sealed":""#));
    assert!(cluster.sigterm(0).await.success());
    cluster.start(0);
    cluster.leader().await;
    assert_eq!(["tokens.json", "node-key-1.json"].map(|name| secret(&cluster, name)), sealed, "they are kept");
    assert!(cluster.sigterm(0).await.success());

    let name = cluster.name(0);
    let (code, text) = run(cluster.dir(), &["--this-node", &name, "--peers", &name], None).await;
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("secrets/tokens.json") && text.contains("is sealed with a cluster_key"), "{text}");
    let other_key = "another key of a cluster";
    let (code, text) = run(cluster.dir(), &["--this-node", &name, "--peers", &name], Some(other_key)).await;
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("cannot be opened with this node's cluster_key") && !text.contains(other_key), "{text}");
}
