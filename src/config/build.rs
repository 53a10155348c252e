//! Makes a [`Config`] of the layers: a function a concern, each with the checks of its own values. The defaults stand
//! here and nowhere else; those of the election are the documented ones.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::Uri;

use super::layers::{Given, Layers};
use super::{Api, Config, ConfigError, Cors, Flags, LoadSource, Passwords, Presence, Storage, keys};
use rollcall_core::{ClusterKey, MAX_NODES, MIN_KEY_CHARS, NodeAddr, Timings};

/// No time may be longer: one that is, is a slip of the pen, and sums of times must not overflow.
const MAX_MS: u64 = 24 * 60 * 60 * 1000;
const DEFAULT_API_PORT: u64 = 3000;
const DEFAULT_DATA_DIR: &str = "data";
/// Where the key of the service account is kept if nothing else is said.
pub const DEFAULT_CREDENTIALS: &str = "credentials/firebase-storage.json";
/// Three of the heartbeats that clients are told to send, 10 s apart.
const DEFAULT_TTL_SECONDS: u64 = 30;
const DEFAULT_TOKEN_DAYS: u64 = 30;
/// Ten years: whoever wants more wants no end, and sums of times must not overflow.
const MAX_TOKEN_DAYS: u64 = 3650;
const DEFAULT_STORAGE_TIMEOUT_MS: u64 = 5000;
/// What stands for "no origin" where an empty text would count as unset.
const NO_ORIGIN: &str = "none";

const KEYLESS: &str = "there is no cluster_key, so whoever reaches the election port can pose as a node; set the same \
     cluster_key on all nodes (ROLLCALL_CLUSTER_KEY or cluster_key_file)";

const RIGHT_NODE: &str = "an IP:PORT that the other nodes can dial, such as \"10.40.6.26:8080\"";
const RIGHT_PEERS: &str = "a list of IP:PORT that every node can dial, such as [\"10.40.6.26:8080\"]";
const RIGHT_IP: &str = "an IP address of this machine, \"0.0.0.0\" for all, or \"127.0.0.1\" for this machine alone";
const RIGHT_URL: &str = "a URL such as \"http://10.40.6.26:3000\"";
const RIGHT_LOAD_SOURCE: &str = "\"cpu\" or \"file:PATH\"";
const RIGHT_ORIGINS: &str = "\"*\" for all web pages, \"none\", or a list of origins such as \"https://example.org\"";
const RIGHT_BUCKET: &str =
    "the name of a bucket without gs:// and without a path, such as \"your-project.firebasestorage.app\"";
const RIGHT_PATH: &str = "a path in quotes";

pub(super) fn build(
    file: Option<(&str, &str)>,
    variable: &dyn Fn(&str) -> Option<String>,
    flags: &Flags,
) -> Result<Config, ConfigError> {
    let (name, text) = file.unzip();
    let layers = Layers::new(name.unwrap_or_default(), text, variable, flags)?;
    let (node, peers) = membership(&layers, text.is_some())?;
    let data_dir = path(&layers, &keys::DATA_DIR, DEFAULT_DATA_DIR)?;
    let timings = timings(&layers)?;
    let storage = storage(&layers, &data_dir)?;
    let emulator_alone = matches!(storage, Storage::Local { .. }) && emulator(&layers)?.is_some();
    let (cluster_key, cluster_key_file) = cluster_key(&layers)?;
    let is_keyless = cluster_key.is_none() && cluster_key_file.is_none();
    let mut warnings = warnings(&peers, emulator_alone);
    if is_keyless && peers.len() > 1 && !node.value.socket_addr().ip().is_loopback() {
        warnings.push(KEYLESS.to_owned());
    }
    Ok(Config {
        node: node.value,
        cluster_key,
        cluster_key_file,
        timings,
        trust_end_of_stream: layers.switch(&keys::TRUST_END_OF_STREAM, true)?,
        load_source: load_source(&layers)?,
        cpu_refresh_ms: layers.number(&keys::CPU_REFRESH, MAX_MS, 500)?.value,
        api: api(&layers, &node)?,
        presence: Presence {
            ttl_ms: 1000 * layers.number(&keys::HEARTBEAT_TTL, MAX_MS / 1000, DEFAULT_TTL_SECONDS)?.value,
        },
        passwords: Passwords {
            required: layers.switch(&keys::REQUIRE_PASSWORD, false)?,
            token_seconds: 24 * 60 * 60 * layers.number(&keys::TOKEN_DAYS, MAX_TOKEN_DAYS, DEFAULT_TOKEN_DAYS)?.value,
        },
        storage,
        storage_timeout_ms: layers.number(&keys::STORAGE_TIMEOUT, MAX_MS, DEFAULT_STORAGE_TIMEOUT_MS)?.value,
        data_dir,
        warnings,
        peers,
    })
}

/// This node and all nodes, sorted.
fn membership(layers: &Layers<'_>, has_file: bool) -> Result<(Given<NodeAddr>, Vec<NodeAddr>), ConfigError> {
    let node = layers.parsed::<NodeAddr>(&keys::THIS_NODE, RIGHT_NODE)?;
    let listed = layers.list(&keys::PEERS, RIGHT_PEERS)?;
    let (node, listed) = match (node, listed) {
        (Some(node), Some(listed)) => (node, listed),
        (_, _) if !has_file => return Err(ConfigError::Nothing),
        (None, _) => return Err(unset(&keys::THIS_NODE)),
        (_, None) => return Err(unset(&keys::PEERS)),
    };
    let mut peers = Vec::new();
    for text in &listed.value {
        let peer: Given<NodeAddr> = text.parse(&keys::PEERS, RIGHT_PEERS)?;
        if peers.contains(&peer.value) {
            return Err(ConfigError::PeerTwice { origin: peer.origin, peer: peer.value });
        }
        peers.push(peer.value);
    }
    if peers.len() > MAX_NODES {
        return Err(ConfigError::TooManyPeers { origin: listed.origin, count: peers.len(), most: MAX_NODES });
    }
    peers.sort_unstable();
    if !peers.contains(&node.value) {
        return Err(ConfigError::NotAPeer { origin: node.origin, node: node.value, peers });
    }
    Ok((node, peers))
}

fn unset(key: &keys::Key) -> ConfigError {
    let flag = key.flag.map_or_else(String::new, |(flag, _)| format!(", with {flag}"));
    let remedy = format!("set it in the configuration file{flag} or in {}", key.variable);
    ConfigError::Unset { name: key.name, remedy }
}

fn timings(layers: &Layers<'_>) -> Result<Timings, ConfigError> {
    let heartbeat = layers.number(&keys::HEARTBEAT_INTERVAL, MAX_MS, 1000)?;
    let min = layers.number(&keys::ELECTION_TIMEOUT_MIN, MAX_MS, 3000)?;
    let max = layers.number(&keys::ELECTION_TIMEOUT_MAX, MAX_MS, 5000)?;
    if min.value >= max.value {
        let origin = min.origin.or(&max.origin);
        return Err(ConfigError::NoTimeoutRange { origin, min_ms: min.value, max_ms: max.value });
    }
    // 2 × heartbeat < 5/6 × minimum, in whole numbers: a lease must outlive the loss of one heartbeat.
    if 12 * heartbeat.value >= 5 * min.value {
        return Err(ConfigError::HeartbeatTooSlow {
            origin: heartbeat.origin.or(&min.origin),
            interval_ms: heartbeat.value,
            min_ms: min.value,
            most_ms: (5 * min.value - 1) / 12,
            least_min_ms: 12 * heartbeat.value / 5 + 1,
        });
    }
    Ok(Timings {
        heartbeat_interval_ms: heartbeat.value,
        election_timeout_min_ms: min.value,
        election_timeout_max_ms: max.value,
        leader_term_ms: layers.number(&keys::LEADER_TERM, MAX_MS, 10_000)?.value,
        net_timeout_ms: layers.number(&keys::NET_TIMEOUT, MAX_MS, 2000)?.value,
        election_retry_ms: layers.number(&keys::ELECTION_RETRY, MAX_MS, 100)?.value,
    })
}

/// The cluster's key, or the file that holds it.
fn cluster_key(layers: &Layers<'_>) -> Result<(Option<ClusterKey>, Option<PathBuf>), ConfigError> {
    let right = format!("a text of at least {MIN_KEY_CHARS} characters, the same on all nodes");
    let key = layers.parsed(&keys::CLUSTER_KEY, &right)?.map(|given| given.value);
    let Some(file) = layers.text(&keys::CLUSTER_KEY_FILE, RIGHT_PATH)? else { return Ok((key, None)) };
    if key.is_some() {
        return Err(ConfigError::TwoClusterKeys { origin: file.origin });
    }
    if file.value.is_empty() {
        return Err(file.invalid(&keys::CLUSTER_KEY_FILE, RIGHT_PATH));
    }
    Ok((None, Some(PathBuf::from(file.value))))
}

fn load_source(layers: &Layers<'_>) -> Result<LoadSource, ConfigError> {
    let Some(given) = layers.text(&keys::LOAD_SOURCE, RIGHT_LOAD_SOURCE)? else { return Ok(LoadSource::Cpu) };
    match given.value.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(LoadSource::File(PathBuf::from(path))),
        None if given.value == "cpu" => Ok(LoadSource::Cpu),
        _ => Err(given.invalid(&keys::LOAD_SOURCE, RIGHT_LOAD_SOURCE)),
    }
}

fn api(layers: &Layers<'_>, node: &Given<NodeAddr>) -> Result<Api, ConfigError> {
    let given = layers.number(&keys::API_PORT, u64::from(u16::MAX), DEFAULT_API_PORT)?;
    let port = u16::try_from(given.value).expect("the number was read as at most u16::MAX");
    let election = node.value.socket_addr();
    if port == election.port() {
        return Err(ConfigError::PortTaken { origin: given.origin.or(&node.origin), port });
    }
    let bind = layers.parsed(&keys::API_BIND, RIGHT_IP)?.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |given| given.value);
    let url = match layers.text(&keys::API_URL, RIGHT_URL)? {
        Some(given) => url(&given.value).ok_or_else(|| given.invalid(&keys::API_URL, RIGHT_URL))?,
        // The standard library writes an IPv6 address in brackets before a port, as a URL does.
        None => format!("http://{}", SocketAddr::new(election.ip(), port)),
    };
    Ok(Api { bind, port, url, cors: cors(layers)? })
}

/// A base URL without its trailing slash.
fn url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host =
        uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    (is_http && has_host && uri.query().is_none() && !text.contains('#')).then(|| text.trim_end_matches('/').to_owned())
}

fn cors(layers: &Layers<'_>) -> Result<Cors, ConfigError> {
    let Some(given) = layers.list(&keys::CORS_ORIGINS, RIGHT_ORIGINS)? else { return Ok(Cors::Any) };
    let origins: Vec<&str> = given.value.iter().map(|origin| origin.value.as_str()).collect();
    match origins[..] {
        [] | [NO_ORIGIN] => return Ok(Cors::Off),
        ["*"] => return Ok(Cors::Any),
        _ => {}
    }
    // A browser sends scheme, host and port alone, so an origin with a path would never match.
    let is_origin = |text: &str| url(text).is_some_and(|url| url == text && url.matches('/').count() == 2);
    match given.value.iter().find(|origin| !is_origin(&origin.value)) {
        Some(wrong) => Err(wrong.invalid(&keys::CORS_ORIGINS, RIGHT_ORIGINS)),
        None => Ok(Cors::Only(origins.into_iter().map(str::to_owned).collect())),
    }
}

fn storage(layers: &Layers<'_>, data_dir: &std::path::Path) -> Result<Storage, ConfigError> {
    let Some(given) = layers.text(&keys::BUCKET, RIGHT_BUCKET)? else {
        return Ok(Storage::Local { dir: data_dir.join("bucket") });
    };
    if !is_bucket_name(&given.value) {
        return Err(given.invalid(&keys::BUCKET, RIGHT_BUCKET));
    }
    let credentials = path(layers, &keys::CREDENTIALS, DEFAULT_CREDENTIALS)?;
    Ok(Storage::Gcs { bucket: given.value, credentials, endpoint: emulator(layers)? })
}

/// The rule of Google Cloud Storage, as far as it keeps a name apart from a URL or a path.
fn is_bucket_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_well = text.bytes().next().is_some_and(plain) && text.bytes().next_back().is_some_and(plain);
    ends_well && (3..=222).contains(&text.len()) && text.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_' | b'.'))
}

/// The emulator's URL; the variable holds `HOST:PORT` or a URL, as with Google's other clients.
fn emulator(layers: &Layers<'_>) -> Result<Option<String>, ConfigError> {
    let right = "HOST:PORT or a URL, such as \"localhost:4443\"";
    let Some(given) = layers.text(&keys::EMULATOR, right)? else { return Ok(None) };
    let complete = if given.value.contains("://") { given.value.clone() } else { format!("http://{}", given.value) };
    url(&complete).map(Some).ok_or_else(|| given.invalid(&keys::EMULATOR, right))
}

fn path(layers: &Layers<'_>, key: &keys::Key, default: &str) -> Result<PathBuf, ConfigError> {
    match layers.text(key, RIGHT_PATH)? {
        Some(given) if given.value.is_empty() => Err(given.invalid(key, RIGHT_PATH)),
        Some(given) => Ok(PathBuf::from(given.value)),
        None => Ok(PathBuf::from(default)),
    }
}

fn warnings(peers: &[NodeAddr], emulator_alone: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    match peers.len() {
        2 => warnings
            .push("with two nodes both are needed: when either is down, no one leads; add a third node".to_owned()),
        count if count % 2 == 0 => warnings
            .push(format!("{count} nodes survive no more failures than {}; use an odd number of peers", count - 1)),
        _ => {}
    }
    let is_loopback = |peer: &&NodeAddr| peer.socket_addr().ip().is_loopback();
    if let (Some(near), Some(far)) = (peers.iter().find(is_loopback), peers.iter().find(|peer| !is_loopback(peer))) {
        warnings.push(format!("{near} can be reached on its own machine only, but {far} is not a loopback address"));
    }
    if emulator_alone {
        warnings.push("STORAGE_EMULATOR_HOST has no effect: FIREBASE_BUCKET names no bucket".to_owned());
    }
    warnings
}
