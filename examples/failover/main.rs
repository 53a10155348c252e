//! How long are clients without a leader? Three real nodes on this machine, whose leader is killed again and again; a
//! client of each node notes when requests are served.
//!
//! ```text
//! cargo run --release --example failover -- --how kill --runs 200 --load 20
//! ```
//!
//! The nodes are processes of this very program (its hidden command `node` is `rollcall`), so what is measured is never
//! an older build. `failover watch URL…` only looks at nodes that others started. `tests/netns.sh` uses that, and calls
//! this program for the cut cable, which needs hosts of their own for the nodes.

mod background_load;
mod delay_proxy;
mod hosts;
mod nodes;
mod probes;
mod report;
mod runs;
mod watch;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use rollcall::cli::{self, Cli};

/// How long clients are without a leader when it is killed, ends, hands over, freezes or is cut off.
#[derive(Debug, Parser)]
#[command(name = "failover", args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    plan: Plan,
}

/// What is done to the cluster, and how often.
#[derive(Args, Clone, Debug)]
struct Plan {
    /// What happens to the leader
    #[arg(long, value_enum, default_value = "kill")]
    how: Fault,

    /// How often
    #[arg(long, default_value_t = 200)]
    runs: usize,

    /// Clients that send heartbeats, and register a user now and then, meanwhile
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=200))]
    load: u16,

    /// A host for each node, for `cut`: NAMESPACE,CABLE,ADDRESS,ADDRESS (the last for clients); three times
    #[arg(long = "host")]
    hosts: Vec<hosts::Host>,
}

/// What happens to the leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Fault {
    /// It is killed (SIGKILL)
    Kill,
    /// It is asked to end (SIGTERM)
    Term,
    /// It finds itself much more loaded than the others, by `load_source`
    Handover,
    /// It is frozen for 10 s (SIGSTOP, SIGCONT)
    Stop,
    /// All nodes are restarted in turn (SIGTERM), without waiting for longer than until each is ready
    Rolling,
    /// Its host's cable to the others is cut; only in the network of `tests/netns.sh`, which gives the hosts
    Cut,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a line for each request that a node serves, until SIGTERM: when it was received and sent
    /// (milliseconds of the wall clock), the node's number from 0 on, the term. Fails if two nodes served at once.
    Watch {
        /// The nodes' APIs: http://HOST:PORT
        #[arg(required = true)]
        urls: Vec<String>,
    },
    /// Pass connections on, with every byte late
    Slow {
        /// How late, in milliseconds, each way
        #[arg(long)]
        ms: u64,
        /// Where to listen and where to connect to: HOST:PORT=HOST:PORT
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
