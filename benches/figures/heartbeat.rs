//! Processor time of a heartbeat.

use crate::bare_server::BareServer;
use crate::comparison::{MeasuredServer, compare};
use crate::http_client::HttpConnection;
use crate::nodes::Nodes;
use crate::{Args, builds, load, progress, users};

/// TTL of the clients, in seconds. Longer than any run.
const TTL_SECONDS: u64 = 3600;

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    let requests = users::heartbeats(arguments.clients);
    let builds = builds::all(arguments)?;
    let mut started = Vec::new();
    for build in &builds {
        progress(&format!("heartbeats: starting a node of {} with {} users", build.name, arguments.clients));
        let nodes = Nodes::start(build, 1, TTL_SECONDS, |bucket| users::fill(bucket, arguments.clients))?;
        load::send(nodes.all[nodes.leader()?].api, arguments.connections, arguments.clients, &requests, 200)?;
        started.push(nodes);
    }
    let nodes = MeasuredServer::of_each(&builds, &started);
    let bare = BareServer::start(&HttpConnection::connect(nodes[0].addr)?.send(&requests[0])?.expect(200)?, None)?;
    compare("a heartbeat", arguments.rounds, arguments.heartbeats, &nodes, &bare.server(), |to| {
        load::send(to, arguments.connections, arguments.heartbeats, &requests, 200)
    })
}
