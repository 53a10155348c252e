//! Only a node with a majority leads.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Plan, until};

/// Time for which nodes are observed: several times the longest election timeout of the quick
/// timings, which is 900 ms.
const OBSERVATION_TIME: Duration = Duration::from_secs(4);

#[tokio::test]
async fn one_of_three_nodes_never_serves_and_reports_no_leader() {
    let mut cluster = Plan::quick().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let (last, leader) = cluster.follower().await;
    let other = 3 - last - leader;
    cluster.kill9(other);
    cluster.kill9(leader);
    until("the last node to report no leader", async || {
        cluster.health(last).await.is_some_and(|health| health["current_leader"].is_null())
    })
    .await;
    let started = Instant::now();
    while started.elapsed() < OBSERVATION_TIME {
        let health = cluster.at(last).get("/").await.json();
        assert_eq!((&health["status"], &health["is_leader"]), (&json!("ok"), &json!(false)), "{health}");
        for path in ["/users", "/discover", "/leader", "/readyz"] {
            cluster.at(last).get(path).await.expect_error(503, "no_leader");
        }
        let refused = cluster.at(last).post("/register", r#"{"username":"bob"}"#).await;
        refused.expect_error(503, "no_leader");
        assert_eq!(refused.header("retry-after"), Some("1"));
        cluster.at(last).post("/heartbeat", "nonsense").await.expect_error(503, "no_leader");
    }
    assert_eq!(cluster.stored(), ["users/alice/profile.json"]);
    // With a second node there is a majority again.
    cluster.start(other);
    cluster.leader().await;
    assert_eq!(cluster.lead().get("/users").await.json()["count"], 1);
}

#[tokio::test]
async fn a_leader_whose_followers_are_frozen_stops_serving() {
    let cluster = Plan::quick().start().await;
    let leader = cluster.leader().await;
    for index in (0..3).filter(|index| *index != leader) {
        cluster.freeze(index);
    }
    until("the end of the lease", async || cluster.at(leader).get("/discover").await.status == 503).await;
    let health = cluster.at(leader).get("/").await.json();
    assert_eq!(health["is_leader"], false, "{health}");
    let started = Instant::now();
    while started.elapsed() < OBSERVATION_TIME / 2 {
        cluster.at(leader).post("/register", r#"{"username":"bob"}"#).await.expect_error(503, "no_leader");
    }
    for index in (0..3).filter(|index| *index != leader) {
        cluster.resume(index);
    }
    cluster.leader().await;
    assert_eq!(cluster.register("bob", "10.0.0.1:9000").await.len(), 36);
}

#[tokio::test]
async fn a_cluster_of_one_leads_at_once() {
    let mut cluster = Plan::documented().nodes(1).start().await;
    let ready_at = Instant::now();
    cluster.leader().await;
    assert!(ready_at.elapsed() < Duration::from_secs(1), "took {:?}", ready_at.elapsed());
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster.kill9(0);
    cluster.start(0);
    cluster.leader().await;
    assert_eq!(cluster.lead().get("/users").await.json()["count"], 1);
    assert_eq!(cluster.sigterm(0).await.code(), Some(0));
}
