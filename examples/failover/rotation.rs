//! Rotation of the node key while clients send requests. No request may fail, and the leader stays.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::time::Instant;

use crate::nodes::{COUNT, Nodes};
use crate::probes::{ProbeResult, Probes, http_client};

/// Longest wait until all nodes have read a change in the bucket. They read it once a minute.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest wait until all nodes present a new pair. They do so five minutes after the first read.
const PRESENT_TIMEOUT: Duration = Duration::from_mins(8);
/// Longest wait until all nodes are linked again after the old pair was deleted.
const LINK_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two checks of the logs.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// One rotation of the node key.
pub(crate) struct Rotation<'a> {
    pub(crate) nodes: &'a Nodes,
    pub(crate) probes: &'a mut Probes,
    pub(crate) leader: usize,
    /// Number of the pair that the nodes present. The rotation makes the next one.
    pub(crate) old: u32,
}

/// Answers to the clients during a rotation.
struct Observed {
    leader: usize,
    term: Option<u64>,
    last_served: Instant,
    longest_gap: Duration,
    failed: Vec<ProbeResult>,
}

impl Rotation<'_> {
    /// Follows the steps of docs/operations.md, but deletes the old pair as soon as all nodes
    /// present the new one. Returns the longest time between two served requests.
    ///
    /// # Errors
    /// A request failed, the leader changed, or a step took too long.
    pub(crate) async fn run(mut self) -> anyhow::Result<Duration> {
        let mut observed = Observed {
            leader: self.leader,
            term: None,
            last_served: Instant::now(),
            longest_gap: Duration::ZERO,
            failed: Vec::new(),
        };
        let (old, new) = (self.old, self.old + 1);
        self.nodes.rotate_node_key().await?;
        for (presented, accepted, timeout) in [(old, 2, READ_TIMEOUT), (new, 2, PRESENT_TIMEOUT)] {
            self.wait_for_keys(presented, accepted, timeout, &mut observed).await?;
        }
        self.nodes.delete_node_key(old)?;
        self.wait_for_keys(new, 1, READ_TIMEOUT, &mut observed).await?;
        self.wait_for_links(&mut observed).await?;
        if let Some(first) = observed.failed.first() {
            anyhow::bail!("{} requests failed; the first: {first:?}", observed.failed.len());
        }
        Ok(observed.longest_gap)
    }

    /// Waits until the log of each node says that it presents this pair and accepts this many.
    async fn wait_for_keys(
        &mut self,
        presented: u32,
        accepted: usize,
        timeout: Duration,
        observed: &mut Observed,
    ) -> anyhow::Result<()> {
        let line = format!("the node keys changed presented={presented} accepted={accepted}\n");
        let deadline = Instant::now() + timeout;
        while !(0..COUNT).all(|index| self.nodes.log(index).contains(&line)) {
            anyhow::ensure!(Instant::now() < deadline, "not all nodes logged {line:?} within {timeout:?}");
            self.observe(observed).await?;
        }
        println!("  all nodes present pair {presented} and accept {accepted}");
        Ok(())
    }

    /// Waits until the leader has links to all nodes.
    async fn wait_for_links(&mut self, observed: &mut Observed) -> anyhow::Result<()> {
        let (http, url) = (http_client()?, format!("{}/cluster", self.nodes.urls()[self.leader]));
        let deadline = Instant::now() + LINK_TIMEOUT;
        loop {
            self.observe(observed).await?;
            let cluster: Value = http.get(&url).send().await?.json().await?;
            let nodes = cluster["nodes"].as_array().context("no list of nodes")?;
            if nodes.len() == COUNT && nodes.iter().all(|node| node["reachable"] == true) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "not all nodes are linked again: {cluster}");
        }
    }

    /// Takes the answers of the clients for a moment.
    async fn observe(&mut self, observed: &mut Observed) -> anyhow::Result<()> {
        let until = Instant::now() + CHECK_INTERVAL;
        while Instant::now() < until {
            observed.add(self.probes.next(until + READ_TIMEOUT).await?);
        }
        Ok(())
    }
}

impl Observed {
    fn add(&mut self, result: ProbeResult) {
        let expected = if result.node == self.leader { 200 } else { 403 };
        let term = *self.term.get_or_insert(result.term);
        if result.status != expected || result.term != term {
            self.failed.push(result);
        }
        if result.is_served() {
            self.longest_gap = self.longest_gap.max(result.received.saturating_duration_since(self.last_served));
            self.last_served = result.received;
        }
    }
}
