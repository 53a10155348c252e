//! Configuration of a node: defaults < file (TOML) < environment < flags, validated once.
//!
//! A [`Config`] is valid: no other code validates it again. Loading is pure: it takes the text of
//! the file, a lookup of environment variables, and the flags. Only [`Config::read`] reads from
//! disk. Each submodule holds one concern and its validation. The settings and their defaults are
//! in `settings`.

mod api;
mod base_url;
mod drive;
pub(super) mod flags;
mod key_file;
mod load_source;
mod membership;
mod node_tls;
mod object_store;
mod quotas;
pub(super) mod settings;
mod storage;
mod store_locator;
mod timings;
mod warnings;

use std::fs;
use std::path::{Path, PathBuf};

use rollcall_core::{ClusterKey, NodeAddr, Timings, private_files};

pub use api::{ApiConfig, ApiTlsConfig, CorsConfig};
pub use flags::Flags;
pub use load_source::LoadSourceConfig;
pub use node_tls::{NodeTlsConfig, NodeTlsFiles};
pub use quotas::QuotaConfig;
pub use settings::{AWS_CREDENTIALS, AZURE_CREDENTIALS, DEFAULT_CREDENTIALS, SETTINGS, env_vars};
pub use storage::StorageConfig;
pub use store_locator::{InvalidStoreLocator, StoreLocator};

use super::error::ConfigError;
use super::layers::{Layers, ValidationScope, command_line, environment};
use super::origin::Origin;
use super::toml_file;
use api::read_api;
use flags::DEFAULT_FILE;
use load_source::read_load_source;
use membership::{read_cluster_key, read_membership};
use node_tls::read_node_tls;
use quotas::read_quotas;
use storage::{read_emulator_url, read_storage};
use timings::{MAX_MS, read_timings};
use warnings::{ClusterProtection, warnings};

/// Longest validity of a token, in days. Ten years, so that sums of times do not overflow.
const MAX_TOKEN_DAYS: u64 = 3650;
/// Remedy for a configuration file that cannot be read.
const UNREADABLE_FILE_REMEDY: &str = "; name it with --config FILE, or try `rollcall demo`";

/// The whole configuration of one node.
///
/// Invariant: `node` is one of `peers`, which are sorted, distinct and at most
/// [`rollcall_core::MAX_NODES`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Election address of this node. It is also its name.
    pub node: NodeAddr,
    /// Election addresses of all nodes, this one included.
    pub peers: Vec<NodeAddr>,
    /// Times of the election.
    pub timings: Timings,
    /// Whether the end of a connection without an error proves that the process at its other end is
    /// dead.
    pub trust_end_of_stream: bool,
    /// Secret of the cluster. Nodes accept only nodes with the same key.
    pub cluster_key: Option<ClusterKey>,
    /// The file of the cluster key, if the key is given as a file. [`Config::read`] reads it.
    pub cluster_key_file: Option<PathBuf>,
    /// TLS of the links between nodes.
    pub node_tls: NodeTlsConfig,
    /// Source of this node's load, by which the election chooses a leader.
    pub load_source: LoadSourceConfig,
    /// Time between two samples of the load, in milliseconds. At least 1. Nodes may have different
    /// values.
    pub cpu_refresh_ms: u64,
    /// The HTTP API.
    pub api: ApiConfig,
    /// Presence of clients.
    pub presence: PresenceConfig,
    /// Passwords and tokens of users.
    pub passwords: PasswordConfig,
    /// Whether the API answers as clients of the discovery server (requirement 000) expect: 400 for
    /// a taken name, and heartbeats need no credentials.
    pub discovery_server_compat: bool,
    /// Quotas of clients and users.
    pub quotas: QuotaConfig,
    /// Durable storage.
    pub storage: StorageConfig,
    /// Deadline of one call to the storage, retries included, in milliseconds.
    pub storage_timeout_ms: u64,
    /// Directory in which the nodes of this machine keep their state.
    pub data_dir: PathBuf,
    /// Warnings about values that are valid but probably not intended. One line each.
    pub warnings: Vec<String>,
}

/// Rule by which a client counts as online.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PresenceConfig {
    /// Time that a client stays online after its last heartbeat, in milliseconds.
    pub ttl_ms: u64,
}

/// Users' passwords and tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PasswordConfig {
    /// Whether every user must have a password.
    pub required: bool,
    /// Validity of a token, in seconds.
    pub token_seconds: u64,
}

impl Config {
    /// Loads the configuration. `file` is the name and text of the configuration file, if there is
    /// one. `env` looks up an environment variable.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn load(
        file: Option<(&str, &str)>,
        env: &dyn Fn(&str) -> Option<String>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        build(&layers(file, env, flags.values())?, env, file.is_some())
    }

    /// Reads the file that the flags name, or `config.toml` if it exists, and loads the
    /// configuration. Then reads the cluster key if it is given as a file, and checks that the
    /// credentials file is readable. The node itself reads the certificate of the API.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn read(env: &dyn Fn(&str) -> Option<String>, flags: &Flags) -> Result<Self, ConfigError> {
        let file = read_file(flags)?;
        let mut config = Self::load(file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), env, flags)?;
        if let Some(path) = &config.cluster_key_file {
            config.cluster_key = Some(read_key_file(path)?);
            config.warnings.extend(private_files::exposure(path));
        }
        config.warnings.extend(config.api.tls.iter().filter_map(|tls| private_files::exposure(&tls.key)));
        if let NodeTlsConfig::Files(files) = &config.node_tls {
            config.warnings.extend(private_files::exposure(&files.private_key));
        }
        if let StorageConfig::Gcs { credentials, endpoint: None, .. } = &config.storage {
            fs::read(credentials)
                .map_err(|cause| ConfigError::UnreadableCredentials { path: credentials.clone(), cause })?;
        }
        Ok(config)
    }

    /// Reads the storage alone, from the same file, environment and flags. Other settings may be
    /// missing.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn read_storage(env: &dyn Fn(&str) -> Option<String>, flags: &Flags) -> Result<StorageConfig, ConfigError> {
        let file = read_file(flags)?;
        let layers = layers(file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), env, flags.values())?;
        read_storage(&layers, env, &layers.path(&settings::DATA_DIR)?)
    }

    /// Reads the storage and the cluster key alone, as [`Config::read_storage`] does.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn read_secrets(
        env: &dyn Fn(&str) -> Option<String>,
        flags: &Flags,
    ) -> Result<(StorageConfig, Option<ClusterKey>), ConfigError> {
        let file = read_file(flags)?;
        let layers = layers(file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), env, flags.values())?;
        let (key, key_file) = read_cluster_key(&layers)?;
        let key = key_file.map(|path| read_key_file(&path)).transpose()?.or(key);
        Ok((read_storage(&layers, env, &layers.path(&settings::DATA_DIR)?)?, key))
    }

    /// Reads the storage from the environment alone. Without a bucket there it is a local
    /// directory.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn read_storage_of_environment(env: &dyn Fn(&str) -> Option<String>) -> Result<StorageConfig, ConfigError> {
        let layers = layers(None, env, [])?;
        read_storage(&layers, env, &layers.path(&settings::DATA_DIR)?)
    }

    /// Reads the storage that a locator names instead of the settings. `flag` is the flag that gave
    /// the locator. Credentials and endpoints come from the same file, environment and flags as for
    /// a node.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn read_store(
        env: &dyn Fn(&str) -> Option<String>,
        flags: &Flags,
        flag: &'static str,
        locator: &StoreLocator,
    ) -> Result<StorageConfig, ConfigError> {
        let file = read_file(flags)?;
        let place =
            locator.settings().into_iter().map(|(setting, value)| (setting.key, value.to_owned(), Origin::Flag(flag)));
        let given = flags.values().chain(place);
        let layers = layers(file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), env, given)?;
        locator.storage(&layers, env)
    }

    /// The directory that belongs to this node alone.
    #[must_use]
    pub fn node_dir(&self) -> PathBuf {
        self.data_dir.join(self.node.to_string())
    }
}

/// Reads the file of the cluster key.
fn read_key_file(path: &Path) -> Result<ClusterKey, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|cause| ConfigError::UnreadableClusterKey { path: path.to_owned(), cause })?;
    text.parse().map_err(|cause| ConfigError::InvalidClusterKey { path: path.to_owned(), cause })
}

/// Reads the file that the flags name, or the default file. Returns its name and text. `None` if
/// the default file does not exist: the environment and the flags may be enough.
fn read_file(flags: &Flags) -> Result<Option<(String, String)>, ConfigError> {
    let path = flags.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(cause) if flags.config.is_none() && cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(ConfigError::Unreadable { path: path.to_owned(), remedy: UNREADABLE_FILE_REMEDY, cause }),
    }
}

/// The layers of the configuration. `file` is the name and text of the configuration file, `flags`
/// the values of the command line.
fn layers(
    file: Option<(&str, &str)>,
    env: &dyn Fn(&str) -> Option<String>,
    flags: impl IntoIterator<Item = (&'static str, String, Origin)>,
) -> Result<Layers, ConfigError> {
    let file = file.map(|(name, text)| toml_file::parse(&SETTINGS, name, text)).transpose()?;
    let environment = environment(&SETTINGS, env, Origin::EnvVar);
    let command_line = command_line(flags);
    Ok(Layers::new(&SETTINGS, ValidationScope::Winner, command_line, environment, file.unwrap_or_default()))
}

/// Builds and validates the configuration. `has_file` changes only the error of a missing setting.
fn build(layers: &Layers, env: &dyn Fn(&str) -> Option<String>, has_file: bool) -> Result<Config, ConfigError> {
    let (node, peers) = read_membership(layers, has_file)?;
    let data_dir = layers.path(&settings::DATA_DIR)?;
    let timings = read_timings(layers)?;
    let storage = read_storage(layers, env, &data_dir)?;
    let storage_timeout_ms = layers
        .number_in(&settings::STORAGE_TIMEOUT, 1..=MAX_MS)?
        .map_or(storage.default_timeout_ms(), |given| given.value);
    let is_emulator_unused = matches!(storage, StorageConfig::Local { .. }) && read_emulator_url(layers)?.is_some();
    let (cluster_key, cluster_key_file) = read_cluster_key(layers)?;
    let node_tls = read_node_tls(layers, &peers)?;
    let has_no_key = cluster_key.is_none() && cluster_key_file.is_none();
    let is_reachable = peers.len() > 1 && !node.value.socket_addr().ip().is_loopback();
    let protection = ClusterProtection {
        is_open_to_others: has_no_key && is_reachable && node_tls == NodeTlsConfig::Off,
        are_secrets_readable: has_no_key && matches!(storage, StorageConfig::Gcs { .. }),
        is_insecure_unused: node_tls != NodeTlsConfig::Off && layers.bool(&settings::INSECURE_CLUSTER)?,
    };
    let discovery_server_compat = layers.bool(&settings::DISCOVERY_SERVER_COMPAT)?;
    let warnings = warnings(&peers, is_emulator_unused, protection, discovery_server_compat);
    Ok(Config {
        node: node.value,
        cluster_key,
        cluster_key_file,
        node_tls,
        timings,
        trust_end_of_stream: layers.bool(&settings::TRUST_END_OF_STREAM)?,
        load_source: read_load_source(layers)?,
        cpu_refresh_ms: layers.number(&settings::CPU_REFRESH, MAX_MS)?.value,
        api: read_api(layers, &node)?,
        presence: PresenceConfig { ttl_ms: 1000 * layers.number(&settings::HEARTBEAT_TTL, MAX_MS / 1000)?.value },
        passwords: PasswordConfig {
            required: layers.bool(&settings::REQUIRE_PASSWORD)?,
            token_seconds: 24 * 60 * 60 * layers.number(&settings::TOKEN_DAYS, MAX_TOKEN_DAYS)?.value,
        },
        discovery_server_compat,
        quotas: read_quotas(layers)?,
        storage,
        storage_timeout_ms,
        data_dir,
        warnings,
        peers,
    })
}

#[cfg(test)]
mod tests;
