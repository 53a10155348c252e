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
use rollcall_client::{Client, ClientError, Roster, Turn};
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
    let mut roster = Roster::default();
    let mut leader: Option<String> = None;
    let mut is_lost = false;
    loop {
        let has_begun = leader.is_some();
        let news = match client.news(roster.cursor(), WAIT).await {
            Ok(news) => news,
            Err(error @ (ClientError::GaveUp { .. } | ClientError::Unreachable { .. })) if has_begun => {
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
        let turns = roster.take(news);
        for turn in &turns {
            if let Err(failure) = tell(turn, output) {
                return failure;
            }
        }
        let now = client.leader();
        if now != leader {
            // Those that are left will be needed when this one goes.
            client.learn_nodes().await;
            match (&leader, &now) {
                (None, Some(now)) => note(&format!("{} online; watching {now}", count(roster.len(), "client"))),
                (Some(_), Some(now)) => note(&format!("leader changed to {now}")),
                (_, None) => {}
            }
            leader = now;
        }
    }
}

fn tell(turn: &Turn, output: Output) -> Result<(), Failure> {
    let at = wall_now().to_rfc3339();
    if output.is_json {
        let mut event = event(turn);
        event["at"] = at.into();
        return output.json(&event);
    }
    // Names and addresses have been read as such, so nothing in them is an escape.
    let line = match turn {
        Turn::Joined(client) => {
            format!("{} {} joined at {}", output.paint(Colour::Green, "+"), client.username, shown(client.addr))
        }
        Turn::Moved { client, from } => {
            let mark = output.paint(Colour::Yellow, "~");
            format!("{mark} {} moved from {} to {}", client.username, shown(*from), shown(client.addr))
        }
        Turn::Left { username, .. } => format!("{} {username} left", output.paint(Colour::Red, "-")),
    };
    output.line(&format!("{at} {line}"))
}

fn event(turn: &Turn) -> Value {
    match turn {
        Turn::Joined(client) => json!({"event": "joined", "username": client.username, "addr": client.addr}),
        Turn::Moved { client, from } => {
            json!({"event": "moved", "username": client.username, "addr": client.addr, "from": from})
        }
        Turn::Left { username, reason } => json!({"event": "left", "username": username, "reason": reason}),
    }
}

fn shown(addr: Option<Addr>) -> String {
    addr.map_or_else(|| "(no address)".to_owned(), |addr| addr.to_string())
}
