//! What serving costs, on this machine: each figure beside a bare hyper server that answers the very same bytes, or beside
//! a bare loop that does the same on the disk.
//!
//! ```text
//! cargo bench --bench figures                     # everything; up to half an hour
//! cargo bench --bench figures -- heartbeat lists  # some parts
//! cargo bench --bench figures -- --quick          # everything, hundredfold smaller, to see that it works
//! cargo bench --bench figures -- heartbeat --against PROGRAM   # beside another build of this benchmark
//! ```
//!
//! BENCHMARKS.md says what is measured and how. All servers are processes of this very program (its hidden commands `node`,
//! which is `rollcall`, `bare`, `chatter` and `bare-chatter`), so what is measured is never an older build. They listen on 127.0.0.1 only and end when
//! this process does, however it ends.

mod bare;
mod bare_chatter;
mod beater;
mod builds;
mod chat;
mod chatter;
mod disk;
mod heartbeat;
mod lists;
mod load;
mod memory;
mod nodes;
mod processes;
mod registrations;
mod rounds;
mod takeover;
mod users;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use rollcall::cli::{self, Cli};

/// What serving costs on this machine, beside a bare server and a bare loop.
#[derive(Clone, Debug, Parser)]
#[command(name = "figures")]
struct Arguments {
    /// What to measure; everything if nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,

    /// Another build of this benchmark (target/release/deps/figures-*): measured in turn with this one, in the same run
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,

    /// Everything hundredfold smaller, to see that it works; the figures mean nothing then
    #[arg(long)]
    quick: bool,

    /// Rounds of each comparison; their median is printed
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,

    /// Keep-alive connections on which the load comes, each from a thread of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    connections: u64,

    /// Heartbeats a round
    #[arg(long, default_value_t = 50_000)]
    heartbeats: u64,

    /// Clients that take turns to send them
    #[arg(long, default_value_t = 10_000)]
    clients: u64,

    /// Clients on a list
    #[arg(long, default_value_t = 10_000)]
    listed: u64,

    /// Lists a round; a hundred times as many that did not change
    #[arg(long, default_value_t = 400)]
    lists: u64,

    /// Registrations a round
    #[arg(long, default_value_t = 2_000)]
    registrations: u64,

    /// Users for the memory
    #[arg(long, default_value_t = 100_000)]
    users: u64,

    /// Clients at a takeover; may be given more than once
    #[arg(long = "takeover", default_values_t = [1_000, 10_000, 100_000])]
    takeovers: Vec<u64>,

    /// Takeovers at each size
    #[arg(long, default_value_t = 1)]
    takeover_runs: u64,

    /// For how long after a takeover nobody may fall offline, in seconds: the TTL and what is forgiven
    #[arg(long, default_value_t = 45)]
    watch_seconds: u64,

    /// For how long peers talk in each run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    chat_seconds: u64,

    /// The most runs of each chat; it ends sooner when the host left enough of them alone
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    chat_runs: u64,

    /// For how long peers have nothing to do
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    idle_seconds: u64,

    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// Processor time of a heartbeat
    Heartbeat,
    /// Processor time of a list, whole and unchanged
    Lists,
    /// Registrations a second
    Registrations,
    /// Memory of a registered user and of a client online
    Memory,
    /// From kill -9 of the leader to the next served request, and who is online then
    Takeover,
    /// Peers that talk to each other: what arrives and how fast, and what one costs that has nothing to do
    Chat,
}

type Measure = fn(&Arguments) -> anyhow::Result<()>;

fn main() -> ExitCode {
    let mut words: Vec<_> = std::env::args_os().collect();
    let command = words.get(1).and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    let ended = match command.as_str() {
        nodes::COMMAND => {
            words.remove(1);
            return cli::start(Cli::parse_from(words));
        }
        chatter::COMMAND => {
            let word = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
            chatter::run(word(2), word(3))
        }
        bare_chatter::COMMAND => {
            let word = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
            bare_chatter::run(word(2), word(3))
        }
        bare::COMMAND => bare::run(words.get(2).map(AsRef::as_ref)),
        _ => measure(&Arguments::parse_from(words).scaled()),
    };
    if let Err(error) = ended {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

impl Arguments {
    fn scaled(mut self) -> Self {
        if self.quick {
            let sizes = [
                &mut self.heartbeats,
                &mut self.clients,
                &mut self.listed,
                &mut self.lists,
                &mut self.registrations,
                &mut self.users,
            ];
            for size in sizes {
                *size = (*size / 100).max(1);
            }
            self.takeovers = vec![100];
            (self.watch_seconds, self.chat_seconds, self.idle_seconds) = (1, 1, 1);
            self.rounds = self.rounds.min(2);
            self.chat_runs = 1;
        }
        self
    }

    fn measures(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    println!("{}", processes::machine());
    let parts: [(Part, Measure); 6] = [
        (Part::Heartbeat, heartbeat::measure),
        (Part::Lists, lists::measure),
        (Part::Registrations, registrations::measure),
        (Part::Memory, memory::measure),
        (Part::Takeover, takeover::measure),
        (Part::Chat, chat::measure),
    ];
    for (part, measure) in parts {
        if arguments.measures(part) {
            measure(arguments)?;
        }
    }
    Ok(())
}

/// Says on the terminal what goes on; figures go to the standard output.
fn progress(what: &str) {
    eprintln!("... {what}");
}
