//! What a node is told before it starts: flag over environment over file over default, checked once.
//!
//! A [`Config`] that exists is right: nobody checks again. Loading is pure (the file's text, a way to look up a
//! variable, the flags); only [`Config::read`] touches the disk. Nothing here knows what a setting is good for beyond
//! the rules that keep it from doing harm.

mod build;
mod error;
mod flags;
mod keys;
mod layers;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use rollcall_core::{ClusterKey, NodeAddr};

pub use build::DEFAULT_CREDENTIALS;
pub use error::{ConfigError, Origin};
pub use flags::Flags;
pub use keys::variables;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "config.toml";

/// The whole configuration of one node.
///
/// Invariant: `node` is one of `peers`, which are sorted, distinct and at most [`rollcall_core::MAX_NODES`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// This node.
    pub node: NodeAddr,
    /// All nodes, this one included.
    pub peers: Vec<NodeAddr>,
    /// The election's times.
    pub timings: Timings,
    /// Whether the orderly end of a connection proves that the node at its other end is dead.
    pub trust_end_of_stream: bool,
    /// The secret that all nodes share; only nodes that hold it form a cluster.
    pub cluster_key: Option<ClusterKey>,
    /// Where [`Config::read`] found it, if it was in a file of its own.
    pub cluster_key_file: Option<PathBuf>,
    /// Where the election reads how busy this node is.
    pub load_source: LoadSource,
    /// Between two samples of the load, in milliseconds; not 0. Nodes may differ in it.
    pub cpu_refresh_ms: u64,
    /// The HTTP API.
    pub api: Api,
    /// Who is online.
    pub presence: Presence,
    /// Users' passwords.
    pub passwords: Passwords,
    /// What lasts.
    pub storage: Storage,
    /// The deadline of one call to the storage, retries included.
    pub storage_timeout_ms: u64,
    /// Where the nodes of this machine keep their state.
    pub data_dir: PathBuf,
    /// What is allowed, but most likely not meant; a line each.
    pub warnings: Vec<String>,
}

/// Where the election reads how busy a node is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoadSource {
    /// The processors of this machine, or of this process's share of it.
    Cpu,
    /// A file with the load, for hosts that know better and for tests.
    File(PathBuf),
}

/// The HTTP API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Api {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port to listen on, not 0 and not the election's.
    pub port: u16,
    /// Where clients reach it, without a trailing slash: `http://127.0.0.1:3000`.
    pub url: String,
    /// Which web pages may read it.
    pub cors: Cors,
}

/// Which web pages a browser may let read the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cors {
    /// None but its own.
    Off,
    /// All.
    Any,
    /// Those of these origins (`https://example.org`).
    Only(Vec<String>),
}

/// Who counts as online.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Presence {
    /// How long after its last heartbeat a client is online.
    pub ttl_ms: u64,
}

/// Users' passwords and tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Passwords {
    /// Whether a user must have one.
    pub required: bool,
    /// For how long a token is good.
    pub token_seconds: u64,
}

/// What lasts, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Storage {
    /// A directory of this machine.
    Local {
        /// The directory.
        dir: PathBuf,
    },
    /// A bucket of Google Cloud Storage, which is what Firebase Storage is.
    Gcs {
        /// The bucket's name, without a scheme.
        bucket: String,
        /// The service account's JSON file; not read when there is an `endpoint`.
        credentials: PathBuf,
        /// An emulator's URL without a trailing slash, spoken to without credentials.
        endpoint: Option<String>,
    },
}

impl Config {
    /// Puts the configuration together. `file` is the name and text of the configuration file, if there is one;
    /// `variable` looks up an environment variable.
    ///
    /// # Errors
    /// [`ConfigError`], the first one found.
    pub fn load(
        file: Option<(&str, &str)>,
        variable: &dyn Fn(&str) -> Option<String>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        build::build(file, variable, flags)
    }

    /// Reads the file that the flags name, or [`DEFAULT_FILE`] if it exists, loads the configuration, reads the cluster's
    /// key if it is in a file of its own, and looks whether the credentials are there.
    ///
    /// # Errors
    /// [`ConfigError`], the first one found.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>, flags: &Flags) -> Result<Self, ConfigError> {
        let path = flags.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            // Nobody asked for the default file, so the rest may be enough without it.
            Err(cause) if flags.config.is_none() && cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => return Err(ConfigError::Unreadable { path: path.to_owned(), cause }),
        };
        let name = path.display().to_string();
        let mut config = Self::load(text.as_deref().map(|text| (name.as_str(), text)), variable, flags)?;
        if let Some(path) = &config.cluster_key_file {
            let text =
                fs::read_to_string(path).map_err(|cause| ConfigError::NoClusterKey { path: path.clone(), cause })?;
            let key = text.parse().map_err(|cause| ConfigError::BadClusterKey { path: path.clone(), cause })?;
            config.cluster_key = Some(key);
        }
        if let Storage::Gcs { credentials, endpoint: None, .. } = &config.storage {
            fs::read(credentials).map_err(|cause| ConfigError::NoCredentials { path: credentials.clone(), cause })?;
        }
        Ok(config)
    }

    /// The directory that belongs to this node alone.
    #[must_use]
    pub fn node_dir(&self) -> PathBuf {
        self.data_dir.join(self.node.to_string())
    }
}

impl Api {
    /// The address to bind.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}

#[cfg(test)]
mod tests;
