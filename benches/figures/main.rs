//! Cost of the node and of the chat on this machine. Most figures stand beside a baseline: a bare
//! hyper server with the same response, a bare loop of the same disk operations, or a bare chat
//! program. Memory and takeovers have no baseline.
//!
//! ```text
//! cargo bench --bench figures                     # everything; up to half an hour
//! cargo bench --bench figures -- heartbeat lists  # some parts
//! cargo bench --bench figures -- --quick          # a hundred times smaller, as a check
//! cargo bench --bench figures -- heartbeat --against PROGRAM  # beside another build
//! ```
//!
//! docs/benchmarks.md says what is measured and how. All servers are processes of this program, so
//! an older build is never measured by mistake. They are its hidden commands `node` (which is
//! `rollcall`), `bare`, `chatter` and `bare-chatter`. They listen on 127.0.0.1 only, and end with
//! this process in every case.

mod attack;
mod bare_chat_peer;
mod bare_server;
mod builds;
mod chat;
mod chat_peer;
mod comparison;
mod durable_creates;
mod heartbeat;
mod heartbeat_clients;
mod http_client;
mod lists;
mod load;
mod memory;
mod nodes;
mod process;
mod registrations;
mod takeover;
mod tls;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use rollcall::cli::{self, Cli};

/// Cost of the node and of the chat on this machine, beside a bare server and a bare loop.
#[derive(Clone, Debug, Parser)]
#[command(name = "figures")]
struct Args {
    /// Parts to measure; all of them if none is given
    #[arg(value_enum)]
    parts: Vec<Benchmark>,

    /// Another build of this benchmark (target/release/deps/figures-*), measured in turn with this
    /// one in the same run
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,

    /// Everything a hundred times smaller, to check that it works; the figures mean nothing
    #[arg(long)]
    quick: bool,

    /// Rounds of each comparison; the median is printed
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,

    /// Keep-alive connections that carry the load, each with its own thread
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    connections: u64,

    /// Heartbeats in each round
    #[arg(long, default_value_t = 50_000)]
    heartbeats: u64,

    /// Clients that send the heartbeats in turn
    #[arg(long, default_value_t = 10_000)]
    clients: u64,

    /// Clients on a list
    #[arg(long, default_value_t = 10_000)]
    listed: u64,

    /// Complete lists in each round; a hundred times as many unchanged lists are requested too
    #[arg(long, default_value_t = 400)]
    lists: u64,

    /// Registrations in each round
    #[arg(long, default_value_t = 2_000)]
    registrations: u64,

    /// Users in the memory measurement
    #[arg(long, default_value_t = 100_000)]
    users: u64,

    /// Clients at a takeover; may be given more than once
    #[arg(long = "takeover", default_values_t = [1_000, 10_000, 100_000])]
    takeovers: Vec<u64>,

    /// Takeovers for each number of clients
    #[arg(long, default_value_t = 1)]
    takeover_runs: u64,

    /// Seconds after a takeover in which no client may go offline: the TTL and the grace period
    #[arg(long, default_value_t = 45)]
    watch_seconds: u64,

    /// Seconds in which peers send messages in each run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    chat_seconds: u64,

    /// Largest number of runs of each chat; fewer if enough of them are quiet
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    chat_runs: u64,

    /// Seconds in which idle peers are measured
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    idle_seconds: u64,

    /// One attack to measure, such as half-heads; may be given more than once. All by default
    #[arg(long = "attack", value_name = "NAME")]
    attacks: Vec<String>,

    /// Connections of each attack; the node serves 1024
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    attack_connections: u64,

    /// Registrations, heartbeats and lists of the victim of each attack
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    attack_rounds: u64,

    /// Seconds of the flood of passwords
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    attack_seconds: u64,

    /// Idle connections in the memory measurement of TLS
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    idle_connections: u64,

    /// Added by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Benchmark {
    /// Processor time of a heartbeat
    Heartbeat,
    /// Processor time of a list, complete and unchanged
    Lists,
    /// Registrations per second
    Registrations,
    /// Memory of a registered user and of an online client
    Memory,
    /// Time from kill -9 of the leader to the next served request, and the clients online
    /// afterwards
    Takeover,
    /// Requests during attacks from another address, and the memory under a flood of passwords
    Attack,
    /// Processor time of a heartbeat over TLS, and memory of an idle connection
    Tls,
    /// Delay and loss of chat messages, and the cost of an idle peer
    Chat,
}

type Measure = fn(&Args) -> anyhow::Result<()>;

fn main() -> ExitCode {
    let mut words: Vec<_> = std::env::args_os().collect();
    let command = words.get(1).and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    let ended = match command.as_str() {
        nodes::COMMAND => {
            words.remove(1);
            return cli::start(Cli::parse_from(words));
        }
        chat_peer::COMMAND => {
            let word = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
            chat_peer::run(word(2), word(3))
        }
        bare_chat_peer::COMMAND => {
            let word = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
            bare_chat_peer::run(word(2), word(3))
        }
        bare_server::COMMAND => {
            let file = |at: usize| words.get(at).map(AsRef::as_ref);
            bare_server::run(file(2), file(3).zip(file(4)))
        }
        _ => measure(&Args::parse_from(words).scaled()),
    };
    if let Err(error) = ended {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

impl Args {
    fn scaled(mut self) -> Self {
        if self.quick {
            let sizes = [
                &mut self.heartbeats,
                &mut self.clients,
                &mut self.listed,
                &mut self.lists,
                &mut self.registrations,
                &mut self.users,
                &mut self.idle_connections,
            ];
            for size in sizes {
                *size = (*size / 100).max(1);
            }
            self.takeovers = vec![100];
            (self.watch_seconds, self.chat_seconds, self.idle_seconds) = (1, 1, 1);
            (self.attack_rounds, self.attack_seconds) = (2, 1);
            self.rounds = self.rounds.min(2);
            self.chat_runs = 1;
        }
        self
    }

    fn measures(&self, part: Benchmark) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

fn measure(arguments: &Args) -> anyhow::Result<()> {
    println!("{}", process::machine());
    let parts: [(Benchmark, Measure); 8] = [
        (Benchmark::Heartbeat, heartbeat::measure),
        (Benchmark::Lists, lists::measure),
        (Benchmark::Registrations, registrations::measure),
        (Benchmark::Memory, memory::measure),
        (Benchmark::Takeover, takeover::measure),
        (Benchmark::Attack, attack::measure),
        (Benchmark::Tls, tls::measure),
        (Benchmark::Chat, chat::measure),
    ];
    for (part, measure) in parts {
        if arguments.measures(part) {
            measure(arguments)?;
        }
    }
    Ok(())
}

/// Reports progress on standard error. The figures go to standard output.
fn progress(what: &str) {
    eprintln!("... {what}");
}
