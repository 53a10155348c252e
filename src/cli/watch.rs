//! `rollcall watch`: prints changes of the online clients as they happen, across changes of
//! leaders.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::connection::ServerArgs;
use super::exit::{CommandError, SYSTEM};
use super::output::{CommandOutput, OutputArgs, print_note};
use super::signals::ShutdownSignals;
use super::text_table::{Colour, pluralize};
use rollcall_client::{Client, ClientError, OnlineChange, OnlineSet};
use rollcall_core::clock::wall_now;
use rollcall_core::escape::escape_controls;
use rollcall_core::{Addr, Username};

/// Longest time that a node waits for a change before it responds. If the leader hangs, the client
/// searches for another leader shortly after this time.
const POLL_WAIT: Duration = Duration::from_secs(10);
/// Delay between two requests while no leader can be reached. Each request itself takes seconds.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Arguments of `watch`.
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

pub(super) async fn run(args: WatchArgs) -> Result<(), CommandError> {
    let mut signals = ShutdownSignals::listen()
        .map_err(|error| CommandError::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let client = args.servers.connect()?;
    tokio::select! {
        failure = watch(&client, CommandOutput::new(args.output)) => Err(failure),
        _ = signals.next() => Ok(()),
    }
}

/// Prints changes until an error that a retry cannot repair, or until standard output is closed.
///
/// Retries only after it has found a leader once: if no node can be reached at the start, it
/// returns the error.
async fn watch(client: &Client, output: CommandOutput) -> CommandError {
    let mut online = OnlineSet::default();
    let mut leader: Option<String> = None;
    let mut is_unreachable = false;
    loop {
        let has_had_leader = leader.is_some();
        let update = match client.online_changes(online.cursor(), POLL_WAIT).await {
            Ok(update) => update,
            Err(error @ (ClientError::DeadlineExceeded { .. } | ClientError::Unreachable { .. })) if has_had_leader => {
                if !std::mem::replace(&mut is_unreachable, true) {
                    print_note(&format!("cannot reach the registry: {error}; still trying"));
                }
                sleep(RETRY_DELAY).await;
                continue;
            }
            Err(error) => return error.into(),
        };
        if std::mem::take(&mut is_unreachable) {
            print_note("the registry answers again");
        }
        let changes = online.apply(update);
        for change in &changes {
            if let Err(failure) = print_change(change, output) {
                return failure;
            }
        }
        let new_leader = client.leader();
        if new_leader != leader {
            // Ask for the addresses of the other nodes while this leader can be reached.
            client.learn_nodes().await;
            match (&leader, &new_leader) {
                (None, Some(now)) => {
                    print_note(&format!("{} online; watching {now}", pluralize(online.len(), "client")));
                }
                (Some(_), Some(now)) => print_note(&format!("leader changed to {now}")),
                (_, None) => {}
            }
            leader = new_leader;
        }
    }
}

/// Prints one change with the time at which this command received it.
fn print_change(change: &OnlineChange, output: CommandOutput) -> Result<(), CommandError> {
    let at = wall_now().to_rfc3339();
    if output.is_json {
        let mut json = to_json(change);
        json["at"] = at.into();
        return output.json(&json);
    }
    let name = |username: &Username| escape_controls(username.as_str());
    let line = match change {
        OnlineChange::Joined(client) => {
            format!(
                "{} {} joined at {}",
                output.paint(Colour::Green, "+"),
                name(&client.username),
                addr_text(client.addr)
            )
        }
        OnlineChange::Moved { client, from } => {
            let mark = output.paint(Colour::Yellow, "~");
            format!("{mark} {} moved from {} to {}", name(&client.username), addr_text(*from), addr_text(client.addr))
        }
        OnlineChange::Left { username, .. } => format!("{} {} left", output.paint(Colour::Red, "-"), name(username)),
    };
    output.line(&format!("{at} {line}"))
}

/// The change as JSON. As in the lists of the server, a missing address is empty text.
fn to_json(change: &OnlineChange) -> Value {
    let addr = |addr: Option<Addr>| addr.map(|addr| addr.to_string()).unwrap_or_default();
    match change {
        OnlineChange::Joined(client) => {
            json!({"event": "joined", "username": client.username, "addr": addr(client.addr)})
        }
        OnlineChange::Moved { client, from } => {
            json!({"event": "moved", "username": client.username, "addr": addr(client.addr), "from": addr(*from)})
        }
        OnlineChange::Left { username, reason } => json!({"event": "left", "username": username, "reason": reason}),
    }
}

fn addr_text(addr: Option<Addr>) -> String {
    addr.map_or_else(|| "(no address)".to_owned(), |addr| addr.to_string())
}
