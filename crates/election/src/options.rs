//! Options of an election.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use crate::load::LoadSource;
use crate::process::Peers;
use crate::tls::LinkSecurity;
use rollcall_core::{ClusterKey, Timings};

/// All options of an election.
#[derive(Debug)]
pub struct Options {
    /// The members and the settings that they share.
    pub cluster: ClusterOptions,
    /// Address of this node's HTTP API.
    pub api: ApiOptions,
    /// Whether an orderly end of a link proves that the process at its other end is dead (rule 5).
    pub trust_end_of_stream: bool,
    /// How this node's load is measured.
    pub load: LoadOptions,
    /// Where the ballot is stored.
    pub ballot: BallotOptions,
    /// Opaque number that this node sends with each heartbeat while it leads.
    pub heartbeat_tag: watch::Receiver<u64>,
}

/// The members of a cluster and the settings that must be equal on all of them.
#[derive(Debug)]
pub struct ClusterOptions {
    /// The members, and which of them is this node.
    pub peers: Peers,
    /// Id of the bucket. Only nodes of the same bucket form a cluster.
    pub id: Uuid,
    /// Timings of the election. All nodes have the same.
    pub timings: Timings,
    /// Protection of the links.
    pub security: LinkSecurity,
    /// Shared secret of the cluster. Nodes refuse each other if their keys differ or only one has a
    /// key.
    pub key: Option<ClusterKey>,
}

/// Address of a node's HTTP API.
#[derive(Debug)]
pub struct ApiOptions {
    /// Base URL, without a trailing slash.
    pub url: String,
    /// Port. The response to an HTTP request on the election port contains it.
    pub port: u16,
}

/// How a node's load is measured.
#[derive(Debug)]
pub struct LoadOptions {
    /// Source of the load.
    pub source: LoadSource,
    /// Interval between two samples, in milliseconds.
    pub refresh_ms: u64,
}

/// Where a node stores its ballot.
#[derive(Debug)]
pub struct BallotOptions {
    /// Directory of the ballot file. It must exist.
    pub dir: PathBuf,
    /// Lock that keeps other processes out of `dir`. It is held until the last ballot is written.
    pub lock: Option<Arc<File>>,
    /// Whether this node has certainly never been started before. Then a missing ballot means that
    /// it never voted.
    pub first_start: bool,
}
