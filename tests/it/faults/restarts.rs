//! Restarts of all nodes, one after the other and at the same time.

use std::time::Duration;

use tokio::time::Instant;

use super::observed_cluster::ObservedCluster;
use super::writers::Writers;
use crate::cluster::{Plan, until};

/// Number of rolling restarts. The benchmark has 50.
const ROUNDS: usize = 3;
/// Lowest number of registrations in one round.
const MIN_REGISTRATIONS: usize = 5;
/// Limit on the time to a leader, from the table of faults. A node that waited for a whole timeout
/// after its boot window would need more than 8 s.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// Row 29 of the faults in tests/README.md.
#[tokio::test]
async fn rolling_restarts_under_load_lose_no_acknowledged_data() {
    let mut observed = ObservedCluster::start(Plan::documented().unlimited_registrations()).await;
    observed.wait_until_settled().await;
    let writers = Writers::start(&observed.cluster);
    for _ in 0..ROUNDS {
        let before = writers.count();
        for index in 0..3 {
            let status = observed.cluster.sigterm(index).await;
            assert_eq!(status.code(), Some(0), "{status}");
            observed.restart(index);
            // Like an operator, the test continues when this node is ready, not when it may vote.
            observed.wait_for_agreement().await;
        }
        until("registrations", async || writers.count() >= before + MIN_REGISTRATIONS).await;
    }
    writers.check(&observed.cluster).await;
}

/// Row 30 of the faults in tests/README.md.
#[tokio::test]
async fn after_a_power_failure_a_leader_and_all_users_are_back_within_ten_seconds() {
    let mut observed = ObservedCluster::start(Plan::documented().unlimited_registrations()).await;
    observed.wait_until_settled().await;
    let term = observed.term().await;
    let writers = Writers::start(&observed.cluster);
    until("registrations", async || writers.count() >= MIN_REGISTRATIONS).await;
    for index in 0..3 {
        observed.cluster.kill9(index);
    }
    let restarted_at = Instant::now();
    for index in 0..3 {
        observed.restart(index);
    }
    observed.wait_for_agreement().await;
    assert!(restarted_at.elapsed() < RECOVERY_LIMIT, "took {:?}", restarted_at.elapsed());
    assert!(observed.term().await > term, "no term is used twice");
    writers.check(&observed.cluster).await;
}
