//! `rollcall demo`: a whole cluster with clients on this machine, to watch it work and to break it.
//!
//! The demo starts, observes and stops processes. It observes the nodes only through their public
//! API. It never restarts a node: users can kill one and see the effect.

mod change_detector;
mod demo_certificates;
mod instructions;
mod node_processes;
mod ports;
mod sample_clients;
mod sample_images;
mod work_dir;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;

use super::exit::{CommandError, SOFTWARE, SYSTEM};
use super::signals::{ShutdownSignals, SignalExit};
use change_detector::ChangeDetector;
use demo_certificates::DemoCertificates;
use node_processes::{DemoNode, NodeProcesses};
use rollcall_client::{Client, DEFAULT_RETRY_TIMEOUT, TrustedAuthorities};
use rollcall_core::BootMs;
use rollcall_core::api::Health;
use rollcall_core::clock::{boot_now, wall_now};
use sample_clients::MAX_CLIENTS;
use work_dir::WorkDir;

/// Longest wait for the first leader. An election takes milliseconds, or seconds on a slow machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time, in milliseconds, that the demo waits for its clients before it prints the
/// instructions.
const CLIENTS_TIMEOUT_MS: u64 = 5000;
/// Time between two polls of the nodes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two polls while there is no leader. It is short, so that the demo can measure the
/// length of the election.
const QUICK_POLL_INTERVAL: Duration = Duration::from_millis(15);
/// Timeout of one poll. A node on this machine that takes longer is busy or stopped.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);

/// Arguments of `demo`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::demo(&["rollcall demo", "rollcall demo --clients 20 --dir demo-files", "rollcall demo --tls"]))]
pub(super) struct DemoArgs {
    /// Number of sample clients to run
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=i64::from(MAX_CLIENTS)))]
    clients: u16,

    /// Keep all files (configuration, logs, bucket) in this directory; without it, they are removed
    /// at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Serve the API by https, with certificates that the demo makes
    #[arg(long)]
    tls: bool,
}

/// Running demo.
struct Demo {
    nodes: Vec<DemoNode>,
    processes: NodeProcesses,
    client: Arc<Client>,
    detector: ChangeDetector,
    started_at: BootMs,
    /// `None` if the nodes speak plain HTTP.
    certificates: Option<DemoCertificates>,
}

pub(super) async fn run(args: DemoArgs) -> Result<(), CommandError> {
    let system_error = |what: &str, error: io::Error| CommandError::new(SYSTEM, format!("cannot {what}: {error}"));
    // Before the first process starts: a signal must not end the demo and leave a node running.
    let mut signals = ShutdownSignals::listen().map_err(|error| system_error("listen for signals", error))?;
    let dir = match &args.dir {
        Some(path) => WorkDir::kept(path)
            .map_err(|error| system_error(&format!("use the directory {}", path.display()), error))?,
        None => WorkDir::temporary().map_err(|error| system_error("make a temporary directory", error))?,
    };
    let ports = ports::choose(ports::is_free).ok_or_else(|| {
        CommandError::new(SYSTEM, "no free ports near 3000 and 8080; stop the programs that use them")
    })?;
    print_line("Starting three nodes on this machine ...");
    for notice in ports::notices(&ports) {
        print_line(&notice);
    }
    let certificates = args.tls.then(|| DemoCertificates::create(dir.path(), wall_now())).transpose();
    let certificates = certificates.map_err(|error| system_error("make the certificates", error))?;
    let (nodes, processes) = NodeProcesses::start(dir.path(), &ports, certificates.as_ref())
        .map_err(|error| system_error("start the nodes", error))?;
    let authorities = match &certificates {
        Some(certificates) => TrustedAuthorities::from_pem_file(&certificates.ca)?,
        None => TrustedAuthorities::default(),
    };
    let servers = nodes.iter().map(|node| node.url.clone());
    let client = Client::trusting(servers, DEFAULT_RETRY_TIMEOUT, &authorities)
        .map_err(|error| CommandError::new(SOFTWARE, error.to_string()))?;
    let now = boot_now();
    let detector = ChangeDetector::new(nodes.iter().map(|node| node.name.clone()), now);
    let mut demo = Demo { nodes, processes, client: Arc::new(client), detector, started_at: now, certificates };

    let mut clients = JoinSet::new();
    let ended = tokio::select! {
        failure = demo.run_until_failure(args.clients, &mut clients, &dir) => Err(failure),
        _ = signals.next() => Ok(()),
    };
    clients.shutdown().await;
    demo.stop(&mut signals, dir).await;
    ended
}

impl Demo {
    /// Waits for the cluster and prints its changes. It returns only if the cluster does not start.
    async fn run_until_failure(&mut self, count: u16, clients: &mut JoinSet<()>, dir: &WorkDir) -> CommandError {
        let leader = match tokio::time::timeout(START_TIMEOUT, self.wait_for_leader()).await {
            Ok(Ok(leader)) => leader,
            Ok(Err(failure)) => return failure,
            Err(_) => {
                let log_line = node_processes::last_log_line(&self.nodes[0].log).unwrap_or_default();
                let seconds = START_TIMEOUT.as_secs();
                return CommandError::new(
                    SOFTWARE,
                    format!("no leader after {seconds} s; the first node's log ends: {log_line}"),
                );
            }
        };
        *clients = sample_clients::start(count, &self.client);
        let until = boot_now().plus(CLIENTS_TIMEOUT_MS);
        while boot_now() < until && !self.has_clients_online(leader, count).await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let ca = self.certificates.as_ref().map(|certificates| certificates.ca.as_path());
        print_line(&instructions::instructions(&self.nodes, leader, count, dir, ca));
        loop {
            for line in self.next_changes().await {
                print_line(&format!("{:>6} s  {line}", boot_now().since(self.started_at) / 1000));
            }
        }
    }

    /// Waits for the first leader, and returns its index.
    async fn wait_for_leader(&mut self) -> Result<usize, CommandError> {
        loop {
            tokio::select! {
                (index, how) = self.processes.next_exit() => {
                    let DemoNode { name, log, .. } = &self.nodes[index];
                    let log_line = node_processes::last_log_line(log).unwrap_or_default();
                    return Err(CommandError::new(SOFTWARE, format!("node {name} ended ({how}): {log_line}")));
                }
                answers = poll_nodes(&self.client, &self.nodes) => {
                    self.detector.observe(&answers, boot_now());
                    if let Some(leader) = self.detector.leader() {
                        return Ok(leader);
                    }
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn has_clients_online(&self, leader: usize, count: u16) -> bool {
        let health = self.client.health(&self.nodes[leader].url).await;
        health.is_ok_and(|health| health.online_clients_count >= u64::from(count))
    }

    /// Waits for the next poll or for the exit of a node, and returns the lines to print.
    async fn next_changes(&mut self) -> Vec<String> {
        let interval = if self.detector.is_leader_down() { QUICK_POLL_INTERVAL } else { POLL_INTERVAL };
        let next_poll = async {
            tokio::time::sleep(interval).await;
            poll_nodes(&self.client, &self.nodes).await
        };
        tokio::select! {
            (index, how) = self.processes.next_exit() => {
                let change = self.detector.process_exited(index, how, boot_now());
                vec![change.to_string(), instructions::restart_hint(&self.nodes[index])]
            }
            answers = next_poll => self.detector.observe(&answers, boot_now()).iter().map(ToString::to_string).collect(),
        }
    }

    /// Stops the nodes and removes the temporary files. A second signal kills the nodes.
    async fn stop(mut self, signals: &mut ShutdownSignals, dir: WorkDir) {
        print_line("\nEnding the nodes ... (a second Ctrl-C kills them)");
        let second_signal: Option<SignalExit> = tokio::select! {
            () = self.processes.stop() => None,
            signal = signals.next() => Some(signal),
        };
        if second_signal.is_some() {
            self.processes.kill().await;
        }
        if !dir.is_temporary() {
            print_line(&format!("Everything is kept in {}", dir.path().display()));
        }
        drop(dir);
        if let Some(signal) = second_signal {
            signal.exit_now();
        }
    }
}

/// Requests the health of each node; `None` for a node that does not answer in time.
async fn poll_nodes(client: &Client, nodes: &[DemoNode]) -> Vec<Option<Health>> {
    let requests = nodes.iter().map(|node| tokio::time::timeout(POLL_TIMEOUT, client.health(&node.url)));
    let answers = futures_util::future::join_all(requests).await;
    answers.into_iter().map(|answer| answer.ok()?.ok()).collect()
}

/// Prints a line to standard output. If it is closed, the demo continues until a signal stops it.
fn print_line(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
