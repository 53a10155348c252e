//! Cluster whose served requests are all observed. Two nodes that serve at once fail any test.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::probes::{ProbeResult, Probes, Request};
use crate::cluster::{Cluster, Plan, SOON};

/// `election_timeout_min_ms` of the documented file. A frozen or isolated leader cannot be replaced
/// sooner, and a node that was started later may not vote.
pub(super) const V: Duration = Duration::from_secs(3);

/// V and a margin, because clocks are read at different moments.
const SETTLE_TIME: Duration = Duration::from_millis(3200);

/// The cluster and the clients that probe it.
pub(super) struct ObservedCluster {
    pub(super) cluster: Cluster,
    probes: Probes,
    /// When the latest process was started.
    latest_start: Instant,
}

impl ObservedCluster {
    /// Starts a cluster whose nodes are asked whether they lead.
    pub(super) async fn start(plan: Plan) -> Self {
        Self::with_probes(plan.start().await, &Request::Leader)
    }

    /// Starts a cluster whose nodes get heartbeats of a user. So a served request is one that
    /// clients need.
    pub(super) async fn start_with_heartbeats(plan: Plan) -> Self {
        let cluster = plan.start().await;
        cluster.register("probe", "10.0.0.1:9000").await;
        Self::with_probes(cluster, &Request::Heartbeat("probe".to_owned()))
    }

    fn with_probes(cluster: Cluster, request: &Request) -> Self {
        let urls: Vec<String> = cluster.running().map(|index| cluster.url(index)).collect();
        let probes = Probes::start(&urls, request).expect("it needs no file and no network");
        Self { cluster, probes, latest_start: Instant::now() }
    }

    /// Starts a node that has ended.
    pub(super) fn restart(&mut self, index: usize) {
        self.cluster.start(index);
        self.latest_start = Instant::now();
    }

    /// Waits until all nodes are up for longer than V and both followers know the leader. Returns
    /// the leader.
    pub(super) async fn wait_until_settled(&mut self) -> usize {
        sleep_until(self.latest_start + SETTLE_TIME).await;
        self.wait_for_agreement().await
    }

    /// Waits until both followers know the leader. Returns the leader.
    pub(super) async fn wait_for_agreement(&mut self) -> usize {
        let from = Instant::now();
        let mut last: [Option<ProbeResult>; 3] = [None; 3];
        loop {
            let result = self.next(from + SOON).await;
            if result.sent < from {
                continue;
            }
            last[result.node] = Some(result);
            let status = |status| last.iter().filter(move |one| one.is_some_and(|one| one.status == status));
            if status(403).count() == 2
                && let Some(Some(leader)) = status(200).next()
            {
                return leader.node;
            }
        }
    }

    /// The term in which requests are served now.
    pub(super) async fn term(&mut self) -> u64 {
        let from = Instant::now();
        self.wait_for("a served request", |one| one.is_served() && one.sent >= from).await.term
    }

    /// Waits for the first request that another node serves.
    pub(super) async fn wait_for_successor(&mut self, leader: usize) -> ProbeResult {
        self.wait_for("a successor", |one| one.is_served() && one.node != leader).await
    }

    /// Waits for the first result that `matches`.
    pub(super) async fn wait_for(&mut self, what: &str, matches: impl Fn(&ProbeResult) -> bool) -> ProbeResult {
        let deadline = Instant::now() + SOON;
        loop {
            assert!(Instant::now() < deadline, "waited {SOON:?} for {what}");
            let result = self.next(deadline).await;
            if matches(&result) {
                return result;
            }
        }
    }

    /// All results that arrive during `time`.
    pub(super) async fn observe_for(&mut self, time: Duration) -> Vec<ProbeResult> {
        let until = Instant::now() + time;
        let mut seen = Vec::new();
        while Instant::now() < until {
            seen.push(self.next(until + SOON).await);
        }
        seen
    }

    async fn next(&mut self, deadline: Instant) -> ProbeResult {
        self.probes.next(deadline).await.unwrap_or_else(|error| panic!("{error:#}"))
    }
}

/// The terms in which requests were served, in order.
pub(super) fn terms(seen: &[ProbeResult]) -> Vec<u64> {
    let mut terms: Vec<u64> = seen.iter().filter(|one| one.is_served()).map(|one| one.term).collect();
    terms.sort_unstable();
    terms.dedup();
    terms
}
