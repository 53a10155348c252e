//! Measures several servers in turn, so that other load on the machine disturbs all of them alike.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::builds::Build;
use crate::nodes::Nodes;
use crate::process::Process;
use crate::progress;

/// A server under measurement.
pub(crate) struct MeasuredServer<'s> {
    /// Name in the output.
    pub(crate) name: &'s str,
    pub(crate) process: &'s Process,
    pub(crate) addr: SocketAddr,
}

impl<'s> MeasuredServer<'s> {
    /// The only node of each build.
    pub(crate) fn of_each(builds: &'s [Build], started: &'s [Nodes]) -> Vec<Self> {
        let server = |(build, nodes): (&'s Build, &'s Nodes)| {
            let node = &nodes.all[0];
            Self { name: build.name, process: &node.process, addr: node.api }
        };
        builds.iter().zip(started).map(server).collect()
    }
}

/// Prints the processor time per request of each node and of the bare server, and their ratios. All
/// are medians over the rounds.
pub(crate) fn compare(
    what: &str,
    rounds: u64,
    requests: u64,
    nodes: &[MeasuredServer<'_>],
    bare: &MeasuredServer<'_>,
    load: impl Fn(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let once = |server: &MeasuredServer<'_>| -> anyhow::Result<f64> {
        let before = server.process.cpu_time()?;
        load(server.addr)?;
        Ok(microseconds(server.process.cpu_time()?.saturating_sub(before), requests))
    };
    let servers: Vec<&MeasuredServer<'_>> = nodes.iter().chain([bare]).collect();
    // The first run fills memory and caches, and is not measured.
    servers.iter().try_for_each(|server| once(server).map(drop))?;
    let mut times = vec![Vec::new(); servers.len()];
    for round in 1..=rounds {
        // Each server comes first equally often, and each order of two servers occurs equally
        // often.
        let mut order: Vec<usize> = (0..servers.len()).collect();
        order.rotate_left(usize::try_from(round / 2)? % servers.len());
        if round % 2 == 0 {
            order.reverse();
        }
        for index in order {
            times[index].push(once(servers[index])?);
        }
        let shown: Vec<String> = servers
            .iter()
            .zip(&times)
            .map(|(server, times)| format!("{} {:.2} µs", server.name, times.last().copied().unwrap_or_default()))
            .collect();
        progress(&format!("{what}, round {round} of {rounds}: {}", shown.join(", ")));
    }
    let (bare, nodes_times) = times.split_last().expect("the bare server is there");
    for (node, times) in nodes.iter().zip(nodes_times) {
        println!(
            "{what}, {}: {:.2} µs of processor time; bare hyper, same bytes: {:.2} µs; ratio {:.2}",
            node.name,
            median(&mut times.clone()),
            median(&mut bare.clone()),
            ratio(times, bare)
        );
    }
    if let [this, other] = nodes_times {
        println!("{what}: this build beside the other: ratio {:.3}", ratio(this, other));
    }
    Ok(())
}

/// The median of the ratios of the rounds.
fn ratio(times: &[f64], others: &[f64]) -> f64 {
    median(&mut times.iter().zip(others).map(|(one, other)| one / other).collect::<Vec<_>>())
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn microseconds(time: Duration, requests: u64) -> f64 {
    time.as_secs_f64() * 1e6 / requests as f64
}

/// The median.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The current time, for measurements.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
