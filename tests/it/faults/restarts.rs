//! Restarts of everything, in turn and at once.

use std::time::Duration;

use tokio::time::Instant;

use super::watched::Watched;
use super::writers::Writers;
use crate::cluster::{Plan, until};

/// The benchmark has 50.
const ROUNDS: usize = 3;
/// Registrations of one round, at the least.
const AT_LEAST: usize = 5;
/// The figure of the row; a node that waited for a whole timeout after its boot window would need more than 8 s.
const POWER_CUT: Duration = Duration::from_secs(10);

/// Row 29.
#[tokio::test]
async fn rolling_restarts_under_load_lose_nothing_acknowledged() {
    let mut watched = Watched::start(Plan::documented()).await;
    watched.settled().await;
    let writers = Writers::start(&watched.cluster);
    for _ in 0..ROUNDS {
        let before = writers.count();
        for index in 0..3 {
            let status = watched.cluster.sigterm(index).await;
            assert_eq!(status.code(), Some(0), "{status}");
            watched.restart(index);
            // As an operator would: the next one when this one is ready, not when it may vote.
            watched.agreed().await;
        }
        until("registrations", async || writers.count() >= before + AT_LEAST).await;
    }
    writers.check(&watched.cluster).await;
}

/// Row 30.
#[tokio::test]
async fn after_a_power_cut_there_is_a_leader_within_ten_seconds_and_every_user() {
    let mut watched = Watched::start(Plan::documented()).await;
    watched.settled().await;
    let term = watched.term().await;
    let writers = Writers::start(&watched.cluster);
    until("registrations", async || writers.count() >= AT_LEAST).await;
    for index in 0..3 {
        watched.cluster.kill9(index);
    }
    let at = Instant::now();
    for index in 0..3 {
        watched.restart(index);
    }
    watched.agreed().await;
    assert!(at.elapsed() < POWER_CUT, "took {:?}", at.elapsed());
    assert!(watched.term().await > term, "no term is used twice");
    writers.check(&watched.cluster).await;
}
