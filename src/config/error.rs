//! Errors in the configuration of a node or of a chat peer. Every text is one line: the place, the
//! value, and the valid values.

use std::path::PathBuf;

use thiserror::Error;

use super::node::flags::DEFAULT_FILE;
use super::origin::Origin;
use rollcall_core::{InvalidClusterKey, NodeAddr};

/// Error in the configuration of a node or of a chat peer.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No source names this node and its peers.
    #[error(
        "no configuration: there is no {DEFAULT_FILE} in this directory; name one with --config FILE, or give --this-node and --peers, or try `rollcall demo`"
    )]
    NoConfiguration,
    /// The file could not be read.
    #[error("cannot read the configuration file {}: {cause}{remedy}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The remedy after a semicolon, or an empty text.
        remedy: &'static str,
        /// The error of the operating system.
        cause: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: not valid TOML: {message}")]
    InvalidToml {
        /// The line.
        origin: Origin,
        /// The error of the parser.
        message: String,
    },
    /// The file is neither YAML nor JSON, or has a list where one value is expected.
    #[error("{name}: {message}")]
    InvalidYaml {
        /// The file, as the user named it.
        name: String,
        /// The error of the parser. It ends with the line and the column.
        message: String,
    },
    /// The file of a chat peer has an unknown key.
    #[error("{origin}: there is no setting {key:?}; there are {all}")]
    UnknownSetting {
        /// The line.
        origin: Origin,
        /// The key.
        key: String,
        /// All known keys, separated by commas.
        all: String,
    },
    /// The file of a node has an unknown key.
    #[error("{origin}: unknown key {key:?}{}", .nearest.map_or_else(
        || "; remove it (config.toml of the distribution lists every key)".to_owned(),
        |name| format!("; did you mean {name}?")
    ))]
    UnknownKey {
        /// The line.
        origin: Origin,
        /// The key.
        key: String,
        /// The known key with the most similar spelling, if any is similar.
        nearest: Option<&'static str>,
    },
    /// A setting that has no default is missing.
    #[error("{key} is not set; {remedy}")]
    Missing {
        /// The setting.
        key: &'static str,
        /// The places in which the setting can be given.
        remedy: String,
    },
    /// A value has the wrong type or is outside its range.
    #[error("{origin}: {key} is {given}, but must be {expected}")]
    Invalid {
        /// The place of the value.
        origin: Origin,
        /// The setting.
        key: &'static str,
        /// The value as the user wrote it, cut to a safe length.
        given: String,
        /// The valid values.
        expected: String,
    },
    /// The node is not a member of its own cluster.
    #[error(
        "{origin}: this_node is {node}, which is not one of peers ({}); add it to peers on every node, or name one of them with --this-node", comma_separated(.peers)
    )]
    NotAPeer {
        /// The place of `this_node`.
        origin: Origin,
        /// The node.
        node: NodeAddr,
        /// The peers.
        peers: Vec<NodeAddr>,
    },
    /// `peers` contains a node twice. The vote of this node would count twice.
    #[error("{origin}: peers names {peer} twice; name every node once")]
    DuplicatePeer {
        /// The place of the second mention.
        origin: Origin,
        /// The node.
        peer: NodeAddr,
    },
    /// There are more nodes than the election supports.
    #[error("{origin}: peers names {count} nodes; use 3 or 5, and at most {max}")]
    TooManyPeers {
        /// The place of the peers.
        origin: Origin,
        /// The number of peers.
        count: usize,
        /// The highest number allowed.
        max: usize,
    },
    /// The range of random election timeouts is empty.
    #[error(
        "{origin}: election_timeout_min_ms is {min_ms} and election_timeout_max_ms is {max_ms}; the minimum must be less than the maximum (3000 and 5000 are good values)"
    )]
    InvalidTimeoutRange {
        /// The place of one of the two values.
        origin: Origin,
        /// The shortest timeout, in milliseconds.
        min_ms: u64,
        /// The longest timeout, in milliseconds.
        max_ms: u64,
    },
    /// The loss of one heartbeat would end the lease.
    #[error(
        "{origin}: heartbeat_interval_ms is {interval_ms}, too slow for an election_timeout_min_ms of {min_ms}: two heartbeats must fit into a lease of 5/6 of it; set heartbeat_interval_ms to at most {max_interval_ms}, or raise election_timeout_min_ms to at least {needed_min_ms}"
    )]
    HeartbeatTooSlow {
        /// The place of one of the two values.
        origin: Origin,
        /// The interval of heartbeats, in milliseconds.
        interval_ms: u64,
        /// The shortest election timeout, in milliseconds.
        min_ms: u64,
        /// The largest `heartbeat_interval_ms` that this timeout allows, in milliseconds.
        max_interval_ms: u64,
        /// The smallest `election_timeout_min_ms` that this interval allows, in milliseconds.
        needed_min_ms: u64,
    },
    /// Both servers of the node would bind the same port.
    #[error("{origin}: api_port is {port}, which is also the election port of this_node; choose another, such as 3000")]
    PortConflict {
        /// The place of one of the two values.
        origin: Origin,
        /// The port.
        port: u16,
    },
    /// The API needs both a certificate and its key for TLS.
    #[error(
        "{origin}: {key} is set, and {missing} is not; set {missing} (or {variable}) too to serve the API by https, \
         or remove {key}"
    )]
    HalfOfTls {
        /// The place of the value.
        origin: Origin,
        /// The setting that is given.
        key: &'static str,
        /// The setting that is missing.
        missing: &'static str,
        /// Its environment variable.
        variable: &'static str,
    },
    /// The URL for clients is one of plain HTTP, and the API speaks TLS only.
    #[error("{origin}: api_url is {url}, but with tls_cert the API speaks https only; begin it with https://")]
    PlainApiUrl {
        /// The place of the value.
        origin: Origin,
        /// The value.
        url: String,
    },
    /// The file with the cluster key cannot be read.
    #[error("cannot read the cluster_key_file {}: {cause}; put the key there, the same on all nodes", .path.display())]
    UnreadableClusterKey {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: std::io::Error,
    },
    /// The file with the cluster key has no valid key.
    #[error("the cluster_key_file {} holds no key: {cause}", .path.display())]
    InvalidClusterKey {
        /// The file.
        path: PathBuf,
        /// The rule that the key breaks.
        cause: InvalidClusterKey,
    },
    /// The cluster key is given twice. The two keys may differ.
    #[error("{origin}: cluster_key_file is set, and cluster_key is set too; give one of the two")]
    DuplicateClusterKey {
        /// The place that names the file.
        origin: Origin,
    },
    /// The links between nodes on several machines have no TLS.
    #[error(
        "{origin}: node_tls is \"off\", but {peer} is not an address of this machine: anybody on the network could read and change what nodes say, and pose as a node; remove node_tls, or set insecure_cluster = true if nobody else uses that network"
    )]
    InsecureCluster {
        /// The place of `node_tls`.
        origin: Origin,
        /// A node that is not on a loopback address.
        peer: NodeAddr,
    },
    /// Certificates of the operator are given for links without TLS.
    #[error("{origin}: node_tls is \"off\", but node_ca, node_cert and node_key are set; remove one or the other")]
    UnusedNodeCertificate {
        /// The place of `node_tls`.
        origin: Origin,
    },
    /// Only a part of the files for TLS between nodes is given.
    #[error("{origin}: node_ca, node_cert and node_key belong together; set all three, or none of them")]
    IncompleteNodeCertificate {
        /// The place of one that is given.
        origin: Origin,
    },
    /// Two storages are chosen at once.
    #[error("two storages are chosen: {key} ({origin}) and {other} ({other_origin}); remove one of the two")]
    TwoStorages {
        /// The setting of one storage.
        key: &'static str,
        /// The place of its value.
        origin: Origin,
        /// The setting of another storage.
        other: &'static str,
        /// The place of its value.
        other_origin: Origin,
    },
    /// A setting that names the file of a secret holds the secret itself. The text does not show
    /// it.
    #[error("{key} holds a key; write the key to a file that only you can read, and give the path of that file")]
    KeyInsteadOfFile {
        /// The setting.
        key: &'static str,
    },
    /// The credentials file of the bucket cannot be read.
    #[error(
        "cannot read the credentials file {}: {cause}; put the service account's JSON file there or name it in GOOGLE_APPLICATION_CREDENTIALS; or unset FIREBASE_BUCKET to keep everything in a local directory", .path.display()
    )]
    UnreadableCredentials {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: std::io::Error,
    },
}

/// The nodes in one line, separated by commas.
fn comma_separated(nodes: &[NodeAddr]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
