//! `rollcall peer`: a person, or a script, at a peer. Lines in from standard input, lines out to standard output; what
//! they mean is the business of [`crate::peer::screen`].

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use super::exit::{CONFIGURATION, Failure, SYSTEM};
use super::logging::start_logging_of_peer;
use super::signals::Signals;
use crate::peer::engine::Notice;
use crate::peer::screen::{Command, Dialogue, HELP, history_lines, known_lines, notice_lines};
use crate::peer::settings::{Layer, Settings, SettingsError};
use crate::peer::{Ask, Avatar, MAX_AVATAR_BYTES, Peer, Profile, StartError};

/// Lines that were typed and not read yet.
const LINES: usize = 64;
/// The longest line that is read; the rest of a longer one is thrown away.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// Notices that are written at once.
const BATCH: usize = 256;

const AFTER_HELP: &str = "\
Examples:
  rollcall peer --name alice
  rollcall peer --name bob --no-lan --listen 0.0.0.0:8081 --peers 10.0.0.7:8080
  rollcall peer --name carol --registry http://127.0.0.1:3000,http://127.0.0.1:3001

Environment (a flag wins over a variable, and that over the file; an empty variable counts as unset):
  P2P_NAME, P2P_LAN, P2P_LISTEN_ADDR, P2P_PEERS, P2P_REGISTRY, P2P_DIR     as the flags
  P2P_METRICS_ADDR, P2P_LOG_LEVEL, P2P_LOG_FORMAT                          as --metrics and the flags
  P2P_MAX_CONNECTIONS       peers of the mesh at once, whoever connected [50]
  P2P_CONNECT_TIMEOUT       for connecting, and then for the greeting [10s]
  P2P_HEARTBEAT_INTERVAL    between two heartbeats [30s]
  P2P_HEARTBEAT_TIMEOUT     how late one may be [5s]
  P2P_MESSAGE_BUFFER_SIZE   for so many of the longest messages (64 KiB) the queue to each peer has room [16]
  P2P_DEDUP_CACHE_SIZE      runs of numbers remembered of each sender, so at least as many messages [100]
  P2P_HISTORY_SIZE          messages kept of each sender [100]
  RUST_LOG                  as P2P_LOG_LEVEL, and may name modules; without both, info is logged, and warn on a terminal
The file of --config has the same keys in lower case without P2P_, in YAML or JSON.";

/// The flags of a peer. Each wins over its environment variable, and that over the file.
#[derive(Args, Debug)]
#[command(after_long_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct PeerArgs {
    /// What others see as your name
    #[arg(long)]
    name: Option<String>,

    /// Take part in the chat of this LAN (the default)
    #[arg(long, conflicts_with = "no_lan")]
    lan: bool,

    /// Do not
    #[arg(long)]
    no_lan: bool,

    /// Where other peers of the mesh can connect, HOST:PORT; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    /// Peers of the mesh to connect to, HOST:PORT, separated by commas
    #[arg(long, value_name = "LIST")]
    peers: Option<String>,

    /// Find others, and be found, through the nodes at these URLs, separated by commas
    #[arg(long, value_name = "URL")]
    registry: Option<String>,

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

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(CONFIGURATION, error.to_string())
    }
}

impl From<StartError> for Failure {
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

pub(super) async fn run(args: PeerArgs) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let settings = Settings::read(args.config.as_deref(), &variable, flags(&args))?;
    start_logging_of_peer(&settings);
    let mut signals =
        Signals::listen().map_err(|error| Failure::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let name = settings.name.clone();
    let peer = Peer::start(settings).await?;
    let mut screen = Screen { out: io::stdout(), is_json: args.json, is_verbose: args.verbose };
    screen.ready(&peer, name.as_str());
    let (typed, mut lines) = mpsc::channel(LINES);
    let _kept = if args.no_input {
        // Without input there is no end of input either.
        Some(typed)
    } else {
        read_lines(typed).map_err(|error| Failure::new(SYSTEM, format!("cannot start a thread: {error}")))?;
        None
    };
    let mut session = Session { peer, screen, dialogue: Dialogue::default() };
    let mut told = Vec::new();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) if session.typed(&line).await => {}
                _ => break,
            },
            count = session.peer.notices(&mut told, BATCH) => {
                if count == 0 {
                    break;
                }
                session.screen.tell(&told);
                told.clear();
            }
            _ = signals.next() => break,
        }
    }
    info!("leaving");
    tokio::select! {
        () = session.peer.stop() => {}
        signal = signals.next() => signal.obey(),
    }
    while let Some(notice) = session.peer.try_notice() {
        session.screen.tell(&[notice]);
    }
    Ok(())
}

fn flags(args: &PeerArgs) -> Layer {
    let lan = if args.no_lan { Some("false".to_owned()) } else { args.lan.then(|| "true".to_owned()) };
    let given = [
        ("name", args.name.clone()),
        ("lan", lan),
        ("listen_addr", args.listen.clone()),
        ("peers", args.peers.clone()),
        ("registry", args.registry.clone()),
        ("dir", args.dir.clone()),
        ("metrics_addr", args.metrics.clone()),
        ("log_level", args.log_level.clone()),
        ("log_format", args.log_format.clone()),
    ];
    let values = given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    Layer { place: "command line: ".to_owned(), values }
}

/// The person and the peer.
struct Session {
    peer: Peer,
    screen: Screen,
    dialogue: Dialogue,
}

impl Session {
    /// Does what a line says; whether to go on.
    async fn typed(&mut self, line: &str) -> bool {
        let command = self.dialogue.take(line);
        if let Some(question) = self.dialogue.question() {
            self.screen.ask(question);
        }
        match command {
            None => {}
            Some(Command::Post(text)) => self.want(Ask::Post(text)).await,
            Some(Command::Direct { to, text }) => self.want(Ask::Whisper { to, text }).await,
            Some(Command::Profile { name, status, avatar }) => match read_avatar(&avatar).await {
                Ok(avatar) => self.want(Ask::Introduce(Profile::new(&name, &status, avatar))).await,
                Err(why) => self.screen.tell(&[Notice::Refused { why }]),
            },
            Some(Command::List) => {
                let (answer_in, answer) = oneshot::channel();
                self.want(Ask::List(answer_in)).await;
                let known = answer.await.unwrap_or_default();
                self.screen.show(&json!({"event": "list", "peers": &known}), || known_lines(&known));
            }
            Some(Command::History) => {
                let (answer_in, answer) = oneshot::channel();
                self.want(Ask::History(answer_in)).await;
                let said = answer.await.unwrap_or_default();
                let entries: Vec<_> = said
                    .iter()
                    .map(|(from, entry)| json!({"from": from, "text": entry.text, "said_at": entry.said_at}))
                    .collect();
                self.screen.show(&json!({"event": "history", "messages": entries}), || history_lines(&said));
            }
            Some(Command::Verbose) => {
                self.screen.is_verbose ^= true;
                let mode = if self.screen.is_verbose { "on" } else { "off" };
                let line = format!("Verbose mode is {mode}");
                self.screen.show(&json!({"event": "verbose", "on": self.screen.is_verbose}), || vec![line]);
            }
            Some(Command::Help) => {
                let lines = || HELP.lines().map(str::to_owned).collect();
                self.screen.show(&json!({"event": "help", "text": HELP}), lines);
            }
            Some(Command::Quit) => return false,
        }
        true
    }

    async fn want(&self, ask: Ask) {
        // It fails only when the peer ends, which ends the session, too.
        let _ = self.peer.asks().send(ask).await;
    }
}

/// Standard output. If nobody reads it any more, the chat goes on for the others until the person ends it.
struct Screen {
    out: io::Stdout,
    is_json: bool,
    is_verbose: bool,
}

impl Screen {
    fn ready(&mut self, peer: &Peer, name: &str) {
        let (id, listens_at, lan_port) = (peer.id(), peer.listens_at(), peer.lan_port());
        let event = json!({
            "event": "ready", "name": name, "id": id, "listen": listens_at.to_string(), "lan_port": lan_port,
            "metrics": peer.metrics_at().map(|addr| addr.to_string()),
        });
        let lan = lan_port.map_or_else(|| "no LAN".to_owned(), |port| format!("LAN port {port}"));
        let metrics = peer.metrics_at().map_or_else(String::new, |addr| format!(", metrics at http://{addr}/metrics"));
        let line = format!("{name}, id {id}, listening at {listens_at}, {lan}{metrics}; HELP shows what can be typed");
        self.show(&event, || vec![line]);
    }

    fn tell(&mut self, notices: &[Notice]) {
        let mut text = String::new();
        for notice in notices {
            if self.is_json {
                text.push_str(&serde_json::to_string(notice).expect("notices are plain data"));
                text.push('\n');
            } else {
                for line in notice_lines(notice, self.is_verbose) {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
        self.write(&text);
    }

    fn show(&mut self, event: &serde_json::Value, lines: impl FnOnce() -> Vec<String>) {
        let text = if self.is_json { event.to_string() } else { lines().join("\n") };
        self.write(&format!("{text}\n"));
    }

    /// A question stays on the line on which it is answered.
    fn ask(&mut self, question: &str) {
        if !self.is_json {
            self.write(question);
        }
    }

    fn write(&mut self, text: &str) {
        let mut out = self.out.lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

async fn read_avatar(path: &str) -> Result<Option<Avatar>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // A file that is too large is not read to its end.
        io::Read::read_to_end(
            &mut io::Read::take(std::fs::File::open(path)?, MAX_AVATAR_BYTES as u64 + 1),
            &mut bytes,
        )?;
        Ok(bytes)
    };
    let file = PathBuf::from(path);
    let bytes = tokio::task::spawn_blocking(move || read(&file)).await.map_err(|error| error.to_string())?;
    let bytes = bytes.map_err(|error| format!("cannot read {path}: {error}"))?;
    Avatar::new(&bytes).map(Some).map_err(|why| format!("{path}: {why}"))
}

/// The lines of standard input. A thread and not a task: a read of standard input cannot be interrupted, and the runtime
/// would wait for it at the end; a thread just ends with the process.
fn read_lines(lines: mpsc::Sender<String>) -> io::Result<()> {
    let read = move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match io::Read::take(&mut input, MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE_BYTES && input.skip_until(b'\n').is_err() {
                return;
            }
            if lines.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
    Ok(())
}
