//! Settings of a chat peer: their names and defaults.

use crate::config::setting::{Setting, nearest_key};

pub(super) const NAME: Setting = Setting::new("name", "P2P_NAME");
pub(super) const LISTEN_ADDR: Setting = Setting::new("listen_addr", "P2P_LISTEN_ADDR").with_default("0.0.0.0:0");
pub(super) const PEERS: Setting = Setting::new("peers", "P2P_PEERS").list();
pub(super) const REGISTRY: Setting = Setting::new("registry", "P2P_REGISTRY").list();
pub(super) const REGISTRY_CA: Setting =
    Setting::new("registry_ca", "P2P_REGISTRY_CA").with_env_aliases(&["ROLLCALL_CA"]);
pub(super) const LAN: Setting = Setting::new("lan", "P2P_LAN").with_default("true");
pub(super) const LAN_ADDRESSES: Setting = Setting::new("lan_addresses", "P2P_LAN_ADDRESSES").list();
pub(super) const MAX_CONNECTIONS: Setting = Setting::new("max_connections", "P2P_MAX_CONNECTIONS").with_default("50");
pub(super) const CONNECT_TIMEOUT: Setting = Setting::new("connect_timeout", "P2P_CONNECT_TIMEOUT").with_default("10s");
pub(super) const HEARTBEAT_INTERVAL: Setting =
    Setting::new("heartbeat_interval", "P2P_HEARTBEAT_INTERVAL").with_default("30s");
pub(super) const HEARTBEAT_TIMEOUT: Setting =
    Setting::new("heartbeat_timeout", "P2P_HEARTBEAT_TIMEOUT").with_default("5s");
pub(super) const MESSAGE_BUFFER_SIZE: Setting =
    Setting::new("message_buffer_size", "P2P_MESSAGE_BUFFER_SIZE").with_default("16");
pub(super) const DEDUP_CACHE_SIZE: Setting =
    Setting::new("dedup_cache_size", "P2P_DEDUP_CACHE_SIZE").with_default("100");
pub(super) const HISTORY_SIZE: Setting = Setting::new("history_size", "P2P_HISTORY_SIZE").with_default("100");
pub(super) const DIR: Setting = Setting::new("dir", "P2P_DIR");
pub(super) const METRICS_ADDR: Setting = Setting::new("metrics_addr", "P2P_METRICS_ADDR");
pub(super) const LOG_LEVEL: Setting = Setting::new("log_level", "P2P_LOG_LEVEL");
pub(super) const LOG_FORMAT: Setting = Setting::new("log_format", "P2P_LOG_FORMAT").with_default("text");

/// All settings of a chat peer. The file may have no other key, except those of `is_foreign_key`.
pub const SETTINGS: [&Setting; 18] = [
    &NAME,
    &LISTEN_ADDR,
    &PEERS,
    &REGISTRY,
    &REGISTRY_CA,
    &LAN,
    &LAN_ADDRESSES,
    &MAX_CONNECTIONS,
    &CONNECT_TIMEOUT,
    &HEARTBEAT_INTERVAL,
    &HEARTBEAT_TIMEOUT,
    &MESSAGE_BUFFER_SIZE,
    &DEDUP_CACHE_SIZE,
    &HISTORY_SIZE,
    &DIR,
    &METRICS_ADDR,
    &LOG_LEVEL,
    &LOG_FORMAT,
];

/// The settings of the program of requirement 003.
const FOREIGN_SETTINGS: [&Setting; 10] = [
    &LISTEN_ADDR,
    &PEERS,
    &MAX_CONNECTIONS,
    &CONNECT_TIMEOUT,
    &HEARTBEAT_INTERVAL,
    &HEARTBEAT_TIMEOUT,
    &MESSAGE_BUFFER_SIZE,
    &DEDUP_CACHE_SIZE,
    &LOG_LEVEL,
    &LOG_FORMAT,
];
/// First words of keys of that program: those of its settings, and those of the parts that its
/// documentation names.
const FOREIGN_WORDS: [&str; 14] = [
    "listen",
    "peer",
    "peers",
    "max",
    "connect",
    "connection",
    "heartbeat",
    "message",
    "dedup",
    "reconnect",
    "log",
    "read",
    "write",
    "health",
];

/// Whether an unknown key may come from a file for the program of requirement 003, or a program of
/// its family. Such a program ignores keys that it does not know, so a user who replaces it may
/// have them. The key begins with a word of that program, or is a misspelling of a setting.
pub(super) fn is_foreign_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let word = key.split('_').next().unwrap_or_default();
    FOREIGN_WORDS.contains(&word) || nearest_key(&FOREIGN_SETTINGS, &key).is_some()
}

/// All environment variables of a chat peer's settings.
pub fn env_vars() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().flat_map(|setting| setting.env_names())
}
