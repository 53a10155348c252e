//! Two servers in turn, again and again, so that whatever else the machine does disturbs both alike.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::processes::Process;
use crate::progress;

/// A server under measurement.
pub(crate) struct Server<'s> {
    pub(crate) process: &'s Process,
    pub(crate) addr: SocketAddr,
}

/// Processor time for one request of each server, the median of the rounds, and of their ratios; and as lines for people.
pub(crate) fn compare(
    what: &str,
    rounds: u64,
    requests: u64,
    [node, bare]: [Server<'_>; 2],
    load: impl Fn(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let once = |server: &Server<'_>| -> anyhow::Result<f64> {
        let before = server.process.cpu_time()?;
        load(server.addr)?;
        Ok(microseconds(server.process.cpu_time()?.saturating_sub(before), requests))
    };
    // What is done once for all (memory, caches) is not what is measured.
    once(&node)?;
    once(&bare)?;
    let (mut nodes, mut bares, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (node, bare) = if round % 2 == 0 {
            let bare = once(&bare)?;
            (once(&node)?, bare)
        } else {
            (once(&node)?, once(&bare)?)
        };
        progress(&format!("{what}, round {round} of {rounds}: {node:.2} µs, bare {bare:.2} µs"));
        nodes.push(node);
        bares.push(bare);
        ratios.push(node / bare);
    }
    let [node, bare, ratio] = [nodes, bares, ratios].map(|mut values| median(&mut values));
    println!("{what}: {node:.2} µs of processor time; bare hyper, same bytes: {bare:.2} µs; ratio {ratio:.2}");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn microseconds(time: Duration, requests: u64) -> f64 {
    time.as_secs_f64() * 1e6 / requests as f64
}

/// The value in the middle.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Now, for measuring.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
