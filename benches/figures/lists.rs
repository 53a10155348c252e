//! Processor time of the list of online clients, complete and unchanged (304).

use anyhow::Context;

use crate::bare_server::BareServer;
use crate::comparison::{MeasuredServer, compare};
use crate::http_client::{HttpConnection, request};
use crate::nodes::Nodes;
use crate::{Args, builds, load, progress, users};

/// TTL of the clients, in seconds. Longer than any run.
const TTL_SECONDS: u64 = 3600;

/// Number of responses 304 for each complete list in a round. A 304 costs far less, so a precise
/// figure needs more of them.
const UNCHANGED_PER_LIST: u64 = 100;

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    let listed = arguments.listed;
    let builds = builds::all(arguments)?;
    let mut started = Vec::new();
    for build in &builds {
        progress(&format!("lists: starting a node of {} with {listed} users", build.name));
        let nodes = Nodes::start(build, 1, TTL_SECONDS, |bucket| users::fill(bucket, listed))?;
        let api = nodes.all[nodes.leader()?].api;
        load::send(api, arguments.connections, listed, &users::heartbeats(listed), 200)?;
        started.push(nodes);
    }
    let nodes = MeasuredServer::of_each(&builds, &started);
    let whole = request("GET", "/discover", "", "");
    let tag = {
        let mut connection = HttpConnection::connect(nodes[0].addr)?;
        let answer = connection.send(&whole)?.expect(200)?;
        anyhow::ensure!(answer.json()?["count"] == listed, "a client is missing in the list");
        answer.header("etag").context("the list has no entity tag")?.to_owned()
    };
    let unchanged = request("GET", "/discover", &format!("If-None-Match: {tag}\r\n"), "");
    let what = format!("/discover of {listed}");
    compare_with_bare_server(&what, &nodes, arguments, arguments.lists, (whole, 200))?;
    let what = format!("/discover of {listed}, unchanged (304)");
    compare_with_bare_server(&what, &nodes, arguments, arguments.lists * UNCHANGED_PER_LIST, (unchanged, 304))
}

fn compare_with_bare_server(
    what: &str,
    nodes: &[MeasuredServer<'_>],
    arguments: &Args,
    count: u64,
    (request, status): (Vec<u8>, u16),
) -> anyhow::Result<()> {
    let bare = BareServer::start(&HttpConnection::connect(nodes[0].addr)?.send(&request)?.expect(status)?, None)?;
    let requests = [request];
    compare(what, arguments.rounds, count, nodes, &bare.server(), |to| {
        load::send(to, arguments.connections, count, &requests, status)
    })
}
