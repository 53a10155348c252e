//! Takeover: the time from kill -9 of the leader of three nodes to the next served request. Also
//! the clients that are online at once on the new leader, and whether they stay online.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::builds::Build;
use crate::comparison::{median, now};
use crate::heartbeat_clients::{HeartbeatClients, PERIOD};
use crate::http_client::{HttpConnection, request};
use crate::memory::mb;
use crate::nodes::Nodes;
use crate::{Args, builds, progress, users};

/// The default TTL, in seconds.
const TTL_SECONDS: u64 = 30;

/// Longer than the boot window, in which a node does not vote.
const SETTLE_TIME: Duration = Duration::from_secs(4);

/// Pause between two requests to a node that does not serve yet.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Longest wait for a new leader.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The result of one takeover.
struct TakeoverResult {
    /// From kill -9 to the first served heartbeat.
    duration: Duration,
    /// Clients on the first list of the new leader.
    listed: u64,
    /// Fewest clients online at any later check.
    fewest: u64,
    /// Most clients online at any later check.
    most: u64,
    /// Memory of the new leader, in bytes.
    memory: u64,
}

/// The first successful response of a new leader.
struct FirstResponse {
    node: usize,
    at: Instant,
    listed: u64,
}

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    let builds = builds::all(arguments)?;
    for clients in &arguments.takeovers {
        let mut times = vec![Vec::new(); builds.len()];
        for run in 1..=arguments.takeover_runs {
            for (build, times) in builds.iter().zip(&mut times) {
                let result = run_once(build, *clients, Duration::from_secs(arguments.watch_seconds))?;
                println!(
                    "takeover {run} at {clients} clients, {}: {:.0} ms; {} listed at once; within {} s afterwards {} to {} online; \
                     the new leader has {}",
                    build.name,
                    milliseconds(result.duration),
                    result.listed,
                    arguments.watch_seconds,
                    result.fewest,
                    result.most,
                    mb(result.memory),
                );
                times.push(milliseconds(result.duration));
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

fn run_once(build: &Build, clients: u64, watch_time: Duration) -> anyhow::Result<TakeoverResult> {
    progress(&format!("takeover: starting three nodes of {} with {clients} users", build.name));
    let mut nodes = Nodes::start(build, 3, TTL_SECONDS, |bucket| users::fill(bucket, clients))?;
    let leader = nodes.leader()?;
    let apis: Vec<SocketAddr> = nodes.all.iter().map(|node| node.api).collect();
    progress(&format!(
        "takeover: {clients} clients come online, each to send a heartbeat every {} s",
        PERIOD.as_secs()
    ));
    let heartbeat_clients = HeartbeatClients::start(apis.clone(), leader, clients);
    wait_until_online(apis[leader], clients)?;
    // The followers get the last changes within milliseconds. After this time the clients send
    // their second heartbeats.
    sleep(SETTLE_TIME);
    progress(&format!("takeover: killing the leader, {}", nodes.all[leader].name()));
    let (served, first) = channel();
    for node in (0..apis.len()).filter(|node| *node != leader) {
        let (to, served) = (apis[node], served.clone());
        thread::spawn(move || probe(node, to, &served));
    }
    sleep(POLL_INTERVAL * 50);
    let killed = now();
    nodes.all[leader].process.kill();
    let first = first.recv_timeout(TIMEOUT).context("no new leader answered")?;
    progress(&format!("takeover: watching for {} s whether a client goes offline", watch_time.as_secs()));
    let (fewest, most) = watch(apis[first.node], watch_time)?;
    heartbeat_clients.stop()?;
    let memory = nodes.all[first.node].process.memory()?;
    Ok(TakeoverResult {
        duration: first.at.saturating_duration_since(killed),
        listed: first.listed,
        fewest,
        most,
        memory,
    })
}

/// Sends heartbeats to a node until it accepts one. Then requests its list.
fn probe(node: usize, to: SocketAddr, served: &Sender<FirstResponse>) {
    let heartbeat = users::heartbeat(0);
    let deadline = now() + TIMEOUT;
    let Ok(mut connection) = HttpConnection::connect(to) else { return };
    while now() < deadline {
        match connection.send(&heartbeat).map(|answer| answer.status) {
            Ok(200) => {
                let at = now();
                // A failed list request counts as an empty list.
                let listed = listed(&mut connection).unwrap_or(0);
                let _ = served.send(FirstResponse { node, at, listed });
                return;
            }
            Ok(_) => sleep(POLL_INTERVAL),
            Err(_) => return,
        }
    }
}

fn listed(connection: &mut HttpConnection) -> anyhow::Result<u64> {
    let answer = connection.send(&request("GET", "/discover", "", ""))?.expect(200)?.json()?;
    answer["count"].as_u64().context("no count")
}

fn online(connection: &mut HttpConnection) -> anyhow::Result<u64> {
    let health = connection.send(&request("GET", "/", "", ""))?.expect(200)?.json()?;
    health["online_clients_count"].as_u64().context("no count")
}

fn wait_until_online(leader: SocketAddr, clients: u64) -> anyhow::Result<()> {
    let mut connection = HttpConnection::connect(leader)?;
    let deadline = now() + 6 * PERIOD;
    while now() < deadline {
        if online(&mut connection)? >= clients {
            return Ok(());
        }
        sleep(POLL_INTERVAL * 50);
    }
    anyhow::bail!("only {} of {clients} clients came online", online(&mut connection)?)
}

/// The fewest and the most clients that were online at any check.
fn watch(leader: SocketAddr, watch_time: Duration) -> anyhow::Result<(u64, u64)> {
    let mut connection = HttpConnection::connect(leader)?;
    let (mut fewest, mut most) = (u64::MAX, 0);
    let end = now() + watch_time;
    while now() < end {
        let count = online(&mut connection)?;
        (fewest, most) = (fewest.min(count), most.max(count));
        sleep(POLL_INTERVAL * 50);
    }
    Ok((fewest, most))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
