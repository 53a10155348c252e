//! Processor time of a list of clients online, whole and unchanged.

use anyhow::Context;

use crate::bare::Bare;
use crate::nodes::{Node, Nodes};
use crate::rounds::{Server, compare};
use crate::wire::{Wire, request};
use crate::{Arguments, load, progress, users};

/// Longer than any run.
const TTL_SECONDS: u64 = 3600;

/// An answer without a body costs so much less that more of them make a round.
const UNCHANGED_FOR_ONE: u64 = 100;

pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let listed = arguments.listed;
    progress(&format!("lists: starting a node with {listed} users"));
    let nodes = Nodes::start(1, TTL_SECONDS, |bucket| users::fill(bucket, listed))?;
    let node = &nodes.all[nodes.leader()?];
    load::send(node.api, arguments.connections, listed, &users::heartbeats(listed), 200)?;
    let whole = request("GET", "/discover", "", "");
    let tag = {
        let mut wire = Wire::connect(node.api)?;
        let answer = wire.ask(&whole)?.expect(200)?;
        anyhow::ensure!(answer.json()?["count"] == listed, "not everybody is listed");
        answer.header("etag").context("the list has no entity tag")?.to_owned()
    };
    let unchanged = request("GET", "/discover", &format!("If-None-Match: {tag}\r\n"), "");
    let what = format!("/discover of {listed}");
    side_by_side(&what, node, arguments, arguments.lists, (whole, 200))?;
    let what = format!("/discover of {listed}, unchanged (304)");
    side_by_side(&what, node, arguments, arguments.lists * UNCHANGED_FOR_ONE, (unchanged, 304))
}

fn side_by_side(
    what: &str,
    node: &Node,
    arguments: &Arguments,
    count: u64,
    (request, status): (Vec<u8>, u16),
) -> anyhow::Result<()> {
    let bare = Bare::start(&Wire::connect(node.api)?.ask(&request)?.expect(status)?)?;
    let servers =
        [Server { process: &node.process, addr: node.api }, Server { process: &bare.process, addr: bare.addr }];
    let requests = [request];
    compare(what, arguments.rounds, count, servers, |to| {
        load::send(to, arguments.connections, count, &requests, status)
    })
}
