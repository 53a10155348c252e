//! Frozen nodes that resume long after their timers have expired.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::observed_cluster::{ObservedCluster, V, terms};
use crate::cluster::Plan;

/// Time for which a node is frozen: longer than any timeout, which is 5 s at most.
const FREEZE_TIME: Duration = Duration::from_secs(10);
/// Limit on the time to a successor: 5.5 s, and a margin for a busy machine.
const SUCCESSOR_LIMIT: Duration = Duration::from_secs(9);
/// Time for which the cluster is observed after a node has resumed: longer than any timeout.
const OBSERVATION_TIME: Duration = Duration::from_secs(6);

/// Row 5 of the faults in tests/README.md.
#[tokio::test]
async fn a_frozen_leader_is_replaced_and_serves_nothing_when_it_resumes() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    let leader = observed.wait_until_settled().await;
    let frozen_at = Instant::now();
    observed.cluster.freeze(leader);
    let took = observed.wait_for_successor(leader).await.received - frozen_at;
    assert!(took < SUCCESSOR_LIMIT, "took {took:?}");
    let seen = observed.observe_for(FREEZE_TIME.saturating_sub(frozen_at.elapsed())).await;
    assert_eq!(terms(&seen).len(), 1, "one successor");
    observed.cluster.resume(leader);
    // The node first answers the requests that wait in its sockets. A request that it serves now is
    // served in an old term.
    let seen = observed.observe_for(OBSERVATION_TIME).await;
    assert!(seen.iter().all(|one| one.node != leader || !one.is_served()), "the old leader serves");
    assert_eq!(terms(&seen).len(), 1, "a resuming node does not depose the leader");
    assert_ne!(observed.wait_for_agreement().await, leader);
}

/// Row 6 of the faults in tests/README.md.
#[tokio::test]
async fn a_follower_that_freezes_and_resumes_causes_no_election() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    let leader = observed.wait_until_settled().await;
    let term = observed.term().await;
    let follower = (leader + 1) % 3;
    observed.cluster.freeze(follower);
    let mut seen = observed.observe_for(FREEZE_TIME).await;
    observed.cluster.resume(follower);
    seen.extend(observed.observe_for(OBSERVATION_TIME).await);
    assert_eq!(terms(&seen), [term]);
    assert_eq!(observed.wait_for_agreement().await, leader);
}

/// Row 34: both followers resume while the lease is valid. The leader's heartbeats wait in their
/// sockets, and are handled before their own timers.
#[tokio::test]
async fn followers_that_resume_within_the_lease_start_no_election() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    let leader = observed.wait_until_settled().await;
    let term = observed.term().await;
    let followers = [(leader + 1) % 3, (leader + 2) % 3];
    for _ in 0..2 {
        for follower in followers {
            observed.cluster.freeze(follower);
        }
        // The last acknowledged heartbeat may be a second old, and the lease is 2.5 s. So half a
        // second is left.
        let seen = observed.observe_for(Duration::from_secs(1)).await;
        assert_eq!(terms(&seen), [term]);
        for follower in followers {
            observed.cluster.resume(follower);
        }
        assert_eq!(terms(&observed.observe_for(V).await), [term]);
    }
}

/// Row 34: both followers are frozen for so long that the leader steps down and ends its links.
#[tokio::test]
async fn followers_that_resume_after_the_lease_elect_only_one_leader() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    let leader = observed.wait_until_settled().await;
    let frozen_at = Instant::now();
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        observed.cluster.freeze(follower);
    }
    observed
        .wait_for("the end of the lease", |one| one.node == leader && one.status == 503 && one.sent > frozen_at)
        .await;
    assert!(frozen_at.elapsed() < V + V, "it served for {:?} without a majority", frozen_at.elapsed());
    sleep_until(frozen_at + FREEZE_TIME).await;
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        observed.cluster.resume(follower);
    }
    observed.wait_for_agreement().await;
    assert!(terms(&observed.observe_for(OBSERVATION_TIME).await).len() <= 2, "the cluster settles");
}
