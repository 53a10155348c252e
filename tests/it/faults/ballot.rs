//! Nodes that lose their ballot file, and nodes that are restarted after they made a promise.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::observed_cluster::{ObservedCluster, V, terms};
use crate::cluster::{Plan, until};

/// A way to damage the file: its name, a function that does it, and the resulting log message.
type Damage = (&'static str, fn(&Path), &'static str);

const DAMAGES: [Damage; 3] = [
    ("deleted", |ballot| fs::remove_file(ballot).expect("the file exists"), "there is no ballot"),
    (
        "torn",
        |ballot| {
            let bytes = fs::read(ballot).expect("the file exists");
            fs::write(ballot, &bytes[..bytes.len() / 2]).expect("writable");
        },
        "the ballot file is corrupt",
    ),
    ("overwritten", |ballot| fs::write(ballot, [0xa5; 200]).expect("writable"), "the ballot file is corrupt"),
];

/// Time for which the cluster is observed: long enough for two elections.
const OBSERVATION_TIME: Duration = Duration::from_secs(8);

/// Row 19. The lost vote may have elected a leader that still serves. So a node with a lost ballot
/// must not count for a majority until the nodes with ballots have reported their terms.
#[tokio::test]
async fn a_node_that_lost_its_ballot_elects_no_leader_until_the_others_have_reported() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    let leader = observed.wait_until_settled().await;
    let (wiped, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let term = observed.term().await;
    observed.cluster.kill9(wiped);
    observed.cluster.kill9(leader);
    fs::remove_file(observed.cluster.node_dir(wiped).join("ballot.json")).expect("the file exists");
    observed.restart(wiped);
    let seen = observed.observe_for(OBSERVATION_TIME).await;
    assert_eq!(terms(&seen[seen.len() / 2..]), [0_u64; 0], "the wiped node and node {other} are no majority");
    observed.restart(leader);
    observed.wait_for_agreement().await;
    assert!(observed.term().await > term);
}

/// Row 19 of the faults in tests/README.md.
#[tokio::test]
async fn a_lost_ballot_is_logged_and_its_node_votes_again_later() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    for (what, damage, log_text) in DAMAGES {
        let leader = observed.wait_until_settled().await;
        let wiped = (leader + 1) % 3;
        let term = observed.term().await;
        let logged_before = observed.cluster.stderr(wiped).matches(log_text).count();
        observed.cluster.kill9(wiped);
        damage(&observed.cluster.node_dir(wiped).join("ballot.json"));
        observed.restart(wiped);
        until("the log message", async || observed.cluster.stderr(wiped).matches(log_text).count() > logged_before)
            .await;
        assert_eq!(terms(&observed.observe_for(V).await), [term], "{what}");
        observed.cluster.kill9(leader);
        observed.restart(leader);
        observed.wait_for_agreement().await;
        assert!(observed.term().await > term, "{what}");
    }
}

/// Row 20. The leader is frozen, and its lease may still be valid. Both followers restart
/// after they made a promise to the leader.
#[tokio::test]
async fn followers_that_restart_at_once_do_not_vote_early() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    let leader = observed.wait_until_settled().await;
    observed.cluster.freeze(leader);
    let frozen_at = Instant::now();
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        observed.cluster.kill9(follower);
        observed.restart(follower);
    }
    let took = observed.wait_for_successor(leader).await.received - frozen_at;
    // The leader may serve for 2.5 s more. A node that votes right after its start would elect a
    // successor much sooner.
    assert!(took >= V, "elected after {took:?}");
    observed.cluster.resume(leader);
    observed.wait_for_agreement().await;
}
