//! Processor time of a heartbeat.

use crate::bare::Bare;
use crate::nodes::Nodes;
use crate::rounds::{Server, compare};
use crate::wire::Wire;
use crate::{Arguments, load, progress, users};

/// Longer than any run.
const TTL_SECONDS: u64 = 3600;

pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    progress(&format!("heartbeats: starting a node with {} users", arguments.clients));
    let nodes = Nodes::start(1, TTL_SECONDS, |bucket| users::fill(bucket, arguments.clients))?;
    let node = &nodes.all[nodes.leader()?];
    let requests = users::heartbeats(arguments.clients);
    load::send(node.api, arguments.connections, arguments.clients, &requests, 200)?;
    let bare = Bare::start(&Wire::connect(node.api)?.ask(&requests[0])?.expect(200)?)?;
    let servers =
        [Server { process: &node.process, addr: node.api }, Server { process: &bare.process, addr: bare.addr }];
    compare("a heartbeat", arguments.rounds, arguments.heartbeats, servers, |to| {
        load::send(to, arguments.connections, arguments.heartbeats, &requests, 200)
    })
}
