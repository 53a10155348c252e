//! Settings of a node: the only place with their names and defaults.

use crate::config::setting::Setting;

/// Default path of the service account's key file.
pub const DEFAULT_CREDENTIALS: &str = "credentials/firebase-storage.json";

// The variables without the prefix ROLLCALL_ have names that the requirements or Google's tools
// define.
pub(super) const THIS_NODE: Setting = Setting::new("this_node", "ROLLCALL_THIS_NODE").with_flag("--this-node");
pub(super) const PEERS: Setting = Setting::new("peers", "ROLLCALL_PEERS").list().with_flag("--peers");
pub(super) const HEARTBEAT_INTERVAL: Setting =
    Setting::new("heartbeat_interval_ms", "ROLLCALL_HEARTBEAT_INTERVAL_MS").with_default("1000");
pub(super) const ELECTION_TIMEOUT_MIN: Setting =
    Setting::new("election_timeout_min_ms", "ROLLCALL_ELECTION_TIMEOUT_MIN_MS").with_default("3000");
pub(super) const ELECTION_TIMEOUT_MAX: Setting =
    Setting::new("election_timeout_max_ms", "ROLLCALL_ELECTION_TIMEOUT_MAX_MS").with_default("5000");
pub(super) const LEADER_TERM: Setting = Setting::new("leader_term_ms", "ROLLCALL_LEADER_TERM_MS").with_default("10000");
pub(super) const NET_TIMEOUT: Setting = Setting::new("net_timeout_ms", "ROLLCALL_NET_TIMEOUT_MS").with_default("2000");
pub(super) const CPU_REFRESH: Setting = Setting::new("cpu_refresh_ms", "ROLLCALL_CPU_REFRESH_MS").with_default("500");
pub(super) const ELECTION_RETRY: Setting =
    Setting::new("election_retry_ms", "ROLLCALL_ELECTION_RETRY_MS").with_default("100");
pub(super) const TRUST_END_OF_STREAM: Setting =
    Setting::new("trust_end_of_stream", "ROLLCALL_TRUST_END_OF_STREAM").with_default("true");
pub(super) const CLUSTER_KEY: Setting = Setting::new("cluster_key", "ROLLCALL_CLUSTER_KEY").secret();
pub(super) const CLUSTER_KEY_FILE: Setting = Setting::new("cluster_key_file", "ROLLCALL_CLUSTER_KEY_FILE");
pub(super) const LOAD_SOURCE: Setting = Setting::new("load_source", "ROLLCALL_LOAD_SOURCE").with_default("cpu");
pub(super) const API_PORT: Setting = Setting::new("api_port", "API_PORT").with_flag("--api-port").with_default("3000");
pub(super) const API_BIND: Setting =
    Setting::new("api_bind", "ROLLCALL_API_BIND").with_flag("--api-bind").with_default("0.0.0.0");
pub(super) const API_URL: Setting = Setting::new("api_url", "ROLLCALL_API_URL").with_flag("--api-url");
pub(super) const CORS_ORIGINS: Setting = Setting::new("cors_origins", "ROLLCALL_CORS_ORIGINS").list().with_default("*");
/// The default is three heartbeat intervals: clients send a heartbeat every 10 s.
pub(super) const HEARTBEAT_TTL: Setting =
    Setting::new("heartbeat_ttl_seconds", "HEARTBEAT_TTL_SECONDS").with_default("30");
pub(super) const REQUIRE_PASSWORD: Setting =
    Setting::new("require_password", "ROLLCALL_REQUIRE_PASSWORD").with_default("false");
pub(super) const DISCOVERY_SERVER_COMPAT: Setting =
    Setting::new("discovery_server_compat", "ROLLCALL_DISCOVERY_SERVER_COMPAT").with_default("false");
pub(super) const TOKEN_DAYS: Setting = Setting::new("token_days", "ROLLCALL_TOKEN_DAYS").with_default("30");
pub(super) const DATA_DIR: Setting =
    Setting::new("data_dir", "ROLLCALL_DATA_DIR").with_flag("--data-dir").with_default("data");
pub(super) const BUCKET: Setting = Setting::new("firebase_bucket", "FIREBASE_BUCKET");
pub(super) const CREDENTIALS: Setting =
    Setting::new("google_application_credentials", "GOOGLE_APPLICATION_CREDENTIALS").with_default(DEFAULT_CREDENTIALS);
pub(super) const EMULATOR: Setting = Setting::new("storage_emulator_host", "STORAGE_EMULATOR_HOST");
pub(super) const STORAGE_TIMEOUT: Setting =
    Setting::new("storage_timeout_ms", "ROLLCALL_STORAGE_TIMEOUT_MS").with_default("5000");

/// All settings of a node. Any other key in the configuration file is an error.
pub const SETTINGS: [&Setting; 26] = [
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
    &DISCOVERY_SERVER_COMPAT,
    &DATA_DIR,
    &BUCKET,
    &CREDENTIALS,
    &EMULATOR,
    &STORAGE_TIMEOUT,
];

/// The environment variables of all settings. The demo removes them from the environment of its
/// nodes.
pub fn env_vars() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.env)
}
