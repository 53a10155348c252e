//! `rollcall watch`: who comes and goes, as it happens, whoever leads.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::connection::ServerArgs;
use super::exit::{Failure, SYSTEM};
use super::output::{Output, OutputArgs, note};
use super::signals::Signals;
use super::table::{Colour, count};
use rollcall_client::{Client, ClientError, OnlineSet, OnlineChange};
use rollcall_core::Addr;
use rollcall_core::clock::wall_now;

/// How long a node may wait for something to tell: a leader that hangs is left after this and a little more.
const WAIT: Duration = Duration::from_secs(10);
/// Between two tries while no leader can be reached; each of them takes seconds itself.
const PAUSE: Duration = Duration::from_millis(200);

/// The flags.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall watch --server localhost:3000,localhost:3001",
    "rollcall watch --json | jq -r 'select(.event == \"joined\") | .username'",
]))]
pub(super) struct WatchArgs {
    #[command(flatten)]
    servers: ServerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: WatchArgs) -> Result<(), Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let client = args.servers.connect()?;
    tokio::select! {
        failure = watch(&client, Output::new(args.output)) => Err(failure),
        _ = signals.next() => Ok(()),
    }
}

/// Ends only if nobody can be reached at the start, or something refuses for good.
async fn watch(client: &Client, output: Output) -> Failure {
    let mut online_set = OnlineSet::default();
    let mut leader: Option<String> = None;
    let mut is_lost = false;
    loop {
        let has_begun = leader.is_some();
        let update = match client.online_changes(online_set.cursor(), WAIT).await {
            Ok(update) => update,
            Err(error @ (ClientError::DeadlineExceeded { .. } | ClientError::Unreachable { .. })) if has_begun => {
                if !std::mem::replace(&mut is_lost, true) {
                    note(&format!("cannot reach the registry: {error}; trying on"));
                }
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => return error.into(),
        };
        if std::mem::take(&mut is_lost) {
            note("the registry answers again");
        }
        let changes = online_set.apply(update);
        for change in &changes {
            if let Err(failure) = tell(change, output) {
                return failure;
            }
        }
        let now = client.leader();
        if now != leader {
            // Those that are left will be needed when this one goes.
            client.learn_nodes().await;
            match (&leader, &now) {
                (None, Some(now)) => note(&format!("{} online; watching {now}", count(online_set.len(), "client"))),
                (Some(_), Some(now)) => note(&format!("leader changed to {now}")),
                (_, None) => {}
            }
            leader = now;
        }
    }
}

fn tell(change: &OnlineChange, output: Output) -> Result<(), Failure> {
    let at = wall_now().to_rfc3339();
    if output.is_json {
        let mut event = event(change);
        event["at"] = at.into();
        return output.json(&event);
    }
    // Names and addresses have been read as such, so nothing in them is an escape.
    let line = match change {
        OnlineChange::Joined(client) => {
            format!("{} {} joined at {}", output.paint(Colour::Green, "+"), client.username, shown(client.addr))
        }
        OnlineChange::Moved { client, from } => {
            let mark = output.paint(Colour::Yellow, "~");
            format!("{mark} {} moved from {} to {}", client.username, shown(*from), shown(client.addr))
        }
        OnlineChange::Left { username, .. } => format!("{} {username} left", output.paint(Colour::Red, "-")),
    };
    output.line(&format!("{at} {line}"))
}

fn event(change: &OnlineChange) -> Value {
    match change {
        OnlineChange::Joined(client) => json!({"event": "joined", "username": client.username, "addr": client.addr}),
        OnlineChange::Moved { client, from } => {
            json!({"event": "moved", "username": client.username, "addr": client.addr, "from": from})
        }
        OnlineChange::Left { username, reason } => json!({"event": "left", "username": username, "reason": reason}),
    }
}

fn shown(addr: Option<Addr>) -> String {
    addr.map_or_else(|| "(no address)".to_owned(), |addr| addr.to_string())
}
