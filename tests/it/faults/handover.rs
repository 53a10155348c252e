//! Planned handover: leaders that are much more loaded than the other nodes. `load_source` sets the
//! loads on one machine.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use super::observed_cluster::{ObservedCluster, terms};
use crate::cluster::Plan;

/// A short leader term. With the default of 10 s the test would only take longer.
const TERM_MS: &str = "1000";
/// Observation time around a handover.
const WINDOW: Duration = Duration::from_secs(1);
/// Limit on the time without a served request. An election without a handover would have to wait
/// for the end of the lease, which is 2.5 s.
const MAX_GAP: Duration = Duration::from_millis(1500);
/// Twelve terms: long enough to see a leader that hands over at each of them.
const QUIET_TIME: Duration = Duration::from_secs(12);

async fn start() -> ObservedCluster {
    let mut plan = Plan::documented().env("ROLLCALL_LEADER_TERM_MS", TERM_MS);
    for index in 0..3 {
        plan = plan.env_of(index, "ROLLCALL_LOAD_SOURCE", &format!("file:load-{index}"));
    }
    ObservedCluster::start(plan).await
}

fn set_loads(observed: &ObservedCluster, loads: [f64; 3]) {
    for (index, load) in loads.iter().enumerate() {
        let path = observed.cluster.dir().join(format!("load-{index}"));
        // The file is replaced by a rename, because the node may read it at any moment.
        fs::write(path.with_extension("new"), load.to_string()).expect("the directory is ours");
        fs::rename(path.with_extension("new"), path).expect("the directory is ours");
    }
}

/// Rows 4 and 28 of the faults in tests/README.md.
#[tokio::test]
async fn a_leader_under_full_load_hands_over_once_to_the_least_loaded_node_without_an_error() {
    let mut observed = start().await;
    let leader = observed.wait_until_settled().await;
    let (middle, light) = ((leader + 1) % 3, (leader + 2) % 3);
    // Loads that followers report are up to one heartbeat old. Until the first report they count as
    // half loaded.
    let mut loads = [0.0; 3];
    (loads[leader], loads[middle], loads[light]) = (0.05, 0.4, 0.05);
    set_loads(&observed, loads);
    assert_eq!(terms(&observed.observe_for(WINDOW * 3).await).len(), 1, "equal loads are no reason for a change");
    loads[leader] = 0.95;
    set_loads(&observed, loads);
    let mut served = Vec::new();
    let mut seen = Vec::new();
    while served.is_empty() {
        let batch = observed.observe_for(WINDOW).await;
        served.extend(batch.iter().filter(|one| one.is_served() && one.node != leader).map(|one| one.received));
        seen.extend(batch);
    }
    let changed: Instant = served[0];
    seen.retain(|one| one.received + WINDOW > changed);
    assert!(seen.iter().all(|one| one.status < 500), "no answer is an error");
    let mut times: Vec<Instant> = seen.iter().filter(|one| one.is_served()).map(|one| one.received).collect();
    times.sort_unstable();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().expect("requests were served");
    assert!(gap < MAX_GAP, "{gap:?} without a served request");

    // If the disk of the least loaded node is too slow, another node may be elected first and hand
    // over in turn.
    let seen = observed.observe_for(QUIET_TIME).await;
    assert!(terms(&seen).len() <= 2, "at most one more change: {:?}", terms(&seen));
    assert_eq!(observed.wait_for_agreement().await, light, "the least loaded node leads");
}
