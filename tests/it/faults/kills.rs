//! Leaders that are killed or asked to end.

use std::time::Duration;

use tokio::time::Instant;

use super::watched::Watched;
use super::writers::Writers;
use crate::cluster::Plan;

/// Each costs a little more than V, for which all nodes must be up; the benchmark has 200.
const KILLS: usize = 6;
const ENDS: usize = 3;

/// No timeout is over by then: who is this quick knows that the leader is dead, or was told that it goes.
const BEFORE_ANY_TIMEOUT: Duration = Duration::from_secs(2);

/// Row 1.
#[tokio::test]
async fn a_killed_leader_is_replaced_before_any_timeout_is_over() {
    let mut watched = Watched::start_with_heartbeats(Plan::documented()).await;
    let writers = Writers::start(&watched.cluster);
    for _ in 0..KILLS {
        let leader = watched.settled().await;
        let at = Instant::now();
        watched.cluster.kill9(leader);
        let took = watched.first_served_by_another(leader).await.received - at;
        assert!(took < BEFORE_ANY_TIMEOUT, "took {took:?}");
        watched.restart(leader);
    }
    watched.agreed().await;
    writers.check(&watched.cluster).await;
}

/// Row 3.
#[tokio::test]
async fn a_leader_that_is_asked_to_end_has_a_successor_at_once_and_loses_nothing_acknowledged() {
    let mut watched = Watched::start_with_heartbeats(Plan::documented()).await;
    let writers = Writers::start(&watched.cluster);
    for _ in 0..ENDS {
        let leader = watched.settled().await;
        let at = Instant::now();
        watched.cluster.terminate(leader);
        let took = watched.first_served_by_another(leader).await.received - at;
        assert!(took < BEFORE_ANY_TIMEOUT, "took {took:?}");
        let status = watched.cluster.end(leader).await;
        assert_eq!(status.code(), Some(0), "{status}");
        watched.restart(leader);
    }
    watched.agreed().await;
    writers.check(&watched.cluster).await;
}
