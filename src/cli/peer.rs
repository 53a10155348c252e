//! `rollcall peer`: a person, or a script, at a peer. What is typed and shown means is the business of
//! [`rollcall_chat::console`]; a terminal has line editing ([`terminal`]), everything else is lines in, lines out.

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
use tracing::info;

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

/// Notices that are written at once.
const NOTICE_BATCH: usize = 256;
/// How long an orderly end may take after a signal: a second for the terminal, two for the farewell to the links, five for who
/// reads standard output, one for who reads the log.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// At the end nobody waits longer for who reads the log, however slowly.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Examples:
  rollcall peer --name alice
  rollcall peer --name bob --no-lan --listen 0.0.0.0:8081 --peers 10.0.0.7:8080
  rollcall peer --name carol --registry http://127.0.0.1:3000,http://127.0.0.1:3001
  rollcall peer --name dave --registry http://127.0.0.1:3000 --password      # asks for the password of that name
  rollcall peer scan

Environment (a flag wins over a variable, and that over the file; an empty variable counts as unset, and what cannot be
read is refused wherever it stands):
  P2P_NAME, P2P_LAN, P2P_LISTEN_ADDR, P2P_PEERS, P2P_REGISTRY, P2P_DIR     as the flags
  P2P_METRICS_ADDR, P2P_LAN_ADDRESSES, P2P_LOG_LEVEL, P2P_LOG_FORMAT       as --metrics and the flags
  P2P_MAX_CONNECTIONS       peers of the mesh at once, whoever connected [50]
  P2P_CONNECT_TIMEOUT       for connecting, and then for the greeting [10s]
  P2P_HEARTBEAT_INTERVAL    between two heartbeats [30s]
  P2P_HEARTBEAT_TIMEOUT     how late one may be [5s]
  P2P_MESSAGE_BUFFER_SIZE   for so many of the longest messages (64 KiB) the queue to each peer has room [16]
  P2P_DEDUP_CACHE_SIZE      runs of numbers remembered of each sender, so at least as many messages [100]
  P2P_HISTORY_SIZE          messages kept of each sender [100]
  ROLLCALL_PASSWORD         the password of the name at the registry, if it has one
  RUST_LOG                  as P2P_LOG_LEVEL, and may name modules; without both, info is logged, and warn on a terminal
The file of --config has the same keys in lower case without P2P_, in YAML or JSON.";

/// The flags of a peer. Each wins over its environment variable, and that over the file.
#[derive(Args, Debug)]
#[command(after_long_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct PeerArgs {
    #[command(subcommand)]
    command: Option<PeerCommand>,

    /// What others see as your name
    #[arg(long)]
    name: Option<String>,

    /// Take part in the chat of this LAN (the default)
    #[arg(long, conflicts_with = "no_lan")]
    lan: bool,

    /// Take no part in the chat of this LAN: the mesh alone
    #[arg(long)]
    no_lan: bool,

    /// Tell the LAN what is for all at these addresses only, such as the broadcast address of one network
    #[arg(long, value_name = "LIST")]
    lan_addresses: Option<String>,

    /// Where other peers of the mesh can connect, HOST:PORT; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    /// Peers of the mesh to connect to, HOST:PORT, separated by commas
    #[arg(long, value_name = "LIST")]
    peers: Option<String>,

    /// Find others, and be found, through the nodes at these URLs, separated by commas
    #[arg(long, value_name = "URL")]
    registry: Option<String>,

    #[command(flatten)]
    password: PasswordArgs,

    /// Settings in YAML or JSON
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Keep who you are, and what was said, in this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<String>,

    /// Serve /healthz and /metrics (for Prometheus) here; a port alone is for this machine alone
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<String>,

    /// How much is logged to standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// How it is logged: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// Read nothing from standard input, and go on until a signal comes: for services and containers
    #[arg(long)]
    no_input: bool,

    /// Write events as lines of JSON
    #[arg(long)]
    json: bool,

    /// Show more from the start, as after VERBOSE
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum PeerCommand {
    /// Show who is on this LAN, and why nobody seems to be
    Scan(scan::ScanArgs),
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Listen { .. } | StartError::Metrics { .. } | StartError::Lan(_) | StartError::Dir { .. } => {
                SYSTEM
            }
            StartError::Name(_) | StartError::Registry(_) => CONFIGURATION,
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
        // A task of its own: what the runtime itself waits for is polled only after another look at all sockets.
        None => {
            TaskTracker::new().spawn(run_chat(args)).await.unwrap_or_else(|ended| resume_unwind(ended.into_panic()))
        }
    }
}

async fn run_chat(args: PeerArgs) -> Result<(), CommandError> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let mut settings = config::chat::read(args.config.as_deref(), &variable, &flags(&args))?;
    settings.password = password(&args.password, &settings)?;
    let log = start_peer_logging(&settings).map_err(thread_error)?;
    let mut signals = ShutdownSignals::listen()
        .map_err(|error| CommandError::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let ended = run_session(args, settings, &mut signals).await;
    tokio::select! {
        _ = timeout(LOG_FLUSH_TIMEOUT, log.flush(LOG_FLUSH_TIMEOUT)) => {}
        signal = signals.next() => signal.exit_now(),
    }
    ended
}

/// The peer, until the person, the end of what is read or a signal ends it.
async fn run_session(
    args: PeerArgs,
    settings: PeerSettings,
    signals: &mut ShutdownSignals,
) -> Result<(), CommandError> {
    let (name, dir) = (settings.name.clone(), settings.dir.clone());
    let mut peer = Peer::start(settings).await?;
    let is_terminal = !args.json && !args.no_input && io::stdin().is_terminal() && io::stdout().is_terminal();
    // A terminal that cannot move its cursor is read line by line.
    let opened = if is_terminal { Terminal::open(dir.as_deref(), peer.requests()).map_err(input_error)? } else { None };
    let (mut terminal, mut input_source) = match opened {
        Some((terminal, input_source)) => (Some(terminal), input_source),
        None if args.no_input => (None, InputSource::none()),
        None => (None, InputSource::from_stdin().map_err(input_error)?),
    };
    let to = match &terminal {
        Some(terminal) => DisplayTarget::Terminal(terminal.pending_output()),
        None => DisplayTarget::Stdout(NonBlockingWriter::stdout().map_err(thread_error)?),
    };
    let mut display = ChatDisplay::new(to, args.json, args.verbose);
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
    tokio::select! {
        () = peer.stop() => {}
        signal = signals.next() => signal.exit_now(),
    }
    while let Some(notice) = peer.try_recv_notice() {
        session.display.show_notices(&[notice]);
    }
    tokio::select! {
        () = session.display.flush() => {}
        signal = signals.next() => signal.exit_now(),
    }
    if has_editor_panicked { Err(CommandError::new(SOFTWARE, "the line editor broke".to_owned())) } else { Ok(()) }
}

/// The password of the name at the registry.
fn password(args: &PasswordArgs, settings: &PeerSettings) -> Result<Option<Password>, CommandError> {
    if settings.registry.is_empty() {
        let why = "a password is for a name at the registry; say with --registry where that is";
        return if args.is_given() { Err(CommandError::new(USAGE, why)) } else { Ok(None) };
    }
    let password = args.optional(false)?.map(Password::check).transpose();
    password.map_err(|invalid| CommandError::new(USAGE, invalid.to_string()))
}

async fn resumed(terminal: &mut Option<Terminal>) {
    match terminal {
        Some(terminal) => terminal.resumed().await,
        None => pending().await,
    }
}

/// Sees to it that the signal is obeyed, however much stands in the way of an orderly end: a terminal whose output was
/// stopped (Ctrl-S), for instance, takes in nothing for ever, and whoever writes to it waits as long.
fn force_exit_after_timeout(signal: SignalExit) -> io::Result<()> {
    let wait = move || {
        thread::sleep(SHUTDOWN_TIMEOUT);
        signal.exit_now()
    };
    thread::Builder::new().name("end".to_owned()).spawn(wait).map(|_| ())
}

#[expect(clippy::needless_pass_by_value, reason = "it maps an error")]
fn thread_error(error: io::Error) -> CommandError {
    CommandError::new(SYSTEM, format!("cannot start a thread: {error}"))
}

/// That reading from the keyboard cannot begin.
#[expect(clippy::needless_pass_by_value, reason = "it maps an error")]
fn input_error(error: io::Error) -> CommandError {
    CommandError::new(SYSTEM, format!("cannot read what is typed: {error}"))
}

fn flags(args: &PeerArgs) -> Vec<(&'static str, String)> {
    let lan = if args.no_lan { Some("false".to_owned()) } else { args.lan.then(|| "true".to_owned()) };
    let given = [
        ("name", args.name.clone()),
        ("lan", lan),
        ("lan_addresses", args.lan_addresses.clone()),
        ("listen_addr", args.listen.clone()),
        ("peers", args.peers.clone()),
        ("registry", args.registry.clone()),
        ("dir", args.dir.clone()),
        ("metrics_addr", args.metrics.clone()),
        ("log_level", args.log_level.clone()),
        ("log_format", args.log_format.clone()),
    ];
    given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}
