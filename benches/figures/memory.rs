//! Memory of a registered user, and the additional memory of an online client.

use std::thread::sleep;
use std::time::Duration;

use crate::nodes::{Node, Nodes};
use crate::{Args, builds, load, progress, users};

/// TTL of the clients, in seconds. Longer than any run.
const TTL_SECONDS: u64 = 3600;

/// Time after the last request until a node is idle.
const SETTLE_TIME: Duration = Duration::from_secs(2);

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    let count = arguments.users;
    let builds = builds::all(arguments)?;
    let this = &builds[0];
    progress("memory: starting an empty node");
    let empty = {
        let nodes = Nodes::start(this, 1, TTL_SECONDS, |_| Ok(()))?;
        settled_memory(&nodes.all[nodes.leader()?])?
    };
    progress(&format!("memory: starting a node with {count} users"));
    let nodes = Nodes::start(this, 1, TTL_SECONDS, |bucket| users::fill(bucket, count))?;
    let node = &nodes.all[nodes.leader()?];
    let registered = settled_memory(node)?;
    progress(&format!("memory: {count} heartbeats"));
    load::send(node.api, arguments.connections, count, &users::heartbeats(count), 200)?;
    let online = settled_memory(node)?;
    println!(
        "memory: an empty node {}; with {count} users registered and none online {}; with all of them online {}",
        mb(empty),
        mb(registered),
        mb(online)
    );
    println!(
        "memory over an empty node: {} in all; a registered user {} bytes, an online client {} bytes more",
        mb(online.saturating_sub(empty)),
        registered.saturating_sub(empty) / count,
        online.saturating_sub(registered) / count
    );
    Ok(())
}

fn settled_memory(node: &Node) -> anyhow::Result<u64> {
    sleep(SETTLE_TIME);
    node.process.memory()
}

/// Megabytes (10^6 bytes) with one decimal place.
pub(crate) fn mb(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}
