//! `rollcall peer`: runs a chat peer for a user or a script.
//!
//! [`rollcall_chat::console`] parses the input and formats the output. On a terminal the input line
//! can be edited ([`terminal`]); otherwise the command reads lines from standard input and writes
//! lines to standard output.

mod display;
mod input;
mod scan;
mod session;
mod terminal;

use std::future::pending;
use std::io::{self, IsTerminal};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::exit::{CONFIGURATION, CommandError, SOFTWARE, SYSTEM, USAGE};
use super::logging::{start_logging, start_peer_logging};
use super::non_blocking_writer::NonBlockingWriter;
use super::password_input::PasswordArgs;
use super::signals::{ShutdownSignals, SignalExit};
use crate::config;
use display::{ChatDisplay, DisplayTarget};
use input::InputSource;
use rollcall_chat::settings::PeerSettings;
use rollcall_chat::{Peer, StartError};
use rollcall_core::Password;
use session::ChatSession;
use terminal::Terminal;

/// Largest number of notices that are written at once.
const NOTICE_BATCH: usize = 256;
/// Time for an orderly shutdown after a signal. The steps take at most 9 s: the terminal 1 s, the
/// last messages 6 s, the reader of standard output 2 s (not with a terminal), and the reader of
/// the log 1 s. Without last messages, the links take 2 s.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait during the shutdown until the log is written.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Examples:
  rollcall peer --name alice
  rollcall peer --name bob --no-lan --listen 0.0.0.0:8081 --peers 10.0.0.7:8080
  rollcall peer --name carol --registry http://127.0.0.1:3000,http://127.0.0.1:3001
  rollcall peer --name dave --registry http://127.0.0.1:3000 --password      # asks for the password of the name
  rollcall peer scan

Environment (a flag overrides a variable, and a variable overrides the file; an empty variable counts as unset; an invalid
value is an error, even if it is overridden):
  P2P_NAME, P2P_LAN, P2P_LISTEN_ADDR, P2P_PEERS, P2P_REGISTRY, P2P_DIR     as the flags
  P2P_METRICS_ADDR, P2P_LAN_ADDRESSES, P2P_LOG_LEVEL, P2P_LOG_FORMAT       as --metrics and the flags
  P2P_MAX_CONNECTIONS       largest number of mesh connections, dialled and accepted together [50]
  P2P_CONNECT_TIMEOUT       timeout for connecting, and again for the exchange of greetings [10s]
  P2P_HEARTBEAT_INTERVAL    time between two heartbeats [30s]; at most 1.5s to a peer of another program
  P2P_HEARTBEAT_TIMEOUT     how late a heartbeat may be [5s]
  P2P_MESSAGE_BUFFER_SIZE   capacity of the send queue to each peer, in messages of the largest size (64 KiB) [16]
  P2P_DEDUP_CACHE_SIZE      ranges of message numbers remembered for each sender, each of at least one message [100]
  P2P_HISTORY_SIZE          messages of each sender in the history [100]
  ROLLCALL_PASSWORD         the password of the name at the registry, if it has one
  RUST_LOG                  as P2P_LOG_LEVEL, also per module; the default is info, and warn on a terminal
The file of --config has the same keys in lower case without P2P_, in YAML or JSON.";

/// Flags of `rollcall peer`. A flag overrides its environment variable, and a variable overrides
/// the file.
#[derive(Args, Debug)]
#[command(version, after_long_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct PeerArgs {
    #[command(subcommand)]
    command: Option<PeerCommand>,

    /// Name that other users see
    #[arg(long)]
    name: Option<String>,

    /// Take part in the chat of this LAN (the default)
    #[arg(long, conflicts_with = "no_lan")]
    lan: bool,

    /// Take no part in the chat of this LAN, only in the mesh
    #[arg(long)]
    no_lan: bool,

    /// Send LAN broadcasts only to these addresses, such as the broadcast address of one network
    #[arg(long, value_name = "LIST")]
    lan_addresses: Option<String>,

    /// Address at which other peers of the mesh can connect, HOST:PORT; :PORT means all addresses
    /// of this machine, and port 0 any free port
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    /// Peers of the mesh to connect to, HOST:PORT, separated by commas
    #[arg(long, value_name = "LIST")]
    peers: Option<String>,

    /// Peer of the mesh to connect to, HOST:PORT, in addition to --peers; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    peer: Vec<String>,

    /// Find other peers, and be found, through the registry nodes at these URLs, separated by
    /// commas
    #[arg(long, value_name = "URL")]
    registry: Option<String>,

    /// PEM file with the certificates of the authorities to trust for registry nodes with https,
    /// instead of those of the system
    #[arg(long, value_name = "FILE")]
    registry_ca: Option<String>,

    #[command(flatten)]
    password: PasswordArgs,

    /// File with settings in YAML or JSON
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory in which the identity and the history are stored
    #[arg(long, value_name = "DIR")]
    dir: Option<String>,

    /// Serve /healthz and /metrics (for Prometheus) at this address; a port without a host means
    /// this machine only
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<String>,

    /// Level of the log on standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// Format of the log: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// Do not read standard input; run until a signal, for services and containers
    #[arg(long)]
    no_input: bool,

    /// Write events as lines of JSON
    #[arg(long)]
    json: bool,

    /// Show more details from the start, as after VERBOSE
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum PeerCommand {
    /// Show the peers on this LAN, and possible reasons if there are none
    Scan(scan::ScanArgs),
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Listen { .. } | StartError::Metrics { .. } | StartError::Lan(_) | StartError::Dir { .. } => {
                SYSTEM
            }
            StartError::Name(_) | StartError::Registry(_) | StartError::RegistryCa(_) => CONFIGURATION,
        };
        Self::new(code, error.to_string())
    }
}

pub(super) async fn run(args: PeerArgs) -> Result<(), CommandError> {
    match args.command {
        Some(PeerCommand::Scan(args)) => {
            start_logging();
            scan::run(args).await
        }
        // Run as a spawned task, because tasks are polled more often: the runtime polls the future
        // of `block_on` only after it has polled the I/O driver.
        None => {
            TaskTracker::new().spawn(run_chat(args)).await.unwrap_or_else(|ended| resume_unwind(ended.into_panic()))
        }
    }
}

/// Reads the settings, starts the log, and runs the chat until it ends.
async fn run_chat(args: PeerArgs) -> Result<(), CommandError> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let config::chat::ChatConfig { mut settings, warnings } =
        config::chat::read(args.config.as_deref(), &variable, &flags(&args))?;
    settings.password = password(&args.password, &settings)?;
    let log = start_peer_logging(&settings).map_err(thread_error)?;
    for warning in warnings {
        warn!("{warning}");
    }
    let mut signals = ShutdownSignals::listen()
        .map_err(|error| CommandError::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let result = run_session(args, settings, &mut signals).await;
    tokio::select! {
        _ = timeout(LOG_FLUSH_TIMEOUT, log.flush(LOG_FLUSH_TIMEOUT)) => {}
        signal = signals.next() => signal.exit_now(),
    }
    result
}

/// Runs the peer until the user quits, the input ends or a signal arrives.
async fn run_session(
    args: PeerArgs,
    settings: PeerSettings,
    signals: &mut ShutdownSignals,
) -> Result<(), CommandError> {
    let (name, dir) = (settings.name.clone(), settings.dir.clone());
    let mut peer = Peer::start(settings).await?;
    let is_terminal = !args.json && !args.no_input && io::stdin().is_terminal() && io::stdout().is_terminal();
    // A terminal that cannot move its cursor has no line editing and is read line by line.
    let opened = if is_terminal { Terminal::open(dir.as_deref(), peer.requests()).map_err(input_error)? } else { None };
    let (mut terminal, mut input_source) = match opened {
        Some((terminal, input_source)) => (Some(terminal), input_source),
        None if args.no_input => (None, InputSource::none()),
        None => (None, InputSource::from_stdin().map_err(input_error)?),
    };
    let target = match &terminal {
        Some(terminal) => DisplayTarget::Terminal(terminal.pending_output()),
        None => DisplayTarget::Stdout(NonBlockingWriter::stdout().map_err(thread_error)?),
    };
    let mut display = ChatDisplay::new(target, args.json, args.verbose);
    display.show_ready(&peer, name.as_str());
    let mut session = ChatSession::new(peer.requests(), display);
    let (mut notices, mut has_editor_panicked) = (Vec::new(), false);
    loop {
        tokio::select! {
            input = async { session.display.wait_for_room_for_replies().await; input_source.next().await } => {
                let Some(input) = input else {
                    has_editor_panicked = terminal.as_mut().is_some_and(Terminal::has_editor_panicked);
                    break;
                };
                if !session.handle_input(input).await {
                    break;
                }
            }
            count = async { session.display.wait_for_room().await; peer.notices(&mut notices, NOTICE_BATCH).await } => {
                if count == 0 {
                    break;
                }
                session.display.show_notices(&notices);
                notices.clear();
            }
            () = resumed(&mut terminal) => {}
            signal = signals.next() => {
                force_exit_after_timeout(signal).map_err(thread_error)?;
                break;
            }
        }
    }
    if let Some(terminal) = &mut terminal {
        terminal.close();
    }
    info!("leaving");
    let mut stopping = std::pin::pin!(peer.stop());
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => signal.exit_now(),
            () = &mut stopping => break,
            count = peer.notices(&mut notices, NOTICE_BATCH) => {
                session.display.show_notices(&notices);
                notices.clear();
                if count == 0 {
                    stopping.await;
                    break;
                }
            }
        }
    }
    while let Some(notice) = peer.try_recv_notice() {
        session.display.show_notices(&[notice]);
    }
    tokio::select! {
        () = session.display.flush() => {}
        signal = signals.next() => signal.exit_now(),
    }
    if has_editor_panicked { Err(CommandError::new(SOFTWARE, "the line editor failed".to_owned())) } else { Ok(()) }
}

/// Password of the name at the registry.
///
/// # Errors
/// A password without a registry, or an invalid password.
fn password(args: &PasswordArgs, settings: &PeerSettings) -> Result<Option<Password>, CommandError> {
    if settings.registry.is_empty() {
        let message = "a password needs a registry; set --registry to the URL of a node";
        return if args.is_given() { Err(CommandError::new(USAGE, message)) } else { Ok(None) };
    }
    let password = args.optional(false)?.map(Password::check).transpose();
    password.map_err(|invalid| CommandError::new(USAGE, invalid.to_string()))
}

/// Waits until the terminal is resumed after a stop. Never returns without a terminal.
async fn resumed(terminal: &mut Option<Terminal>) {
    match terminal {
        Some(terminal) => terminal.resumed().await,
        None => pending().await,
    }
}

/// Starts a thread that ends the process after [`SHUTDOWN_TIMEOUT`] if the shutdown is blocked. For
/// example, a write to a terminal whose output was stopped with Ctrl-S never returns.
fn force_exit_after_timeout(signal: SignalExit) -> io::Result<()> {
    let wait = move || {
        thread::sleep(SHUTDOWN_TIMEOUT);
        signal.exit_now()
    };
    thread::Builder::new().name("end".to_owned()).spawn(wait).map(|_| ())
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes the error by value")]
fn thread_error(error: io::Error) -> CommandError {
    CommandError::new(SYSTEM, format!("cannot start a thread: {error}"))
}

/// Error if the input cannot be opened.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes the error by value")]
fn input_error(error: io::Error) -> CommandError {
    CommandError::new(SYSTEM, format!("cannot read the input: {error}"))
}

/// The given flags, as pairs of the key of a setting and its value.
fn flags(args: &PeerArgs) -> Vec<(&'static str, String)> {
    let lan = if args.no_lan { Some("false".to_owned()) } else { args.lan.then(|| "true".to_owned()) };
    let all_peers: Vec<String> = args.peers.iter().chain(&args.peer).cloned().collect();
    let peers = (!all_peers.is_empty()).then(|| all_peers.join(","));
    let given = [
        ("name", args.name.clone()),
        ("lan", lan),
        ("lan_addresses", args.lan_addresses.clone()),
        ("listen_addr", args.listen.clone()),
        ("peers", peers),
        ("registry", args.registry.clone()),
        ("registry_ca", args.registry_ca.clone()),
        ("dir", args.dir.clone()),
        ("metrics_addr", args.metrics.clone()),
        ("log_level", args.log_level.clone()),
        ("log_format", args.log_format.clone()),
    ];
    given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}
