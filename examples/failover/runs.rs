//! Runs of the benchmark: the fault of the leader, and the measurement of each run.

use std::time::Duration;

use anyhow::Context;
use rollcall_client::{Client, DEFAULT_RETRY_TIMEOUT, NewUser};
use rollcall_core::Username;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::background_load::BackgroundLoad;
use crate::nodes::{COUNT, Nodes};
use crate::probes::{ProbeResult, Probes, Request};
use crate::report::Figures;
use crate::rotation::Rotation;
use crate::{Fault, Plan};

/// The boot window (`election_timeout_min_ms`) and a margin. A younger node does not vote.
const SETTLE_TIME: Duration = Duration::from_millis(3200);
/// Longest wait for a leader.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for which a leader is frozen.
const FREEZE_TIME: Duration = Duration::from_secs(10);
/// `heartbeat_interval_ms`.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Observation time around a handover.
const HANDOVER_WINDOW: Duration = Duration::from_millis(500);
/// `leader_term_ms` in the handover runs. With the default of 10 s, 200 runs would take more than
/// an hour.
const SHORT_TERM_MS: u64 = 1000;
/// Measured load of the leader before a handover.
const HEAVY: f64 = 0.95;
/// Measured load of the other nodes before a handover.
const LIGHT: f64 = 0.05;
const USER: &str = "probe";

/// A cluster under measurement.
struct Measurement {
    nodes: Nodes,
    probes: Probes,
    figures: Figures,
    /// Number of answers with status 5xx around handovers.
    errors: usize,
    /// Number of completed rotations of the node key.
    rotations: u32,
}

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let hosts = if plan.how == Fault::Cut { COUNT } else { 0 };
    anyhow::ensure!(
        plan.hosts.len() == hosts,
        "this fault needs {hosts} --host options; for a cut cable run tests/netns.sh 2"
    );
    let more = if plan.how == Fault::Handover { format!("leader_term_ms = {SHORT_TERM_MS}\n") } else { String::new() };
    let nodes = Nodes::start(&more, &plan.hosts)?;
    let urls = nodes.urls();
    Client::new(urls.clone(), DEFAULT_RETRY_TIMEOUT)?.register(&NewUser::named(Username::parse(USER)?)).await?;
    let probes = Probes::start(&urls, &Request::Heartbeat(USER.to_owned()))?;
    // A rotation must need no retries.
    let retry_timeout = if plan.how == Fault::RotateKey { Duration::ZERO } else { DEFAULT_RETRY_TIMEOUT };
    let load = BackgroundLoad::start(plan.load, &urls, retry_timeout)?;
    let mut measurement = Measurement { nodes, probes, figures: Figures::default(), errors: 0, rotations: 0 };
    for number in 1..=plan.runs {
        if let Err(error) = measurement.run_once(plan.how).await {
            println!("{}", measurement.nodes.log_tails());
            return Err(error.context(format!("run {number} of {}", plan.runs)));
        }
    }
    measurement.settle().await?;
    println!("{}", measurement.figures.line(title(plan.how)));
    if plan.how == Fault::Handover {
        println!("answers 5xx around the handovers: {}", measurement.errors);
    }
    if plan.load > 0 {
        let failures = load.failures();
        println!("{}", load.check(&urls).await?);
        anyhow::ensure!(plan.how != Fault::RotateKey || failures == 0, "{failures} requests were lost");
    }
    Ok(())
}

fn title(how: Fault) -> &'static str {
    match how {
        Fault::Kill => "kill -9 to the next served request",
        Fault::Term => "SIGTERM to the successor's first served request",
        Fault::Handover => "longest gap between served requests around a handover",
        Fault::Stop => "SIGSTOP to the successor's first served request",
        Fault::Rolling => "SIGTERM of a node in a rolling restart to the next served request",
        Fault::RotateKey => "longest gap between served requests during a rotation of the node key",
        Fault::Cut => "cut cable to the successor's first served request",
    }
}

impl Measurement {
    async fn run_once(&mut self, how: Fault) -> anyhow::Result<()> {
        match how {
            Fault::Kill => {
                let leader = self.settle().await?;
                let took = self.time_to_successor_after(leader, Signal::KILL).await?;
                self.figures.add(took);
                self.nodes.end(leader).await?;
                self.nodes.spawn(leader)
            }
            Fault::Term => {
                let leader = self.settle().await?;
                let took = self.time_to_successor_after(leader, Signal::TERM).await?;
                self.figures.add(took);
                self.restart(leader).await
            }
            Fault::Handover => self.hand_over().await,
            Fault::Stop => self.freeze().await,
            Fault::Rolling => self.restart_all().await,
            Fault::RotateKey => self.rotate_key().await,
            Fault::Cut => self.cut().await,
        }
    }

    /// Waits until all nodes are up for `SETTLE_TIME` and agree on a leader. Returns its index.
    async fn settle(&mut self) -> anyhow::Result<usize> {
        let youngest = self.nodes.all.iter().map(|node| node.since).max();
        let up = youngest.map_or_else(Instant::now, |since| since + SETTLE_TIME);
        self.agree(up.max(Instant::now())).await
    }

    /// Waits until, in answers to requests sent after `from`, one node serves and all others refer
    /// to the leader with 403.
    async fn agree(&mut self, from: Instant) -> anyhow::Result<usize> {
        let deadline = from + LEADER_TIMEOUT;
        let mut last: [Option<ProbeResult>; COUNT] = [None; COUNT];
        loop {
            let result = self.probes.next(deadline).await?;
            if result.sent < from {
                continue;
            }
            last[result.node] = Some(result);
            let serving = |result: &Option<ProbeResult>| result.is_some_and(|result| result.is_served());
            let follows = |result: &Option<ProbeResult>| result.is_some_and(|result| result.status == 403);
            let followers = last.iter().filter(|result| follows(result)).count();
            if let Some(leader) = last.iter().position(serving)
                && followers == COUNT - 1
            {
                return Ok(leader);
            }
        }
    }

    /// Time from the signal to the first request that another node served.
    async fn time_to_successor_after(&mut self, leader: usize, signal: Signal) -> anyhow::Result<Duration> {
        let at = Instant::now();
        self.nodes.signal(leader, signal)?;
        self.time_to_successor(leader, at).await
    }

    /// Time from `at` to the first request that a node other than `leader` served.
    async fn time_to_successor(&mut self, leader: usize, at: Instant) -> anyhow::Result<Duration> {
        let matches = |result: &ProbeResult| result.is_served() && result.node != leader;
        let first = self.wait_for("a successor", at + LEADER_TIMEOUT, matches).await?;
        Ok(first.received - at)
    }

    /// Waits for the first answer that `matches`, until `deadline`.
    async fn wait_for(
        &mut self,
        what: &str,
        deadline: Instant,
        matches: impl Fn(&ProbeResult) -> bool,
    ) -> anyhow::Result<ProbeResult> {
        loop {
            let result = self.probes.next(deadline).await.with_context(|| what.to_owned())?;
            if matches(&result) {
                return Ok(result);
            }
        }
    }

    async fn restart(&mut self, node: usize) -> anyhow::Result<()> {
        let status = self.nodes.end(node).await?;
        anyhow::ensure!(status.success(), "node {node} was asked to stop and ended with {status}");
        self.nodes.spawn(node)
    }

    async fn hand_over(&mut self) -> anyhow::Result<()> {
        let leader = self.settle().await?;
        for node in 0..COUNT {
            self.nodes.set_load(node, if node == leader { HEAVY } else { LIGHT })?;
        }
        let deadline = Instant::now() + LEADER_TIMEOUT;
        let mut seen = Vec::new();
        let changed = loop {
            let result = self.probes.next(deadline).await?;
            seen.push(result);
            if result.is_served() && result.node != leader {
                break result.received;
            }
        };
        while Instant::now() < changed + HANDOVER_WINDOW {
            seen.push(self.probes.next(changed + LEADER_TIMEOUT).await?);
        }
        seen.retain(|result| result.received + HANDOVER_WINDOW > changed);
        for failed in seen.iter().filter(|result| result.status >= 500) {
            let whose = if failed.node == leader { "the old leader" } else { "another node" };
            let took = failed.received - failed.sent;
            println!("  {} from {whose} in term {}, after {took:?}", failed.status, failed.term);
            self.errors += 1;
        }
        let mut served: Vec<Instant> =
            seen.iter().filter(|result| result.is_served()).map(|result| result.received).collect();
        served.sort_unstable();
        let longest = served.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(HANDOVER_WINDOW);
        self.figures.add(longest);
        Ok(())
    }

    async fn freeze(&mut self) -> anyhow::Result<()> {
        let leader = self.settle().await?;
        let at = Instant::now();
        let took = self.time_to_successor_after(leader, Signal::STOP).await;
        sleep_until(at + FREEZE_TIME).await;
        self.nodes.signal(leader, Signal::CONT)?;
        self.figures.add(took?);
        // `Probes::next` fails if the old leader serves a request in its old term now.
        let follows = |result: &ProbeResult| result.node == leader && result.status == 403;
        self.wait_for("the old leader as a follower", Instant::now() + LEADER_TIMEOUT, follows).await.map(drop)
    }

    async fn cut(&mut self) -> anyhow::Result<()> {
        let leader = self.settle().await?;
        // At a random moment between two heartbeats, because the rest of the lease depends on it.
        sleep(HEARTBEAT_INTERVAL.mul_f64(rand::random())).await;
        let host = self.nodes.all[leader].host.clone().context("the leader has no separate host")?;
        let at = Instant::now();
        host.cut().await?;
        let took = self.time_to_successor(leader, at).await;
        host.mend().await?;
        self.figures.add(took?);
        self.agree(Instant::now()).await.map(drop)
    }

    async fn rotate_key(&mut self) -> anyhow::Result<()> {
        let leader = self.settle().await?;
        let old = self.rotations + 1;
        let rotation = Rotation { nodes: &self.nodes, probes: &mut self.probes, leader, old };
        self.figures.add(rotation.run().await?);
        self.rotations += 1;
        Ok(())
    }

    async fn restart_all(&mut self) -> anyhow::Result<()> {
        for node in 0..COUNT {
            let at = Instant::now();
            self.nodes.signal(node, Signal::TERM)?;
            let matches = |result: &ProbeResult| result.is_served() && result.node != node && result.sent >= at;
            let first = self.wait_for("a served request", at + LEADER_TIMEOUT, matches).await?;
            self.figures.add(first.received - at);
            self.restart(node).await?;
            self.agree(Instant::now()).await?;
        }
        // Let the background load run between two rounds too.
        sleep(HANDOVER_WINDOW).await;
        Ok(())
    }
}
