//! What can be wrong with a configuration, of a node or a chat peer. Every text is one line: where it stands, what it says, what is right.

use std::path::PathBuf;

use thiserror::Error;

use super::node::flags::DEFAULT_FILE;
use super::origin::Origin;
use rollcall_core::{InvalidClusterKey, NodeAddr};

/// Why a node or a chat peer cannot be started with this configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Nothing says which node this is.
    #[error(
        "no configuration: there is no {DEFAULT_FILE} in this directory; name one with --config FILE, or give --this-node and --peers, or try `rollcall demo`"
    )]
    NoConfiguration,
    /// The file could not be read.
    #[error("cannot read the configuration file {}: {cause}{remedy}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What can be done, after a semicolon; empty where nothing is to be said.
        remedy: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: not valid TOML: {message}")]
    InvalidToml {
        /// The line.
        origin: Origin,
        /// What the parser said.
        message: String,
    },
    /// The file is neither YAML nor JSON, or has a list where one value is right.
    #[error("{name}: {message}")]
    InvalidYaml {
        /// The file, as the user named it.
        name: String,
        /// What the parser said; it ends with the line and the column.
        message: String,
    },
    /// The file of a chat peer has a key that is none.
    #[error("{origin}: there is no setting {key:?}; there are {all}")]
    UnknownSetting {
        /// The line.
        origin: Origin,
        /// The key.
        key: String,
        /// All settings.
        all: String,
    },
    /// The file of a node has a key that means nothing.
    #[error("{origin}: unknown key {key:?}{}", .nearest.map_or_else(
        || "; remove it (config.toml of the distribution lists every key)".to_owned(),
        |name| format!("; did you mean {name}?")
    ))]
    UnknownKey {
        /// The line.
        origin: Origin,
        /// The key.
        key: String,
        /// A key that is spelt much like it.
        nearest: Option<&'static str>,
    },
    /// A setting that has no default is missing.
    #[error("{key} is not set; {remedy}")]
    Missing {
        /// The setting.
        key: &'static str,
        /// Where it can be set.
        remedy: String,
    },
    /// A value is of the wrong type or outside its range.
    #[error("{origin}: {key} is {given}, but must be {expected}")]
    Invalid {
        /// Where the value was given.
        origin: Origin,
        /// The setting.
        key: &'static str,
        /// The value as it was written, cut to a length that is safe to repeat.
        given: String,
        /// What is right.
        expected: String,
    },
    /// The node is not a member of its own cluster.
    #[error(
        "{origin}: this_node is {node}, which is not one of peers ({}); add it to peers on every node, or name one of them with --this-node", list(.peers)
    )]
    NotAPeer {
        /// Where `this_node` was given.
        origin: Origin,
        /// The node.
        node: NodeAddr,
        /// The peers.
        peers: Vec<NodeAddr>,
    },
    /// One node stands twice among the peers: its vote would count twice.
    #[error("{origin}: peers names {peer} twice; name every node once")]
    DuplicatePeer {
        /// The line of the second mention.
        origin: Origin,
        /// The node.
        peer: NodeAddr,
    },
    /// More nodes than the election is made for.
    #[error("{origin}: peers names {count} nodes; use 3 or 5, and at most {max}")]
    TooManyPeers {
        /// Where the peers were given.
        origin: Origin,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// There is no range to draw a timeout from.
    #[error(
        "{origin}: election_timeout_min_ms is {min_ms} and election_timeout_max_ms is {max_ms}; the minimum must be less than the maximum (3000 and 5000 are good values)"
    )]
    InvalidTimeoutRange {
        /// Where one of the two was given.
        origin: Origin,
        /// The shortest timeout.
        min_ms: u64,
        /// The longest timeout.
        max_ms: u64,
    },
    /// One late heartbeat would end the lease.
    #[error(
        "{origin}: heartbeat_interval_ms is {interval_ms}, too slow for an election_timeout_min_ms of {min_ms}: two heartbeats must fit into a lease of 5/6 of it; set heartbeat_interval_ms to at most {max_interval_ms}, or raise election_timeout_min_ms to at least {needed_min_ms}"
    )]
    HeartbeatTooSlow {
        /// Where one of the two was given.
        origin: Origin,
        /// The time between heartbeats.
        interval_ms: u64,
        /// The shortest election timeout.
        min_ms: u64,
        /// The slowest heartbeat that this timeout allows.
        max_interval_ms: u64,
        /// The shortest timeout that this heartbeat allows.
        needed_min_ms: u64,
    },
    /// Both servers of the node would bind one port.
    #[error("{origin}: api_port is {port}, which is also the election port of this_node; choose another, such as 3000")]
    PortConflict {
        /// Where one of the two was given.
        origin: Origin,
        /// The port.
        port: u16,
    },
    /// The file with the cluster's key cannot be read.
    #[error("cannot read the cluster_key_file {}: {cause}; put the key there, the same on all nodes", .path.display())]
    UnreadableClusterKey {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file with the cluster's key holds none.
    #[error("the cluster_key_file {} holds no key: {cause}", .path.display())]
    InvalidClusterKey {
        /// The file.
        path: PathBuf,
        /// What is right.
        cause: InvalidClusterKey,
    },
    /// The cluster's key is given twice, and the two may differ.
    #[error("{origin}: cluster_key_file is set, and cluster_key is set too; give one of the two")]
    DuplicateClusterKey {
        /// Where the file was named.
        origin: Origin,
    },
    /// The key to the bucket is not there.
    #[error(
        "cannot read the credentials file {}: {cause}; put the service account's JSON file there or name it in GOOGLE_APPLICATION_CREDENTIALS; or unset FIREBASE_BUCKET to keep everything in a local directory", .path.display()
    )]
    UnreadableCredentials {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// The nodes in one line.
fn list(nodes: &[NodeAddr]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
