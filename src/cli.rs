//! Command line of the program. Each command is one file.
//!
//! A command parses its flags, calls the node or the client, and prints the result. It decides
//! nothing that the server or the client crate can decide.

mod admin;
mod completions;
mod connection;
mod demo;
mod download;
pub mod exit;
mod heartbeat;
mod help;
mod lists;
mod logging;
mod login;
mod node;
mod non_blocking_writer;
mod output;
mod password_input;
mod peer;
mod progress;
mod register;
mod signals;
mod status;
mod storage;
mod text_table;
mod upload;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::{self, Runtime};

pub use exit::CommandError;
use logging::start_logging;
pub use storage::TestFirebase;

/// The start of the program's help.
const LONG_ABOUT: &str = "\
Rollcall answers three questions for peer-to-peer programs: which users are registered, which of them are online, and \
at which address each one can be reached (with their images). A few nodes form a cluster. One node is the leader and \
answers the requests; the others reply with the leader's address.

Without a command, rollcall starts a node. To see a whole cluster on this machine, run: rollcall demo

The commands `storage check`, `storage copy` and `admin rotate-node-key` work on the storage of a node. All other commands are clients of a cluster. Give them the address of any node; they find the leader themselves. \
For the help of one command, run: rollcall help COMMAND";

/// The end of the node's help, without the exit codes.
const NODE_HELP: &str = "\
Examples:
  rollcall demo
  rollcall --config config.toml --this-node 127.0.0.1:8080
  API_PORT=3001 rollcall --config config.toml --this-node 127.0.0.1:8081
  rollcall --this-node 10.0.0.1:8080 --peers 10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080
  rollcall register --username alice --addr :9000 --server http://localhost:3000
  rollcall list-online

Environment (a flag wins over a variable, a variable over the file; an empty variable counts as unset):
  API_PORT                        port of the HTTP API [3000]
  FIREBASE_BUCKET, S3_BUCKET or AZURE_CONTAINER
                                  bucket or container for users and images: Firebase Storage, S3 or Azure Blob
                                  Storage; without one of them they are stored in <data dir>/bucket
  GOOGLE_APPLICATION_CREDENTIALS  JSON key file of a service account [credentials/firebase-storage.json]
  STORAGE_EMULATOR_HOST           HOST:PORT of an emulator of Firebase Storage; no credentials are used
  S3_ENDPOINT, S3_PATH_STYLE      URL of a store that is not AWS, and whether its path names the bucket [true]
  AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...
                                  region [us-east-1] and credentials of S3
  AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT
                                  storage account of the container, and another URL of its blob service
  AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_CLIENT_ID, ...
                                  credentials of Azure (all variables: docs/storage.md)
  HEARTBEAT_TTL_SECONDS           seconds after its last heartbeat until a client is offline [30]
  ROLLCALL_CLUSTER_KEY            secret of at least 16 characters, the same on all nodes
  ROLLCALL_CLUSTER_KEY_FILE       file that contains this secret
  RUST_LOG                        log level: error, warn, info, debug or trace [info]
  NO_COLOR                        if set, the log has no colours
  ROLLCALL_THIS_NODE, ROLLCALL_PEERS, ROLLCALL_DATA_DIR, ROLLCALL_API_URL, ROLLCALL_API_BIND, ...
                                  every other key of config.toml, in capitals after ROLLCALL_

Exit codes of a node (each client command lists its own):";

/// The end of the help of the program: examples, environment variables, exit codes of a node.
fn after_help() -> String {
    format!("{NODE_HELP}{}", exit::help_lines(exit::NODE_CODES))
}

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "rollcall",
    version,
    about = "A presence registry for peer-to-peer programs",
    long_about = LONG_ABOUT,
    after_long_help = after_help(),
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,

    #[command(flatten)]
    node: node::NodeArgs,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run a demo: three nodes and some clients on this machine
    Demo(demo::DemoArgs),

    /// Register a user
    Register(register::RegisterArgs),

    /// Log in with a user's password and save the token
    Login(login::LoginArgs),

    /// Change a user's password
    Passwd(login::PasswdArgs),

    /// Send heartbeats of a user until Ctrl-C, so that it stays online
    StartHeartbeat(heartbeat::HeartbeatArgs),

    /// List the online clients with their addresses
    ListOnline(lists::OnlineArgs),

    /// List all registered users
    Users(lists::UsersArgs),

    /// Upload images of a user
    Upload(upload::UploadArgs),

    /// List a user's images
    Images(lists::ImagesArgs),

    /// Download the online clients and their images into a directory
    Download(download::DownloadArgs),

    /// Show the status of each node of the cluster
    Status(status::StatusArgs),

    /// Print each client that comes online, goes offline or changes its address, until Ctrl-C
    Watch(watch::WatchArgs),

    /// Chat with other peers: on this LAN, over a mesh, found through the registry
    Peer(peer::PeerArgs),

    /// Check the storage of a node, or copy it to another store
    #[command(subcommand)]
    Storage(storage::StorageCommand),

    /// Administer a cluster
    #[command(subcommand)]
    Admin(admin::AdminCommand),

    /// Print a shell completion script
    Completions(completions::CompletionsArgs),

    /// Print one page of the manual, or write all pages to a directory
    Man(completions::ManArgs),
}

/// Runs a command, prints an error to standard error if it fails, and returns the exit code.
///
/// The runtime is created here and not in `main`. So its generic code is compiled once, in this
/// crate, and not again in the binary.
#[must_use]
pub fn start(cli: Cli) -> ExitCode {
    run_to_exit_code(runtime(&cli), run(cli))
}

/// Runs the program `test_firebase`, another name of `storage check` for the bucket of the
/// environment.
#[must_use]
pub fn start_test_firebase(args: TestFirebase) -> ExitCode {
    run_to_exit_code(Runtime::new(), async {
        start_logging();
        storage::test_firebase(args).await
    })
}

/// Runs a command on a runtime, and prints its error.
fn run_to_exit_code(runtime: io::Result<Runtime>, command: impl Future<Output = Result<(), CommandError>>) -> ExitCode {
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(&format!("cannot start the threads of the runtime: {error}"));
            return ExitCode::from(exit::SYSTEM);
        }
    };
    let result = runtime.block_on(command);
    // All necessary work has ended. A blocking task that waits for a hanging disk must not delay
    // the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print_error(&failure.to_string());
            failure.code()
        }
    }
}

/// Prints an error to standard error. If that fails, the exit code still reports the error.
fn print_error(message: &str) {
    let _ = writeln!(io::stderr(), "error: {message}");
}

/// Creates the runtime: one thread for a peer, one per processor for all other commands.
///
/// A peer passes small messages between tasks, and moving one to another thread costs more than the
/// work itself. Measured with six peers under full load, one thread needs less than half the CPU
/// time.
fn runtime(cli: &Cli) -> io::Result<Runtime> {
    match cli.command {
        Some(CliCommand::Peer(_)) => runtime::Builder::new_current_thread().enable_all().build(),
        _ => Runtime::new(),
    }
}

/// Runs the command until it ends or until a signal stops it.
///
/// # Errors
/// The error message of one line, and the exit code.
async fn run(cli: Cli) -> Result<(), CommandError> {
    // A peer configures its log in its settings, so it starts the log itself.
    if !matches!(cli.command, Some(CliCommand::Peer(_))) {
        start_logging();
    }
    let result = match cli.command {
        None => node::run(cli.node).await,
        Some(CliCommand::Demo(args)) => demo::run(args).await,
        Some(CliCommand::Register(args)) => register::run(args).await,
        Some(CliCommand::Login(args)) => login::log_in(args).await,
        Some(CliCommand::Passwd(args)) => login::change_password(args).await,
        Some(CliCommand::StartHeartbeat(args)) => heartbeat::run(args).await,
        Some(CliCommand::ListOnline(args)) => lists::online(args).await,
        Some(CliCommand::Users(args)) => lists::users(args).await,
        Some(CliCommand::Upload(args)) => upload::run(args).await,
        Some(CliCommand::Images(args)) => lists::images(args).await,
        Some(CliCommand::Download(args)) => download::run(args).await,
        Some(CliCommand::Status(args)) => status::run(args).await,
        Some(CliCommand::Watch(args)) => watch::run(args).await,
        Some(CliCommand::Peer(args)) => peer::run(args).await,
        Some(CliCommand::Storage(command)) => storage::run(command).await,
        Some(CliCommand::Admin(command)) => admin::run(command).await,
        Some(CliCommand::Completions(args)) => completions::completions(&args, Cli::command()),
        Some(CliCommand::Man(args)) => completions::man(&args, Cli::command()),
    };
    match result {
        Err(failure) if failure.is_stdout_closed() => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_program_runs_a_node() {
        let cli = Cli::try_parse_from(["rollcall", "--config", "c.toml", "--this-node", "127.0.0.1:8080"]).unwrap();
        assert!(cli.command.is_none());
        assert!(matches!(Cli::try_parse_from(["rollcall", "demo"]).unwrap().command, Some(CliCommand::Demo(_))));
        assert!(Cli::try_parse_from(["rollcall", "--config", "c.toml", "demo"]).is_err());
    }

    #[test]
    fn the_help_names_the_main_variables_and_all_exit_codes_of_a_node() {
        let help = Cli::command().render_long_help().to_string();
        for word in ["API_PORT", "FIREBASE_BUCKET", "GOOGLE_APPLICATION_CREDENTIALS", "HEARTBEAT_TTL_SECONDS"]
            .into_iter()
            .chain(["S3_BUCKET", "S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AZURE_CONTAINER", "AZURE_STORAGE_ACCOUNT_NAME"])
        {
            assert!(help.contains(word), "{word}");
        }
        for code in exit::NODE_CODES {
            assert!(help.contains(&format!("\n  {code:<3}  ")), "{code}");
        }
        let mut check = Cli::command();
        let check = check.find_subcommand_mut("storage").and_then(|storage| storage.find_subcommand_mut("check"));
        let check = check.expect("a command").render_long_help().to_string();
        for word in ["FIREBASE_BUCKET", "S3_BUCKET", "AZURE_CONTAINER", "data directory"] {
            assert!(check.contains(word), "{word}");
        }
        // `--exit-with-stdin` is hidden.
        assert!(!help.contains("stdin"));
    }
}
