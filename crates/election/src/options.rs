//! The settings of an election.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use crate::load::LoadSource;
use crate::process::Peers;
use rollcall_core::{ClusterKey, Timings};

/// What an election needs to know.
#[derive(Debug)]
pub struct Options {
    /// The members, and what they must have in common.
    pub cluster: ClusterOptions,
    /// Where this node's HTTP API is.
    pub api: ApiOptions,
    /// Whether an orderly end of a link proves that the process at its other end is dead.
    pub trust_end_of_stream: bool,
    /// How this node's load is measured.
    pub load: LoadOptions,
    /// Where the ballot is kept.
    pub ballot: BallotOptions,
    /// A number that the leader's followers are told with each heartbeat; opaque here.
    pub heartbeat_tag: watch::Receiver<u64>,
}

/// The members of a cluster, and what must be the same on all of them.
#[derive(Debug)]
pub struct ClusterOptions {
    /// The members and this node.
    pub peers: Peers,
    /// The bucket's id: only nodes of one bucket form a cluster.
    pub id: Uuid,
    /// The numbers that all nodes share.
    pub timings: Timings,
    /// The secret of the cluster, if it has one: nodes with another one, or none, are refused.
    pub key: Option<ClusterKey>,
}

/// Where a node's HTTP API is.
#[derive(Debug)]
pub struct ApiOptions {
    /// Its URL, without a trailing slash.
    pub url: String,
    /// Its port, for those who ask at the wrong one.
    pub port: u16,
}

/// How a node's load is measured.
#[derive(Debug)]
pub struct LoadOptions {
    /// Where the load comes from.
    pub source: LoadSource,
    /// Between two samples, in milliseconds.
    pub refresh_ms: u64,
}

/// Where a node keeps its ballot.
#[derive(Debug)]
pub struct BallotOptions {
    /// The directory, which exists.
    pub dir: PathBuf,
    /// What keeps other processes from `dir`; held until the last ballot is written.
    pub lock: Option<Arc<File>>,
    /// Whether this node has certainly never been started before, so that no ballot means that it never voted.
    pub first_start: bool,
}
