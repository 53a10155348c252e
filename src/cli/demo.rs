//! `rollcall demo`: a whole cluster with clients on this machine, for people who want to see it work, and to break it.
//!
//! It starts, watches and ends processes. It knows nothing of the nodes that anyone with their URLs could not know,
//! and it restarts none: a death is what people came to see.

mod clients;
mod folder;
mod nodes;
mod pictures;
mod ports;
mod screen;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;

use super::exit::{Failure, SOFTWARE, SYSTEM};
use super::signals::{ExitAtOnce, Signals};
use clients::MAX_CLIENTS;
use folder::Folder;
use nodes::{Node, Nodes};
use rollcall_client::{Client, DEFAULT_RETRY_TIMEOUT};
use rollcall_core::BootMs;
use rollcall_core::api::Health;
use rollcall_core::clock::boot_now;
use watch::Watch;

/// The nodes of a fresh cluster elect at once; a slow machine takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The screen waits for the clients to be online, but not for long.
const CLIENTS_TIMEOUT_MS: u64 = 5000;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Between looks while there is no leader: the time that an election takes is what people came to see.
const QUICK_LOOK_INTERVAL: Duration = Duration::from_millis(15);
/// A node on this machine that takes longer for its health is busy or stopped.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// The flags of the demo.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// How many sample clients to run
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=i64::from(MAX_CLIENTS)))]
    clients: u16,

    /// Keep everything (configuration, logs, bucket) in this directory; else a temporary one is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A running demo.
struct Demo {
    nodes: Vec<Node>,
    processes: Nodes,
    client: Arc<Client>,
    watch: Watch,
    started_at: BootMs,
}

pub(super) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let refused = |what: &str, error: io::Error| Failure::new(SYSTEM, format!("cannot {what}: {error}"));
    // Before the first process exists, so that no signal can leave one behind.
    let mut signals = Signals::listen().map_err(|error| refused("listen for signals", error))?;
    let folder = match &args.dir {
        Some(path) => {
            Folder::kept(path).map_err(|error| refused(&format!("use the directory {}", path.display()), error))?
        }
        None => Folder::temporary().map_err(|error| refused("make a temporary directory", error))?,
    };
    let ports = ports::choose(ports::is_free)
        .ok_or_else(|| Failure::new(SYSTEM, "no free ports near 3000 and 8080; end what uses them"))?;
    say("Starting three nodes on this machine ...");
    for notice in ports::notices(&ports) {
        say(&notice);
    }
    let (nodes, processes) = Nodes::start(folder.path(), &ports).map_err(|error| refused("start the nodes", error))?;
    let client = Client::new(nodes.iter().map(|node| node.url.clone()), DEFAULT_RETRY_TIMEOUT)
        .map_err(|error| Failure::new(SOFTWARE, error.to_string()))?;
    let now = boot_now();
    let watch = Watch::new(nodes.iter().map(|node| node.name.clone()), now);
    let mut demo = Demo { nodes, processes, client: Arc::new(client), watch, started_at: now };

    let mut clients = JoinSet::new();
    let ended = tokio::select! {
        failure = demo.show(args.clients, &mut clients, &folder) => Err(failure),
        _ = signals.next() => Ok(()),
    };
    clients.shutdown().await;
    demo.end(&mut signals, folder).await;
    ended
}

impl Demo {
    /// Brings the cluster up and reports what happens; returns only if it does not come up.
    async fn show(&mut self, count: u16, clients: &mut JoinSet<()>, folder: &Folder) -> Failure {
        let leader = match tokio::time::timeout(START_TIMEOUT, self.come_up()).await {
            Ok(Ok(leader)) => leader,
            Ok(Err(failure)) => return failure,
            Err(_) => {
                let words = nodes::last_words(&self.nodes[0].log).unwrap_or_default();
                let seconds = START_TIMEOUT.as_secs();
                return Failure::new(
                    SOFTWARE,
                    format!("no leader after {seconds} s; the first node's log ends: {words}"),
                );
            }
        };
        *clients = clients::start(count, &self.client);
        let until = boot_now().plus(CLIENTS_TIMEOUT_MS);
        while boot_now() < until && !self.are_online(leader, count).await {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        say(&screen::ready(&self.nodes, leader, count, folder));
        loop {
            for line in self.next_changes().await {
                say(&format!("{:>6} s  {line}", boot_now().since(self.started_at) / 1000));
            }
        }
    }

    /// Waits for the first leader.
    async fn come_up(&mut self) -> Result<usize, Failure> {
        loop {
            tokio::select! {
                (index, how) = self.processes.next_end() => {
                    let Node { name, log, .. } = &self.nodes[index];
                    let words = nodes::last_words(log).unwrap_or_default();
                    return Err(Failure::new(SOFTWARE, format!("node {name} ended ({how}): {words}")));
                }
                answers = look(&self.client, &self.nodes) => {
                    self.watch.look(&answers, boot_now());
                    if let Some(leader) = self.watch.leader() {
                        return Ok(leader);
                    }
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn are_online(&self, leader: usize, count: u16) -> bool {
        let health = self.client.health(&self.nodes[leader].url).await;
        health.is_ok_and(|health| health.online_clients_count >= u64::from(count))
    }

    /// Waits for the next look at the nodes, or the end of one; the lines to show.
    async fn next_changes(&mut self) -> Vec<String> {
        let interval = if self.watch.is_waiting() { QUICK_LOOK_INTERVAL } else { LOOK_INTERVAL };
        let next_look = async {
            tokio::time::sleep(interval).await;
            look(&self.client, &self.nodes).await
        };
        tokio::select! {
            (index, how) = self.processes.next_end() => {
                let change = self.watch.ended(index, how, boot_now());
                vec![change.to_string(), screen::again(&self.nodes[index])]
            }
            answers = next_look => self.watch.look(&answers, boot_now()).iter().map(ToString::to_string).collect(),
        }
    }

    /// Ends the nodes, at once if a further signal asks for it, and clears up.
    async fn end(mut self, signals: &mut Signals, folder: Folder) {
        say("\nEnding the nodes ... (a second Ctrl-C kills them)");
        let impatient: Option<ExitAtOnce> = tokio::select! {
            () = self.processes.stop() => None,
            signal = signals.next() => Some(signal),
        };
        if impatient.is_some() {
            self.processes.kill().await;
        }
        if !folder.is_temporary() {
            say(&format!("Everything is kept in {}", folder.path().display()));
        }
        drop(folder);
        if let Some(signal) = impatient {
            signal.obey();
        }
    }
}

/// What each node says of itself now; `None` for one that does not answer in time.
async fn look(client: &Client, nodes: &[Node]) -> Vec<Option<Health>> {
    let asked = nodes.iter().map(|node| tokio::time::timeout(LOOK_TIMEOUT, client.health(&node.url)));
    let answers = futures_util::future::join_all(asked).await;
    answers.into_iter().map(|answer| answer.ok()?.ok()).collect()
}

/// Writes a line for the person at the terminal. If no one reads any more, the demo goes on until it is ended.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
