//! Settings of a node: each name stands here and nowhere else.

use crate::config::keys::Key;

// The variables without our prefix are documented under these names elsewhere and are what people have in their scripts.
pub(super) const THIS_NODE: Key = Key::new("this_node", "ROLLCALL_THIS_NODE").or_flag("--this-node");
pub(super) const PEERS: Key = Key::new("peers", "ROLLCALL_PEERS").list().or_flag("--peers");
pub(super) const HEARTBEAT_INTERVAL: Key = Key::new("heartbeat_interval_ms", "ROLLCALL_HEARTBEAT_INTERVAL_MS");
pub(super) const ELECTION_TIMEOUT_MIN: Key = Key::new("election_timeout_min_ms", "ROLLCALL_ELECTION_TIMEOUT_MIN_MS");
pub(super) const ELECTION_TIMEOUT_MAX: Key = Key::new("election_timeout_max_ms", "ROLLCALL_ELECTION_TIMEOUT_MAX_MS");
pub(super) const LEADER_TERM: Key = Key::new("leader_term_ms", "ROLLCALL_LEADER_TERM_MS");
pub(super) const NET_TIMEOUT: Key = Key::new("net_timeout_ms", "ROLLCALL_NET_TIMEOUT_MS");
pub(super) const CPU_REFRESH: Key = Key::new("cpu_refresh_ms", "ROLLCALL_CPU_REFRESH_MS");
pub(super) const ELECTION_RETRY: Key = Key::new("election_retry_ms", "ROLLCALL_ELECTION_RETRY_MS");
pub(super) const TRUST_END_OF_STREAM: Key = Key::new("trust_end_of_stream", "ROLLCALL_TRUST_END_OF_STREAM");
pub(super) const CLUSTER_KEY: Key = Key::new("cluster_key", "ROLLCALL_CLUSTER_KEY").secret();
pub(super) const CLUSTER_KEY_FILE: Key = Key::new("cluster_key_file", "ROLLCALL_CLUSTER_KEY_FILE");
pub(super) const LOAD_SOURCE: Key = Key::new("load_source", "ROLLCALL_LOAD_SOURCE");
pub(super) const API_PORT: Key = Key::new("api_port", "API_PORT").or_flag("--api-port");
pub(super) const API_BIND: Key = Key::new("api_bind", "ROLLCALL_API_BIND").or_flag("--api-bind");
pub(super) const API_URL: Key = Key::new("api_url", "ROLLCALL_API_URL").or_flag("--api-url");
pub(super) const CORS_ORIGINS: Key = Key::new("cors_origins", "ROLLCALL_CORS_ORIGINS").list();
pub(super) const HEARTBEAT_TTL: Key = Key::new("heartbeat_ttl_seconds", "HEARTBEAT_TTL_SECONDS");
pub(super) const REQUIRE_PASSWORD: Key = Key::new("require_password", "ROLLCALL_REQUIRE_PASSWORD");
pub(super) const TOKEN_DAYS: Key = Key::new("token_days", "ROLLCALL_TOKEN_DAYS");
pub(super) const DATA_DIR: Key = Key::new("data_dir", "ROLLCALL_DATA_DIR").or_flag("--data-dir");
pub(super) const BUCKET: Key = Key::new("firebase_bucket", "FIREBASE_BUCKET");
pub(super) const CREDENTIALS: Key = Key::new("google_application_credentials", "GOOGLE_APPLICATION_CREDENTIALS");
pub(super) const EMULATOR: Key = Key::new("storage_emulator_host", "STORAGE_EMULATOR_HOST");
pub(super) const STORAGE_TIMEOUT: Key = Key::new("storage_timeout_ms", "ROLLCALL_STORAGE_TIMEOUT_MS");

/// Every setting; what is not here is no key of the file.
pub(in crate::config) const ALL: [&Key; 25] = [
    &THIS_NODE,
    &PEERS,
    &HEARTBEAT_INTERVAL,
    &ELECTION_TIMEOUT_MIN,
    &ELECTION_TIMEOUT_MAX,
    &LEADER_TERM,
    &NET_TIMEOUT,
    &CPU_REFRESH,
    &ELECTION_RETRY,
    &TRUST_END_OF_STREAM,
    &CLUSTER_KEY,
    &CLUSTER_KEY_FILE,
    &LOAD_SOURCE,
    &API_PORT,
    &API_BIND,
    &API_URL,
    &CORS_ORIGINS,
    &HEARTBEAT_TTL,
    &REQUIRE_PASSWORD,
    &TOKEN_DAYS,
    &DATA_DIR,
    &BUCKET,
    &CREDENTIALS,
    &EMULATOR,
    &STORAGE_TIMEOUT,
];

/// Every environment variable that changes a node's configuration, for those who start a node that must not inherit any.
pub fn variables() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|key| key.variable)
}
