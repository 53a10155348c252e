//! Cluster of two nodes: neither can lead without the other, and the log gives the reason.

use std::time::Duration;

use crate::cluster::{Plan, until};

/// Time for which the last node is observed: longer than any timeout.
const OBSERVATION_TIME: Duration = Duration::from_secs(6);

/// Row 13 of the faults in tests/README.md.
#[tokio::test]
async fn one_of_two_nodes_does_not_lead_and_logs_the_reason() {
    for leader_dies in [true, false] {
        let mut cluster = Plan::documented().nodes(2).start().await;
        let leader = cluster.leader().await;
        let (dead, remaining) = if leader_dies { (leader, 1 - leader) } else { (1 - leader, leader) };
        cluster.kill9(dead);
        until("the end of the lease", async || cluster.at(remaining).get("/readyz").await.status == 503).await;
        let end = tokio::time::Instant::now() + OBSERVATION_TIME;
        while tokio::time::Instant::now() < end {
            let message = cluster.at(remaining).get("/readyz").await.expect_error(503, "no_leader");
            assert!(message.contains("leader"), "{message}");
            assert_eq!(cluster.at(remaining).get("/discover").await.status, 503);
        }
        until("the reason in the log", async || {
            cluster.stderr(remaining).lines().any(|line| {
                line.contains("there is no leader") && line.contains("1 of 2 nodes can be reached, 2 are needed")
            })
        })
        .await;
    }
}
