//! `rollcall status`: the status of each node of the cluster.

use clap::Args;
use serde_json::json;

use super::connection::ServerArgs;
use super::exit::{CommandError, UNREACHABLE};
use super::output::{CommandOutput, OutputArgs};
use super::text_table::{Colour, TextTable};
use rollcall_client::NodeStatus;
use rollcall_core::MemberRole;

/// Text of a table cell without a value.
const EMPTY_CELL: &str = "-";

/// Arguments of `status`.
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

pub(super) async fn run(args: StatusArgs) -> Result<(), CommandError> {
    let output = CommandOutput::new(args.output);
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
    let message = match reachable {
        0 => "no server answers".to_owned(),
        reachable => format!("no node is the leader at the moment; {reachable} of {} answer", nodes.len()),
    };
    Err(CommandError::new(UNREACHABLE, message))
}

fn table(nodes: &[NodeStatus]) -> TextTable {
    let mut table = TextTable::new(&[
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
            (&*or_empty_cell(node.node.as_ref()), None),
            (node.api_url.as_deref().unwrap_or(EMPTY_CELL), None),
            (role(node), node.is_leader.then_some(Colour::Green)),
            (&or_empty_cell(node.term), None),
            (&node.load.map_or_else(|| EMPTY_CELL.to_owned(), |load| format!("{:.0}%", load * 100.0)), None),
            (&node.last_heard_ago_ms.map_or_else(|| EMPTY_CELL.to_owned(), duration_text), None),
            (reachable, colour),
            (&or_empty_cell(node.online_clients_count), None),
            (&node.uptime_seconds.map_or_else(|| EMPTY_CELL.to_owned(), |seconds| duration_text(seconds * 1000)), None),
            (node.version.as_deref().unwrap_or(EMPTY_CELL), None),
        ]);
    }
    table
}

fn or_empty_cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| EMPTY_CELL.to_owned(), |value| value.to_string())
}

/// Text of the cell for a node's role.
fn role(node: &NodeStatus) -> &'static str {
    match (node.role, node.is_leader, node.reachable) {
        (_, true, _) => "leader",
        (None, ..) => EMPTY_CELL,
        // The node won its term, but its lease expired: no majority acknowledged its recent
        // heartbeats.
        (Some(MemberRole::Leader), false, true) => "leader, not serving",
        (Some(MemberRole::Leader), false, false) => "was leader",
        (Some(MemberRole::Candidate), ..) => "candidate",
        (Some(MemberRole::Follower), ..) => "follower",
    }
}

/// A duration in one unit, rounded down: `40ms`, `12s`, `5m`, `3h`.
fn duration_text(ms: u64) -> String {
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
    fn a_duration_is_shown_in_one_unit() {
        assert_eq!([999, 1000, 59_999, 60_000, 3_600_000].map(duration_text), ["999ms", "1s", "59s", "1m", "1h"]);
    }
}
