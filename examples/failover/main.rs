//! Failover benchmark: how long are clients without a leader? It runs three real nodes on this
//! machine and kills the leader again and again. A client of each node records when requests are
//! served.
//!
//! ```text
//! cargo run --release --example failover -- --how kill --runs 200 --load 20
//! ```
//!
//! The nodes are processes of this program (its hidden command `node` is `rollcall`), so the
//! measurement never uses an older build. `failover watch URL…` only observes nodes that were
//! started elsewhere. `tests/netns.sh` uses it. That script also runs this program with a cut
//! cable, which needs separate hosts for the nodes.

mod background_load;
mod delay_proxy;
mod hosts;
mod nodes;
mod probes;
mod report;
mod rotation;
mod runs;
mod watch;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use rollcall::cli::{self, Cli};

/// Measures how long clients are without a leader when it is killed, stops, hands over, freezes or
/// is cut off.
#[derive(Debug, Parser)]
#[command(name = "failover", args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    plan: Plan,
}

/// The fault and the number of runs.
#[derive(Args, Clone, Debug)]
struct Plan {
    /// What happens to the leader
    #[arg(long, value_enum, default_value = "kill")]
    how: Fault,

    /// Number of runs
    #[arg(long, default_value_t = 200)]
    runs: usize,

    /// Number of clients that send heartbeats and sometimes register a user during the runs
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=200))]
    load: u16,

    /// A host for each node, for `cut`: NAMESPACE,CABLE,ADDRESS,ADDRESS (the last one for clients);
    /// three times
    #[arg(long = "host")]
    hosts: Vec<hosts::Host>,
}

/// Fault of the leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Fault {
    /// It is killed (SIGKILL)
    Kill,
    /// It is asked to stop (SIGTERM)
    Term,
    /// Its `load_source` reports a much higher load than those of the other nodes
    Handover,
    /// It is frozen for 10 s (SIGSTOP, SIGCONT)
    Stop,
    /// All nodes are restarted in turn (SIGTERM), each as soon as the one before is ready
    Rolling,
    /// None: the node key is changed, in about eight minutes a run. Fails if a request fails
    RotateKey,
    /// The cable of its host to the other nodes is cut; only in the network of `tests/netns.sh`,
    /// which provides the hosts
    Cut,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a line for each request that a node serves, until SIGTERM: the time of the answer and
    /// of the request (Unix time in milliseconds), the number of the node from 0, the term. Fails
    /// if two nodes served at once.
    Watch {
        /// The nodes' APIs: http://HOST:PORT
        #[arg(required = true)]
        urls: Vec<String>,
    },
    /// Forward connections and delay every byte
    Slow {
        /// Delay in milliseconds, in each direction
        #[arg(long)]
        ms: u64,
        /// Listen address and target of a route: HOST:PORT=HOST:PORT
        #[arg(required = true)]
        routes: Vec<delay_proxy::Route>,
    },
}

fn main() -> ExitCode {
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == nodes::COMMAND) {
        words.remove(1);
        return cli::start(Cli::parse_from(words));
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the threads of the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(measure(CommandLine::parse_from(words)));
    runtime.shutdown_background();
    if let Err(error) = ended {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn measure(command_line: CommandLine) -> anyhow::Result<()> {
    match command_line.command {
        Some(Command::Watch { urls }) => watch::watch(urls).await,
        Some(Command::Slow { ms, routes }) => delay_proxy::run(std::time::Duration::from_millis(ms), routes).await,
        None => tokio::select! {
            ended = runs::run(&command_line.plan) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen for Ctrl-C")?;
                anyhow::bail!("interrupted")
            }
        },
    }
}
