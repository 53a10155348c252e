//! `rollcall peer`: a person, or a script, at a peer. What is typed and shown means is the business of
//! [`rollcall_chat::screen`]; a terminal has line editing ([`terminal`]), everything else is lines in, lines out.

mod display;
mod keyboard;
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
use super::logging::{start_logging, start_logging_of_peer};
use super::outlet::Outlet;
use super::password_input::PasswordArgs;
use super::signals::{ShutdownSignals, SignalExit};
use crate::config;
use display::{Display, To};
use keyboard::Keyboard;
use rollcall_chat::settings::Settings;
use rollcall_chat::{Peer, StartError};
use rollcall_core::Password;
use session::Session;
use terminal::Terminal;

/// Notices that are written at once.
const BATCH: usize = 256;
/// How long an orderly end may take after a signal: a second for the terminal, two for the farewell to the links, five for who
/// reads standard output, one for who reads the log.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// At the end nobody waits longer for who reads the log, however slowly.
const PATIENCE_FOR_LOG: Duration = Duration::from_secs(1);

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
        None => TaskTracker::new().spawn(chat(args)).await.unwrap_or_else(|ended| resume_unwind(ended.into_panic())),
    }
}

async fn chat(args: PeerArgs) -> Result<(), CommandError> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let mut settings = config::chat::read(args.config.as_deref(), &variable, &flags(&args))?;
    settings.password = password(&args.password, &settings)?;
    let log = start_logging_of_peer(&settings).map_err(no_thread)?;
    let mut signals = ShutdownSignals::listen()
        .map_err(|error| CommandError::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let ended = converse(args, settings, &mut signals).await;
    tokio::select! {
        _ = timeout(PATIENCE_FOR_LOG, log.end(PATIENCE_FOR_LOG)) => {}
        signal = signals.next() => signal.exit_now(),
    }
    ended
}

/// The peer, until the person, the end of what is read or a signal ends it.
async fn converse(args: PeerArgs, settings: Settings, signals: &mut ShutdownSignals) -> Result<(), CommandError> {
    let (name, dir) = (settings.name.clone(), settings.dir.clone());
    let mut peer = Peer::start(settings).await?;
    let is_terminal = !args.json && !args.no_input && io::stdin().is_terminal() && io::stdout().is_terminal();
    // A terminal that cannot move its cursor is read line by line.
    let opened = if is_terminal { Terminal::open(dir.as_deref(), peer.asks()).map_err(cannot)? } else { None };
    let (mut terminal, mut keyboard) = match opened {
        Some((terminal, keyboard)) => (Some(terminal), keyboard),
        None if args.no_input => (None, Keyboard::none()),
        None => (None, Keyboard::of_lines().map_err(cannot)?),
    };
    let to = match &terminal {
        Some(terminal) => To::Terminal(terminal.above()),
        None => To::Stdout(Outlet::stdout().map_err(no_thread)?),
    };
    let mut display = Display::new(to, args.json, args.verbose);
    display.ready(&peer, name.as_str());
    let mut session = Session::new(peer.asks(), display);
    let (mut told, mut is_broken) = (Vec::new(), false);
    loop {
        tokio::select! {
            input = async { session.display.room_for_answers().await; keyboard.next().await } => {
                let Some(input) = input else {
                    is_broken = terminal.as_mut().is_some_and(Terminal::is_broken);
                    break;
                };
                if !session.typed(input).await {
                    break;
                }
            }
            count = async { session.display.room().await; peer.notices(&mut told, BATCH).await } => {
                if count == 0 {
                    break;
                }
                session.display.tell(&told);
                told.clear();
            }
            () = resumed(&mut terminal) => {}
            signal = signals.next() => {
                obey_in_time(signal).map_err(no_thread)?;
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
    while let Some(notice) = peer.try_notice() {
        session.display.tell(&[notice]);
    }
    tokio::select! {
        () = session.display.end() => {}
        signal = signals.next() => signal.exit_now(),
    }
    if is_broken { Err(CommandError::new(SOFTWARE, "the line editor broke".to_owned())) } else { Ok(()) }
}

/// The password of the name at the registry.
fn password(args: &PasswordArgs, settings: &Settings) -> Result<Option<Password>, CommandError> {
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
fn obey_in_time(signal: SignalExit) -> io::Result<()> {
    let wait = move || {
        thread::sleep(ENDS_WITHIN);
        signal.exit_now()
    };
    thread::Builder::new().name("end".to_owned()).spawn(wait).map(|_| ())
}

#[expect(clippy::needless_pass_by_value, reason = "it maps an error")]
fn no_thread(error: io::Error) -> CommandError {
    CommandError::new(SYSTEM, format!("cannot start a thread: {error}"))
}

/// That reading from the keyboard cannot begin.
#[expect(clippy::needless_pass_by_value, reason = "it maps an error")]
fn cannot(error: io::Error) -> CommandError {
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
