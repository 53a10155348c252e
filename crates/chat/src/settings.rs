//! Validated settings of a peer. The caller reads and checks them.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::PeerEndpoint;
use super::nickname::Nickname;
use rollcall_core::Password;

/// A peer's settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSettings {
    /// Name of the peer.
    pub name: Nickname,
    /// Address at which it listens for mesh connections, `host:port`. Port 0 means any free port.
    pub listen_addr: String,
    /// Peers that are dialled for as long as the process runs.
    pub peers: Vec<PeerEndpoint>,
    /// Base URLs of registry nodes. Empty if the peer uses no registry.
    pub registry: Vec<String>,
    /// PEM file with the certificates of the authorities to trust for registry nodes with https.
    /// `None` for the authorities of the system.
    pub registry_ca: Option<PathBuf>,
    /// Password of the name at the registry. The layered configuration has no key for it: the
    /// caller takes it from the command line or from `ROLLCALL_PASSWORD`.
    pub password: Option<Password>,
    /// Whether the peer uses the LAN transport.
    pub lan: bool,
    /// Destinations of datagrams for all LAN peers, such as the broadcast address of one network.
    /// Empty for every network.
    pub lan_addresses: Vec<Ipv4Addr>,
    /// Largest number of mesh links, dialled and accepted together.
    pub max_connections: usize,
    /// Timeout for a TCP connect. The exchange of greetings has the same timeout.
    pub connect_timeout: Duration,
    /// Time between two heartbeats on a link.
    pub heartbeat_interval: Duration,
    /// Time by which a heartbeat may be late before the link counts as dead.
    pub heartbeat_timeout: Duration,
    /// Capacity of the send queue of each link, in messages of the largest size (64 KiB).
    pub message_buffer_size: usize,
    /// Largest number of ranges of received message numbers that are kept per sender, for
    /// deduplication. Each range covers at least one message.
    pub dedup_cache_size: usize,
    /// Largest number of messages per sender in the history.
    pub history_size: usize,
    /// Directory for the peer id and the history; `None` keeps both in memory only.
    pub dir: Option<PathBuf>,
    /// Address of `/healthz` and `/metrics`, `host:port`. Port 0 means any free port.
    pub metrics_addr: Option<String>,
    /// Log level; `None` for that of `RUST_LOG`, or else the default of the caller.
    pub log_level: Option<LogLevel>,
    /// Format of the log.
    pub log_format: LogFormat,
}

/// Log level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the levels have their usual names")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// All levels, the least verbose first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The name in settings files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Log format.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}
