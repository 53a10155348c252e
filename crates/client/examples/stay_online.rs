//! Registers a user, keeps it online until Ctrl-C, and prints each change of the online clients.
//!
//! ```text
//! cargo run -p rollcall-client --example stay_online -- \
//!     http://127.0.0.1:3000 alice 192.168.1.20:9000
//! ```

use std::time::Duration;

use anyhow::{Context, bail};
use rollcall_client::{
    AfterFailure, Client, DEFAULT_RETRY_TIMEOUT, HeartbeatInterval, HeartbeatTracker, NewUser, OnlineChange, OnlineSet,
    ServerUrl,
};
use rollcall_core::clock::boot_now;
use rollcall_core::{Addr, AddrForm, Username};
use tokio::time::sleep;

/// Delay after a request that failed in spite of the client's retries.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// Longest time that a node waits for a change before it responds.
const POLL_WAIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, name, addr] = &arguments[..] else { bail!("usage: stay_online URL NAME IP:PORT") };
    let server: ServerUrl = server.parse()?;
    let user = Username::parse(name)?;
    let addr = AddrForm::parse(addr)?;

    let client = Client::new([server], DEFAULT_RETRY_TIMEOUT)?;
    let new_user = NewUser { addr: Some(addr), ..NewUser::named(user.clone()) };
    let registered = client.register(&new_user).await.context("cannot register")?;
    println!("registered {user} with the id {}", registered.user_id);

    tokio::select! {
        ended = stay_online(&client, &user, addr) => ended,
        ended = print_changes(&client) => ended,
        ended = tokio::signal::ctrl_c() => {
            println!("stopped the heartbeats of {user}");
            Ok(ended?)
        }
    }
}

/// Sends heartbeats at the interval that the server suggests. Returns only if a retry cannot help.
async fn stay_online(client: &Client, user: &Username, addr: AddrForm) -> anyhow::Result<()> {
    let mut tracker = HeartbeatTracker::default();
    loop {
        match client.heartbeat(user, Some(addr)).await {
            Ok(accepted) => {
                for change in tracker.on_accepted(&accepted, client.leader(), boot_now().0) {
                    println!("heartbeat: {change:?}");
                }
                // Learn the other nodes while this leader is up.
                client.learn_nodes().await;
                sleep(HeartbeatInterval::Suggested.delay(&accepted)).await;
            }
            Err(error) => match tracker.on_failed(&error) {
                AfterFailure::Stop => return Err(error).context("cannot stay online"),
                AfterFailure::Retry(change) => {
                    if let Some(change) = change {
                        println!("heartbeat: {change:?}");
                    }
                    sleep(RETRY_DELAY).await;
                }
            },
        }
    }
}

/// Follows the list of online clients. A failed request is retried; the heartbeats report the
/// error.
async fn print_changes(client: &Client) -> anyhow::Result<()> {
    let mut online = OnlineSet::default();
    loop {
        let Ok(update) = client.online_changes(online.cursor(), POLL_WAIT).await else {
            sleep(RETRY_DELAY).await;
            continue;
        };
        for change in online.apply(update) {
            match change {
                OnlineChange::Joined(other) => println!("+ {} {}", other.username, addr_text(other.addr)),
                OnlineChange::Moved { client: other, .. } => println!("~ {} {}", other.username, addr_text(other.addr)),
                OnlineChange::Left { username, .. } => println!("- {username}"),
            }
        }
    }
}

fn addr_text(addr: Option<Addr>) -> String {
    addr.map_or_else(|| "(no address)".to_owned(), |addr| addr.to_string())
}
