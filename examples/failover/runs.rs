//! What is done to the leader, again and again, and what is measured each time.

use std::time::Duration;

use anyhow::Context;
use rollcall_client::{Client, DEFAULT_RETRY_TIMEOUT, NewUser};
use rollcall_core::Username;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::load::Load;
use crate::nodes::{COUNT, Nodes};
use crate::probes::{Probes, Request, Sighting};
use crate::report::Figures;
use crate::{How, Plan};

/// A little more than `election_timeout_min_ms`: a node that is up for less may not vote yet.
const SETTLED: Duration = Duration::from_millis(3200);
/// The longest wait for a leader that anything here is patient for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a frozen leader is frozen.
const FROZEN: Duration = Duration::from_secs(10);
/// `heartbeat_interval_ms`.
const BEAT: Duration = Duration::from_secs(1);
/// Around a handover, so much is looked at.
const AROUND: Duration = Duration::from_millis(500);
/// In the handover runs; the default of 10 s would make 200 of them an hour.
const SHORT_TERM_MS: u64 = 1000;
const HEAVY: f64 = 0.95;
const LIGHT: f64 = 0.05;
const USER: &str = "probe";

/// A cluster under measurement.
struct Bench {
    nodes: Nodes,
    probes: Probes,
    figures: Figures,
    /// Answers 5xx around handovers.
    errors: usize,
}

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let hosts = if plan.how == How::Cut { COUNT } else { 0 };
    anyhow::ensure!(plan.hosts.len() == hosts, "this needs {hosts} hosts; for a cut cable run tests/netns.sh 2");
    let more = if plan.how == How::Handover { format!("leader_term_ms = {SHORT_TERM_MS}\n") } else { String::new() };
    let nodes = Nodes::start(&more, &plan.hosts)?;
    let urls = nodes.urls();
    Client::new(urls.clone(), DEFAULT_RETRY_TIMEOUT)?.register(&NewUser::named(Username::parse(USER)?)).await?;
    let probes = Probes::start(&urls, &Request::Heartbeat(USER.to_owned()))?;
    let load = Load::start(plan.load, &urls)?;
    let mut bench = Bench { nodes, probes, figures: Figures::default(), errors: 0 };
    for number in 1..=plan.runs {
        if let Err(error) = bench.once(plan.how).await {
            println!("{}", bench.nodes.last_words());
            return Err(error.context(format!("run {number} of {}", plan.runs)));
        }
    }
    bench.settle().await?;
    println!("{}", bench.figures.line(title(plan.how)));
    if plan.how == How::Handover {
        println!("answers 5xx around the handovers: {}", bench.errors);
    }
    if plan.load > 0 {
        println!("{}", load.check(&urls).await?);
    }
    Ok(())
}

fn title(how: How) -> &'static str {
    match how {
        How::Kill => "kill -9 to the next served request",
        How::Term => "SIGTERM to the successor's first served request",
        How::Handover => "longest gap between served requests around a handover",
        How::Stop => "SIGSTOP to the successor's first served request",
        How::Rolling => "SIGTERM of a node in a rolling restart to the next served request",
        How::Cut => "cut cable to the successor's first served request",
    }
}

impl Bench {
    async fn once(&mut self, how: How) -> anyhow::Result<()> {
        match how {
            How::Kill => {
                let leader = self.settle().await?;
                let succeeded = self.until_succeeded(leader, Signal::KILL).await?;
                self.figures.add(succeeded);
                self.nodes.end(leader).await?;
                self.nodes.spawn(leader)
            }
            How::Term => {
                let leader = self.settle().await?;
                let succeeded = self.until_succeeded(leader, Signal::TERM).await?;
                self.figures.add(succeeded);
                self.restart(leader).await
            }
            How::Handover => self.hand_over().await,
            How::Stop => self.freeze().await,
            How::Rolling => self.roll().await,
            How::Cut => self.cut().await,
        }
    }

    /// Waits until all nodes are up for long enough and agree on a leader; its number.
    async fn settle(&mut self) -> anyhow::Result<usize> {
        let youngest = self.nodes.all.iter().map(|node| node.since).max();
        let up = youngest.map_or_else(Instant::now, |since| since + SETTLED);
        self.agree(up.max(Instant::now())).await
    }

    /// Waits until, in answers to requests sent after `from`, one node serves and all others name it.
    async fn agree(&mut self, from: Instant) -> anyhow::Result<usize> {
        let deadline = from + PATIENCE;
        let mut last: [Option<Sighting>; COUNT] = [None; COUNT];
        loop {
            let sighting = self.probes.next(deadline).await?;
            if sighting.sent < from {
                continue;
            }
            last[sighting.node] = Some(sighting);
            let serving = |sighting: &Option<Sighting>| sighting.is_some_and(|sighting| sighting.is_served());
            let follows = |sighting: &Option<Sighting>| sighting.is_some_and(|sighting| sighting.status == 403);
            let followers = last.iter().filter(|sighting| follows(sighting)).count();
            if let Some(leader) = last.iter().position(serving)
                && followers == COUNT - 1
            {
                return Ok(leader);
            }
        }
    }

    /// From the signal to the first request that another node served.
    async fn until_succeeded(&mut self, leader: usize, signal: Signal) -> anyhow::Result<Duration> {
        let at = Instant::now();
        self.nodes.signal(leader, signal)?;
        self.succeeded(leader, at).await
    }

    /// From `at` to the first request that another node than `leader` served.
    async fn succeeded(&mut self, leader: usize, at: Instant) -> anyhow::Result<Duration> {
        let is_it = |sighting: &Sighting| sighting.is_served() && sighting.node != leader;
        let first = self.first("a successor", at + PATIENCE, is_it).await?;
        Ok(first.received - at)
    }

    /// The first answer of which this is true, by `deadline`.
    async fn first(
        &mut self,
        what: &str,
        deadline: Instant,
        is_it: impl Fn(&Sighting) -> bool,
    ) -> anyhow::Result<Sighting> {
        loop {
            let sighting = self.probes.next(deadline).await.with_context(|| what.to_owned())?;
            if is_it(&sighting) {
                return Ok(sighting);
            }
        }
    }

    async fn restart(&mut self, node: usize) -> anyhow::Result<()> {
        let status = self.nodes.end(node).await?;
        anyhow::ensure!(status.success(), "node {node} was asked to end and ended with {status}");
        self.nodes.spawn(node)
    }

    async fn hand_over(&mut self) -> anyhow::Result<()> {
        let leader = self.settle().await?;
        for node in 0..COUNT {
            self.nodes.set_load(node, if node == leader { HEAVY } else { LIGHT })?;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        let changed = loop {
            let sighting = self.probes.next(deadline).await?;
            seen.push(sighting);
            if sighting.is_served() && sighting.node != leader {
                break sighting.received;
            }
        };
        while Instant::now() < changed + AROUND {
            seen.push(self.probes.next(changed + PATIENCE).await?);
        }
        seen.retain(|sighting| sighting.received + AROUND > changed);
        for failed in seen.iter().filter(|sighting| sighting.status >= 500) {
            let whose = if failed.node == leader { "the old leader" } else { "another node" };
            let took = failed.received - failed.sent;
            println!("  {} from {whose} in term {}, after {took:?}", failed.status, failed.term);
            self.errors += 1;
        }
        let mut served: Vec<Instant> = seen.iter().filter(|one| one.is_served()).map(|one| one.received).collect();
        served.sort_unstable();
        let longest = served.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(AROUND);
        self.figures.add(longest);
        Ok(())
    }

    async fn freeze(&mut self) -> anyhow::Result<()> {
        let leader = self.settle().await?;
        let at = Instant::now();
        let succeeded = self.until_succeeded(leader, Signal::STOP).await;
        sleep_until(at + FROZEN).await;
        self.nodes.signal(leader, Signal::CONT)?;
        self.figures.add(succeeded?);
        // Whatever it would serve is judged against the successor's term, which has begun long ago.
        let follows = |sighting: &Sighting| sighting.node == leader && sighting.status == 403;
        self.first("the old leader to follow", Instant::now() + PATIENCE, follows).await.map(drop)
    }

    async fn cut(&mut self) -> anyhow::Result<()> {
        let leader = self.settle().await?;
        // Anywhere between two heartbeats, since the time that is left depends on it.
        sleep(BEAT.mul_f64(rand::random())).await;
        let host = self.nodes.all[leader].host.clone().context("no host of its own")?;
        let at = Instant::now();
        host.cut().await?;
        let succeeded = self.succeeded(leader, at).await;
        host.mend().await?;
        self.figures.add(succeeded?);
        self.agree(Instant::now()).await.map(drop)
    }

    async fn roll(&mut self) -> anyhow::Result<()> {
        for node in 0..COUNT {
            let at = Instant::now();
            self.nodes.signal(node, Signal::TERM)?;
            let is_it = |sighting: &Sighting| sighting.is_served() && sighting.node != node && sighting.sent >= at;
            let first = self.first("a served request", at + PATIENCE, is_it).await?;
            self.figures.add(first.received - at);
            self.restart(node).await?;
            self.agree(Instant::now()).await?;
        }
        // Clients do something between two rounds, too.
        sleep(AROUND).await;
        Ok(())
    }
}
