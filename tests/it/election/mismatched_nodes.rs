//! Nodes that cannot form a cluster: they refuse each other, and both logs contain both values.

use rollcall_election::bucket_fingerprint;
use serde_json::json;

use crate::cluster::{Cluster, Plan, until};

/// Restarts the last of three nodes with this variable. Then checks that it is rejected, and that
/// it and another node log a warning with all of `words`.
async fn assert_rejected(cluster: &mut Cluster, name: &str, value: &str, words: &[String]) {
    cluster.kill9(2);
    cluster.set_env(2, name, value);
    cluster.start(2);
    let has_warning =
        |log: &str| log.lines().any(|line| line.contains("WARN") && words.iter().all(|word| line.contains(word)));
    until("both nodes to log both values", async || {
        has_warning(&cluster.stderr(2)) && (has_warning(&cluster.stderr(0)) || has_warning(&cluster.stderr(1)))
    })
    .await;
    let leader = cluster.leader().await;
    assert_ne!(leader, 2);
    let rejected_node = cluster.at(2).get("/").await.json();
    assert_eq!(
        (&rejected_node["is_leader"], &rejected_node["current_leader"]),
        (&json!(false), &json!(null)),
        "{rejected_node}"
    );
    cluster.at(2).get("/users").await.expect_error(503, "no_leader");
    assert_eq!(cluster.lead().get("/users").await.status, 200);
}

#[tokio::test]
async fn a_node_with_another_bucket_is_rejected() {
    let mut cluster = Plan::quick().start().await;
    let other = Plan::quick().nodes(1).start().await;
    let fingerprint = |cluster: &Cluster| -> String {
        let text = std::fs::read(cluster.bucket().join("cluster.json")).expect("the file is written at the start");
        let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        bucket_fingerprint(json["cluster_id"].as_str().and_then(|id| id.parse().ok()).expect("an id"))
    };
    let words = [fingerprint(&cluster), fingerprint(&other)];
    assert_ne!(words[0], words[1]);
    let data = other.dir().join("data");
    assert_rejected(&mut cluster, "ROLLCALL_DATA_DIR", &data.to_string_lossy(), &words).await;
}

#[tokio::test]
async fn a_node_with_other_peers_is_rejected() {
    let mut cluster = Plan::quick().start().await;
    let others = format!("{},{},127.0.0.1:9", cluster.name(0), cluster.name(2));
    let words = [cluster.name(1), "127.0.0.1:9".to_owned()];
    assert_rejected(&mut cluster, "ROLLCALL_PEERS", &others, &words).await;
}

#[tokio::test]
async fn a_node_with_other_timings_is_rejected() {
    let mut cluster = Plan::quick().start().await;
    let words = ["2000".to_owned(), "2345".to_owned()];
    assert_rejected(&mut cluster, "ROLLCALL_LEADER_TERM_MS", "2345", &words).await;
}
