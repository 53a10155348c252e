//! The names of the settings: in the file, in the environment, on the command line. Each stands here and nowhere else.

use super::Flags;

/// One setting's names.
#[derive(Debug)]
pub(super) struct Key {
    /// In the configuration file.
    pub(super) name: &'static str,
    /// In the environment.
    pub(super) variable: &'static str,
    /// On the command line, with how to find it among the flags; `None` where there is no flag.
    pub(super) flag: Option<(&'static str, Flag)>,
    /// Whether the value must never be repeated, not even in an error.
    pub(super) is_secret: bool,
}

/// Finds a flag's text.
type Flag = fn(&Flags) -> Option<&String>;

impl Key {
    const fn new(name: &'static str, variable: &'static str) -> Self {
        Self { name, variable, flag: None, is_secret: false }
    }

    const fn or_flag(mut self, flag: &'static str, find: Flag) -> Self {
        self.flag = Some((flag, find));
        self
    }

    const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }
}

// The variables without our prefix are documented under these names elsewhere and are what people have in their scripts.
pub(super) const THIS_NODE: Key =
    Key::new("this_node", "ROLLCALL_THIS_NODE").or_flag("--this-node", |flags| flags.this_node.as_ref());
pub(super) const PEERS: Key = Key::new("peers", "ROLLCALL_PEERS").or_flag("--peers", |flags| flags.peers.as_ref());
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
pub(super) const API_PORT: Key =
    Key::new("api_port", "API_PORT").or_flag("--api-port", |flags| flags.api_port.as_ref());
pub(super) const API_BIND: Key =
    Key::new("api_bind", "ROLLCALL_API_BIND").or_flag("--api-bind", |flags| flags.api_bind.as_ref());
pub(super) const API_URL: Key =
    Key::new("api_url", "ROLLCALL_API_URL").or_flag("--api-url", |flags| flags.api_url.as_ref());
pub(super) const CORS_ORIGINS: Key = Key::new("cors_origins", "ROLLCALL_CORS_ORIGINS");
pub(super) const HEARTBEAT_TTL: Key = Key::new("heartbeat_ttl_seconds", "HEARTBEAT_TTL_SECONDS");
pub(super) const REQUIRE_PASSWORD: Key = Key::new("require_password", "ROLLCALL_REQUIRE_PASSWORD");
pub(super) const TOKEN_DAYS: Key = Key::new("token_days", "ROLLCALL_TOKEN_DAYS");
pub(super) const DATA_DIR: Key =
    Key::new("data_dir", "ROLLCALL_DATA_DIR").or_flag("--data-dir", |flags| flags.data_dir.as_ref());
pub(super) const BUCKET: Key = Key::new("firebase_bucket", "FIREBASE_BUCKET");
pub(super) const CREDENTIALS: Key = Key::new("google_application_credentials", "GOOGLE_APPLICATION_CREDENTIALS");
pub(super) const EMULATOR: Key = Key::new("storage_emulator_host", "STORAGE_EMULATOR_HOST");
pub(super) const STORAGE_TIMEOUT: Key = Key::new("storage_timeout_ms", "ROLLCALL_STORAGE_TIMEOUT_MS");

/// Every setting; what is not here is no key of the file.
pub(super) const ALL: [&Key; 25] = [
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

/// The key that someone who wrote `unknown` most likely meant.
pub(super) fn nearest(unknown: &str) -> Option<&'static str> {
    let unknown = unknown.to_lowercase().replace('-', "_");
    let close_enough = unknown.len().max(4) / 3;
    ALL.iter()
        .map(|key| (edits(&unknown, key.name), key.name))
        .filter(|(edits, name)| *edits <= close_enough || name.starts_with(&unknown))
        .min()
        .map(|(_, name)| name)
}

/// How many characters must be put in, left out or changed to turn `from` into `to` (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised_and_nonsense_is_not() {
        assert_eq!(nearest("heartbeat_interval"), Some("heartbeat_interval_ms"));
        assert_eq!(nearest("this-node"), Some("this_node"));
        assert_eq!(nearest("peer"), Some("peers"));
        assert_eq!(nearest("API_PORT"), Some("api_port"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest("xyzzyxyzzyxyzzy"), None);
    }

    #[test]
    fn edits_are_counted_as_levenshtein_counts_them() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", "abc"), 0);
    }

    #[test]
    fn no_two_settings_share_a_name() {
        for names in [ALL.map(|key| key.name), ALL.map(|key| key.variable)] {
            let mut sorted = names.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), names.len());
        }
    }
}
