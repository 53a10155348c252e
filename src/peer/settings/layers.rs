//! Where settings stand: the file, the environment and the flags, and which of them wins.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::peer::text::harmless;

/// The most characters that are repeated of what a parser says.
const ERROR_CHARS: usize = 400;

/// One value of each setting at most, as text, from one place.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// What the place is called in errors, before the key.
    pub place: String,
    /// `(key, value)`; a list is separated by commas.
    pub values: Vec<(&'static str, String)>,
}

/// A setting, and its environment variable.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) variable: &'static str,
}

pub(super) const KEYS: [Key; 17] = [
    Key { name: "name", variable: "P2P_NAME" },
    Key { name: "listen_addr", variable: "P2P_LISTEN_ADDR" },
    Key { name: "peers", variable: "P2P_PEERS" },
    Key { name: "registry", variable: "P2P_REGISTRY" },
    Key { name: "lan", variable: "P2P_LAN" },
    Key { name: "lan_addresses", variable: "P2P_LAN_ADDRESSES" },
    Key { name: "max_connections", variable: "P2P_MAX_CONNECTIONS" },
    Key { name: "connect_timeout", variable: "P2P_CONNECT_TIMEOUT" },
    Key { name: "heartbeat_interval", variable: "P2P_HEARTBEAT_INTERVAL" },
    Key { name: "heartbeat_timeout", variable: "P2P_HEARTBEAT_TIMEOUT" },
    Key { name: "message_buffer_size", variable: "P2P_MESSAGE_BUFFER_SIZE" },
    Key { name: "dedup_cache_size", variable: "P2P_DEDUP_CACHE_SIZE" },
    Key { name: "history_size", variable: "P2P_HISTORY_SIZE" },
    Key { name: "dir", variable: "P2P_DIR" },
    Key { name: "metrics_addr", variable: "P2P_METRICS_ADDR" },
    Key { name: "log_level", variable: "P2P_LOG_LEVEL" },
    Key { name: "log_format", variable: "P2P_LOG_FORMAT" },
];

/// The environment variables of a peer.
pub fn variables() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.variable)
}

/// What is wrong with the settings; one line.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {cause}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is neither YAML nor JSON, or has a key or type that is wrong.
    #[error("{}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A value is wrong.
    #[error("{place}{name} is {given:?}, but must be {right}")]
    Invalid {
        /// Where it stands.
        place: String,
        /// The setting.
        name: &'static str,
        /// The value, cut to a length that is safe to repeat.
        given: String,
        /// What is right.
        right: &'static str,
    },
}

/// The file. YAML is read, and JSON with it, since that is YAML, too.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileForm {
    name: Option<String>,
    listen_addr: Option<String>,
    peers: Option<Vec<String>>,
    registry: Option<OneOrMany>,
    lan: Option<bool>,
    lan_addresses: Option<Vec<Ipv4Addr>>,
    max_connections: Option<u64>,
    connect_timeout: Option<String>,
    heartbeat_interval: Option<String>,
    heartbeat_timeout: Option<String>,
    message_buffer_size: Option<u64>,
    dedup_cache_size: Option<u64>,
    history_size: Option<u64>,
    dir: Option<String>,
    metrics_addr: Option<String>,
    log_level: Option<String>,
    log_format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// From the one that wins down.
pub(super) struct Layers(pub(super) Vec<Layer>);

impl Layers {
    fn find(&self, name: &str) -> Option<(&Layer, &str)> {
        self.0.iter().find_map(|layer| {
            let (_, value) = layer.values.iter().find(|(key, _)| *key == name)?;
            Some((layer, value.as_str()))
        })
    }

    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        right: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        let Some((layer, text)) = self.find(name) else { return Ok(None) };
        match parse(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(SettingsError::Invalid {
                place: layer.place.clone(),
                name,
                given: text.chars().take(80).collect(),
                right,
            }),
        }
    }

    pub(super) fn list<T>(
        &self,
        name: &'static str,
        right: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, SettingsError> {
        let items = |text: &str| -> Option<Vec<T>> {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(&parse).collect()
        };
        Ok(self.parsed(name, right, items)?.unwrap_or_default())
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<(&'static str, String)>, SettingsError> {
    let form: FileForm = if text.trim().is_empty() {
        FileForm::default()
    } else {
        serde_saphyr::from_str(text).map_err(|error| SettingsError::Syntax {
            path: path.to_owned(),
            // It repeats the file's own words, however long they are.
            message: harmless(&error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "), ERROR_CHARS),
        })?
    };
    let registry = form.registry.map(|registry| match registry {
        OneOrMany::One(url) => url,
        OneOrMany::Many(urls) => urls.join(","),
    });
    let values = [
        ("name", form.name),
        ("listen_addr", form.listen_addr),
        ("peers", form.peers.map(|peers| peers.join(","))),
        ("registry", registry),
        ("lan", form.lan.map(|lan| lan.to_string())),
        (
            "lan_addresses",
            form.lan_addresses.map(|ips| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        ),
        ("max_connections", form.max_connections.map(|count| count.to_string())),
        ("connect_timeout", form.connect_timeout),
        ("heartbeat_interval", form.heartbeat_interval),
        ("heartbeat_timeout", form.heartbeat_timeout),
        ("message_buffer_size", form.message_buffer_size.map(|count| count.to_string())),
        ("dedup_cache_size", form.dedup_cache_size.map(|count| count.to_string())),
        ("history_size", form.history_size.map(|count| count.to_string())),
        ("dir", form.dir),
        ("metrics_addr", form.metrics_addr),
        ("log_level", form.log_level),
        ("log_format", form.log_format),
    ];
    Ok(values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}
