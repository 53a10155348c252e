//! Settings of a peer. Whoever starts one reads and checks them.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::PeerEndpoint;
use super::nickname::Nickname;
use rollcall_core::Password;

/// A peer's settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSettings {
    /// What the peer is called.
    pub name: Nickname,
    /// Where it listens for the mesh; port 0 takes any that is free.
    pub listen_addr: String,
    /// Peers that are dialled for ever.
    pub peers: Vec<PeerEndpoint>,
    /// Base URLs of nodes of the registry.
    pub registry: Vec<String>,
    /// The password of its name there. Not a setting of the file or the environment of a peer: whoever reads the command line
    /// adds it.
    pub password: Option<Password>,
    /// Whether it takes part in the LAN.
    pub lan: bool,
    /// Where it tells the LAN what is for all, such as the broadcast address of one network; empty: on every network.
    pub lan_addresses: Vec<Ipv4Addr>,
    /// The most peers of the mesh at once, whoever dialled.
    pub max_connections: usize,
    /// For connecting, and then for the greeting.
    pub connect_timeout: Duration,
    /// Between two heartbeats.
    pub heartbeat_interval: Duration,
    /// How late one may be.
    pub heartbeat_timeout: Duration,
    /// For how many messages of the greatest length (64 KiB) each link's queue has room.
    pub message_buffer_size: usize,
    /// How many runs of numbers are remembered of each sender, so at least as many messages.
    pub dedup_cache_size: usize,
    /// How many messages are kept of each sender.
    pub history_size: usize,
    /// Where identity and history are kept; `None`: in memory.
    pub dir: Option<PathBuf>,
    /// Where it serves its health and its metrics, `host:port`; port 0 takes any that is free.
    pub metrics_addr: Option<String>,
    /// How much is logged; `None`: as `RUST_LOG` says, else as whoever starts the log thinks fit.
    pub log_level: Option<LogLevel>,
    /// In which form.
    pub log_format: LogFormat,
}

/// How much is logged.
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
    /// All levels, the one that logs least first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As it is written.
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

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: each line is an object.
    Json,
}
