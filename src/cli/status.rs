//! `rollcall status`: how each node is.

use clap::Args;
use serde_json::json;

use super::connection::ServerArgs;
use super::exit::{Failure, UNREACHABLE};
use super::output::{Output, OutputArgs};
use super::table::{Colour, Table};
use rollcall_client::NodeStatus;
use rollcall_core::MemberRole;

/// What stands in the table where nothing is known.
const NOTHING: &str = "-";

/// The flags.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall status --server localhost:3000",
    "rollcall status --json | jq -r '.nodes[] | select(.reachable | not) | .node'",
    "watch -n1 rollcall status                   # again and again",
]))]
pub(super) struct StatusArgs {
    #[command(flatten)]
    servers: ServerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let output = Output::new(args.output);
    let nodes = args.servers.connect()?.cluster_status().await;
    let leader = nodes.iter().find(|node| node.is_leader).and_then(|node| node.node.as_ref());
    if output.is_json {
        output.json(&json!({"nodes": nodes, "count": nodes.len(), "leader": leader}))?;
    } else {
        output.text(&table(&nodes).render(output.is_coloured))?;
    }
    if leader.is_some() {
        return Ok(());
    }
    let reachable = nodes.iter().filter(|node| node.reachable).count();
    let why = match reachable {
        0 => "no server answers".to_owned(),
        reachable => format!("no node leads at the moment; {reachable} of {} answer", nodes.len()),
    };
    Err(Failure::new(UNREACHABLE, why))
}

fn table(nodes: &[NodeStatus]) -> Table {
    let mut table = Table::new(&[
        "NODE",
        "API",
        "ROLE",
        "TERM",
        "LOAD",
        "LAST CONTACT",
        "REACHABLE",
        "ONLINE",
        "UPTIME",
        "VERSION",
    ]);
    for node in nodes {
        let (reachable, colour) = if node.reachable { ("yes", None) } else { ("no", Some(Colour::Red)) };
        table.row([
            (&*or_nothing(node.node.as_ref()), None),
            (node.api_url.as_deref().unwrap_or(NOTHING), None),
            (role(node), node.is_leader.then_some(Colour::Green)),
            (&or_nothing(node.term), None),
            (&node.load.map_or_else(|| NOTHING.to_owned(), |load| format!("{:.0}%", load * 100.0)), None),
            (&node.last_heard_ago_ms.map_or_else(|| NOTHING.to_owned(), ago), None),
            (reachable, colour),
            (&or_nothing(node.online_clients_count), None),
            (&node.uptime_seconds.map_or_else(|| NOTHING.to_owned(), |seconds| ago(seconds * 1000)), None),
            (node.version.as_deref().unwrap_or(NOTHING), None),
        ]);
    }
    table
}

fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

fn role(node: &NodeStatus) -> &'static str {
    match (node.role, node.is_leader, node.reachable) {
        (_, true, _) => "leader",
        (None, ..) => NOTHING,
        // Won its term and may not serve: it has not heard from a majority for a while.
        (Some(MemberRole::Leader), false, true) => "leader, not serving",
        (Some(MemberRole::Leader), false, false) => "was leader",
        (Some(MemberRole::Candidate), ..) => "candidate",
        (Some(MemberRole::Follower), ..) => "follower",
    }
}

/// A length of time in one unit: `40ms`, `12s`, `5m`, `3h`.
fn ago(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}s", ms / 1000),
        60_000..3_600_000 => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_unit() {
        assert_eq!([999, 1000, 59_999, 60_000, 3_600_000].map(ago), ["999ms", "1s", "59s", "1m", "1h"]);
    }
}
