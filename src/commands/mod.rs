//! The command line: what a person types, and what becomes of it. Each command is a file; none of them decides
//! anything that the server or the client could decide.

mod demo;
pub mod exit;
mod node;
mod peer;
mod signals;

use std::io::{IsTerminal, stderr};

use clap::{Parser, Subcommand};
use tracing::warn;
use tracing_subscriber::EnvFilter;

pub use exit::Failure;

const LONG_ABOUT: &str = "\
Rollcall answers three questions for peer-to-peer programs: who is registered, who is online now, and where can I \
reach them (with their pictures). A few nodes form a cluster; one of them leads and answers, the others name it.

Without a command, a node is started. To see a whole cluster at work on this machine: rollcall demo";

const AFTER_HELP: &str = "\
Examples:
  rollcall demo
  rollcall --config config.toml --this-node 127.0.0.1:8080
  API_PORT=3001 rollcall --config config.toml --this-node 127.0.0.1:8081
  rollcall --this-node 10.0.0.1:8080 --peers 10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080

Environment (a flag wins over a variable, and that over the file; an empty variable counts as unset):
  API_PORT                        port of the HTTP API [3000]
  FIREBASE_BUCKET                 keep users and pictures in this bucket; else in <data dir>/bucket
  GOOGLE_APPLICATION_CREDENTIALS  service account's JSON file [credentials/firebase-storage.json]
  STORAGE_EMULATOR_HOST           HOST:PORT of a storage emulator, used without credentials
  HEARTBEAT_TTL_SECONDS           how long after its last heartbeat a client is online [30]
  ROLLCALL_CLUSTER_KEY            secret of at least 16 characters that all nodes share; or ROLLCALL_CLUSTER_KEY_FILE
  RUST_LOG                        error, warn, info, debug or trace [info]
  NO_COLOR                        no colours in the log
  ROLLCALL_THIS_NODE, ROLLCALL_PEERS, ROLLCALL_DATA_DIR, ROLLCALL_API_URL, ROLLCALL_API_BIND, ...
                                  every other key of config.toml, in capitals

Exit codes:
  0   ended as it was asked to       71  an address cannot be bound
  2   wrong command line             78  wrong configuration
  69  storage cannot be reached      129, 130, 143  a second SIGHUP, Ctrl-C or SIGTERM
  70  something inside broke                        ended it at once";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "rollcall",
    version,
    about = "A presence registry for peer-to-peer programs",
    long_about = LONG_ABOUT,
    after_long_help = AFTER_HELP,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    node: node::NodeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run three nodes and some clients on this machine and say where to look
    Demo(demo::DemoArgs),
    /// Chat with other peers: on this LAN, over a mesh, found through the registry
    Peer(peer::PeerArgs),
}

/// Does what the command line says, until it is done or someone wants it to end.
///
/// # Errors
/// [`Failure`], which is one line for standard error and an exit code.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => node::run(cli.node).await,
        Some(Command::Demo(args)) => demo::run(args).await,
        Some(Command::Peer(args)) => peer::run(args).await,
    }
}

/// Logs to standard error, as `RUST_LOG` says, coloured only for people who want colours.
pub fn start_logging() {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let (filter, wrong) = match is_set(EnvFilter::DEFAULT_ENV).then(EnvFilter::try_from_default_env) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new("info"), Some(error)),
        None => (EnvFilter::new("info"), None),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal() && !is_set("NO_COLOR"))
        .with_writer(stderr)
        // A line that cannot be written is lost. To complain about it there, too, would be a panic.
        .log_internal_errors(false)
        .init();
    if let Some(error) = wrong {
        warn!("environment variable RUST_LOG is ignored: {error}; give error, warn, info, debug or trace");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_node_is_what_runs_without_a_command() {
        let cli = Cli::try_parse_from(["rollcall", "--config", "c.toml", "--this-node", "127.0.0.1:8080"]).unwrap();
        assert!(cli.command.is_none());
        assert!(matches!(Cli::try_parse_from(["rollcall", "demo"]).unwrap().command, Some(Command::Demo(_))));
        assert!(Cli::try_parse_from(["rollcall", "--config", "c.toml", "demo"]).is_err());
    }

    #[test]
    fn the_help_names_every_documented_variable_and_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for word in ["API_PORT", "FIREBASE_BUCKET", "GOOGLE_APPLICATION_CREDENTIALS", "HEARTBEAT_TTL_SECONDS"] {
            assert!(help.contains(word), "{word}");
        }
        for code in [exit::USAGE, exit::STORAGE, exit::SOFTWARE, exit::SYSTEM, exit::CONFIGURATION] {
            assert!(help.contains(&format!("  {code}  ")) || help.contains(&format!("  {code}   ")), "{code}");
        }
        assert!(!help.contains("stdin"));
    }
}
