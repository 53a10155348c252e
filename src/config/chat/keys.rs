//! Keys of the chat peer's settings: the only place with their names and variables.

use crate::config::keys::Key;

pub(super) const NAME: Key = Key::new("name", "P2P_NAME");
pub(super) const LISTEN_ADDR: Key = Key::new("listen_addr", "P2P_LISTEN_ADDR");
pub(super) const PEERS: Key = Key::new("peers", "P2P_PEERS").list();
pub(super) const REGISTRY: Key = Key::new("registry", "P2P_REGISTRY").list();
pub(super) const LAN: Key = Key::new("lan", "P2P_LAN");
pub(super) const LAN_ADDRESSES: Key = Key::new("lan_addresses", "P2P_LAN_ADDRESSES").list();
pub(super) const MAX_CONNECTIONS: Key = Key::new("max_connections", "P2P_MAX_CONNECTIONS");
pub(super) const CONNECT_TIMEOUT: Key = Key::new("connect_timeout", "P2P_CONNECT_TIMEOUT");
pub(super) const HEARTBEAT_INTERVAL: Key = Key::new("heartbeat_interval", "P2P_HEARTBEAT_INTERVAL");
pub(super) const HEARTBEAT_TIMEOUT: Key = Key::new("heartbeat_timeout", "P2P_HEARTBEAT_TIMEOUT");
pub(super) const MESSAGE_BUFFER_SIZE: Key = Key::new("message_buffer_size", "P2P_MESSAGE_BUFFER_SIZE");
pub(super) const DEDUP_CACHE_SIZE: Key = Key::new("dedup_cache_size", "P2P_DEDUP_CACHE_SIZE");
pub(super) const HISTORY_SIZE: Key = Key::new("history_size", "P2P_HISTORY_SIZE");
pub(super) const DIR: Key = Key::new("dir", "P2P_DIR");
pub(super) const METRICS_ADDR: Key = Key::new("metrics_addr", "P2P_METRICS_ADDR");
pub(super) const LOG_LEVEL: Key = Key::new("log_level", "P2P_LOG_LEVEL");
pub(super) const LOG_FORMAT: Key = Key::new("log_format", "P2P_LOG_FORMAT");

/// All keys. Any other key in the file is an error.
pub(in crate::config) const ALL: [&Key; 17] = [
    &NAME,
    &LISTEN_ADDR,
    &PEERS,
    &REGISTRY,
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

/// Names of all environment variables with settings of a peer.
pub fn variables() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|key| key.variable)
}
