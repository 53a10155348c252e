//! Leaders that are killed or asked to stop.

use std::time::Duration;

use tokio::time::Instant;

use super::observed_cluster::ObservedCluster;
use super::writers::Writers;
use crate::cluster::Plan;

/// Number of kills. Each takes a little more than V, because all nodes must be up for that long.
/// The benchmark has 200.
const KILLS: usize = 6;
const STOPS: usize = 3;

/// Limit within which no timeout can expire. A node that leads earlier knew that the old leader was
/// dead or had resigned.
const BEFORE_ANY_TIMEOUT: Duration = Duration::from_secs(2);

/// Row 1 of the faults in tests/README.md.
#[tokio::test]
async fn a_killed_leader_is_replaced_before_any_timeout() {
    let mut observed = ObservedCluster::start_with_heartbeats(Plan::documented().unlimited_registrations()).await;
    let writers = Writers::start(&observed.cluster);
    for _ in 0..KILLS {
        let leader = observed.wait_until_settled().await;
        let fault_at = Instant::now();
        observed.cluster.kill9(leader);
        let took = observed.wait_for_successor(leader).await.received - fault_at;
        assert!(took < BEFORE_ANY_TIMEOUT, "took {took:?}");
        observed.restart(leader);
    }
    observed.wait_for_agreement().await;
    writers.check(&observed.cluster).await;
}

/// Row 3 of the faults in tests/README.md.
#[tokio::test]
async fn a_leader_that_is_asked_to_stop_is_replaced_at_once_and_loses_no_acknowledged_data() {
    let mut observed = ObservedCluster::start_with_heartbeats(Plan::documented().unlimited_registrations()).await;
    let writers = Writers::start(&observed.cluster);
    for _ in 0..STOPS {
        let leader = observed.wait_until_settled().await;
        let fault_at = Instant::now();
        observed.cluster.terminate(leader);
        let took = observed.wait_for_successor(leader).await.received - fault_at;
        assert!(took < BEFORE_ANY_TIMEOUT, "took {took:?}");
        let status = observed.cluster.end(leader).await;
        assert_eq!(status.code(), Some(0), "{status}");
        observed.restart(leader);
    }
    observed.wait_for_agreement().await;
    writers.check(&observed.cluster).await;
}
