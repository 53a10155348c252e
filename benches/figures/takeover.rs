//! From kill -9 of the leader of three to the next served request; who is online at once then, and whether they stay so.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::beater::{Beater, PERIOD};
use crate::builds::Build;
use crate::memory::mb;
use crate::nodes::Nodes;
use crate::rounds::{median, now};
use crate::wire::{Wire, request};
use crate::{Arguments, builds, progress, users};

/// The default.
const TTL_SECONDS: u64 = 30;

/// A node that is up for less may not vote yet.
const SETTLED: Duration = Duration::from_secs(4);

/// Between two requests to a node that does not serve yet.
const LOOK: Duration = Duration::from_millis(2);

/// The longest wait for a successor.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was seen of one takeover.
struct Seen {
    took: Duration,
    listed: u64,
    fewest: u64,
    most: u64,
    memory: u64,
}

/// The first answer of a successor.
struct Served {
    node: usize,
    at: Instant,
    listed: u64,
}

pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let builds = builds::all(arguments)?;
    for clients in &arguments.takeovers {
        let mut times = vec![Vec::new(); builds.len()];
        for run in 1..=arguments.takeover_runs {
            for (build, times) in builds.iter().zip(&mut times) {
                let seen = once(build, *clients, Duration::from_secs(arguments.watch_seconds))?;
                println!(
                    "takeover {run} at {clients} clients, {}: {:.0} ms; {} listed at once; within {} s afterwards {} to {} online; \
                     the new leader has {}",
                    build.name,
                    milliseconds(seen.took),
                    seen.listed,
                    arguments.watch_seconds,
                    seen.fewest,
                    seen.most,
                    mb(seen.memory),
                );
                times.push(milliseconds(seen.took));
            }
        }
        for (build, times) in builds.iter().zip(&mut times) {
            if times.len() > 1 {
                println!("takeover at {clients} clients, {}, median: {:.0} ms", build.name, median(times));
            }
        }
    }
    Ok(())
}

fn once(build: &Build, clients: u64, watched: Duration) -> anyhow::Result<Seen> {
    progress(&format!("takeover: starting three nodes of {} with {clients} users", build.name));
    let mut nodes = Nodes::start(build, 3, TTL_SECONDS, |bucket| users::fill(bucket, clients))?;
    let leader = nodes.leader()?;
    let apis: Vec<SocketAddr> = nodes.all.iter().map(|node| node.api).collect();
    progress(&format!(
        "takeover: {clients} clients come online, each to send a heartbeat every {} s",
        PERIOD.as_secs()
    ));
    let beater = Beater::start(apis.clone(), leader, clients);
    wait_until_online(apis[leader], clients)?;
    // Followers are told within moments; the clients' second heartbeats are under way by now.
    sleep(SETTLED);
    progress(&format!("takeover: killing the leader, {}", nodes.all[leader].name()));
    let (served, first) = channel();
    for node in (0..apis.len()).filter(|node| *node != leader) {
        let (to, served) = (apis[node], served.clone());
        thread::spawn(move || probe(node, to, &served));
    }
    sleep(LOOK * 50);
    let killed = now();
    nodes.all[leader].process.kill();
    let first = first.recv_timeout(PATIENCE).context("nobody took over")?;
    progress(&format!("takeover: looking for {} s whether anybody falls offline", watched.as_secs()));
    let (fewest, most) = watch(apis[first.node], watched)?;
    beater.stop()?;
    let memory = nodes.all[first.node].process.memory()?;
    Ok(Seen { took: first.at.saturating_duration_since(killed), listed: first.listed, fewest, most, memory })
}

/// Sends heartbeats to a node until it accepts one, and asks it for its list then.
fn probe(node: usize, to: SocketAddr, served: &Sender<Served>) {
    let beat = users::heartbeat(0);
    let deadline = now() + PATIENCE;
    let Ok(mut wire) = Wire::connect(to) else { return };
    while now() < deadline {
        match wire.ask(&beat).map(|answer| answer.status) {
            Ok(200) => {
                let at = now();
                // Whoever waits notices that nothing comes.
                let listed = listed(&mut wire).unwrap_or(0);
                let _ = served.send(Served { node, at, listed });
                return;
            }
            Ok(_) => sleep(LOOK),
            Err(_) => return,
        }
    }
}

fn listed(wire: &mut Wire) -> anyhow::Result<u64> {
    let answer = wire.ask(&request("GET", "/discover", "", ""))?.expect(200)?.json()?;
    answer["count"].as_u64().context("no count")
}

fn online(wire: &mut Wire) -> anyhow::Result<u64> {
    let health = wire.ask(&request("GET", "/", "", ""))?.expect(200)?.json()?;
    health["online_clients_count"].as_u64().context("no count")
}

fn wait_until_online(leader: SocketAddr, clients: u64) -> anyhow::Result<()> {
    let mut wire = Wire::connect(leader)?;
    let deadline = now() + 6 * PERIOD;
    while now() < deadline {
        if online(&mut wire)? >= clients {
            return Ok(());
        }
        sleep(LOOK * 50);
    }
    anyhow::bail!("only {} of {clients} clients came online", online(&mut wire)?)
}

/// The fewest and the most clients that were online at any look.
fn watch(leader: SocketAddr, watched: Duration) -> anyhow::Result<(u64, u64)> {
    let mut wire = Wire::connect(leader)?;
    let (mut fewest, mut most) = (u64::MAX, 0);
    let end = now() + watched;
    while now() < end {
        let count = online(&mut wire)?;
        (fewest, most) = (fewest.min(count), most.max(count));
        sleep(LOOK * 50);
    }
    Ok((fewest, most))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
