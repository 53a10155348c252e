//! HTTP API in a node's configuration: the address to listen on, the URL for clients, the allowed
//! origins of web pages, and the trusted proxies.

use std::net::{IpAddr, SocketAddr};

use rollcall_core::{ForwardedHeader, NodeAddr, ProxyNetwork, TrustedProxies};

use super::base_url::parse_base_url;
use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::{Layers, WithOrigin, with_default};

/// Value for "no origin". The environment cannot give an empty list, because an empty variable
/// counts as unset.
const NO_ORIGIN: &str = "none";

/// Largest value of `max_connections`. Each connection takes at least 10 KiB of memory.
const MAX_MAX_CONNECTIONS: u64 = 1_000_000;

const EXPECTED_IP: &str = "an IP address of this machine, \"0.0.0.0\" for all, or \"127.0.0.1\" for this machine alone";
const EXPECTED_URL: &str = "a URL such as \"http://10.40.6.26:3000\"";
const EXPECTED_ORIGINS: &str =
    "\"*\" for all web pages, \"none\", or a list of origins such as \"https://example.org\"";

const EXPECTED_PROXIES: &str = "a list of networks or addresses such as \"10.0.0.0/24\" or \"fd00::1\", and none larger than a /8 (IPv4) or /7 (IPv6)";
const EXPECTED_HEADER: &str = "\"x-forwarded-for\" or \"forwarded\"";

/// The HTTP API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiConfig {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port to listen on. Neither 0 nor the election port.
    pub port: u16,
    /// The base URL for clients, without a trailing slash: `http://127.0.0.1:3000`.
    pub url: String,
    /// Connections served at once, if the process may open that many files.
    pub max_connections: usize,
    /// Web pages that may use the API.
    pub cors: CorsConfig,
    /// Proxies that report the addresses of their clients.
    pub proxies: TrustedProxies,
}

/// Web pages that may use the API from a browser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CorsConfig {
    /// No page of another origin.
    Off,
    /// Every page.
    Any,
    /// Pages of these origins (`https://example.org`).
    Only(Vec<String>),
}

impl ApiConfig {
    /// The address to bind.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}

/// Reads the settings of the API. `node` is the election address of the node.
pub(super) fn read_api(layers: &Layers, node: &WithOrigin<NodeAddr>) -> Result<ApiConfig, ConfigError> {
    let given = layers.number(&settings::API_PORT, u64::from(u16::MAX))?;
    let port = u16::try_from(given.value).expect("the number was read as at most u16::MAX");
    let election = node.value.socket_addr();
    if port == election.port() {
        return Err(ConfigError::PortConflict { origin: given.origin.or(&node.origin), port });
    }
    let bind = with_default(layers.parsed(&settings::API_BIND, EXPECTED_IP)?).value;
    let url = match layers.text(&settings::API_URL, EXPECTED_URL)? {
        Some(given) => parse_base_url(&given.value).ok_or_else(|| given.invalid(&settings::API_URL, EXPECTED_URL))?,
        // `SocketAddr` writes an IPv6 address in brackets, as a URL does.
        None => format!("http://{}", SocketAddr::new(election.ip(), port)),
    };
    let max_connections = layers.number(&settings::MAX_CONNECTIONS, MAX_MAX_CONNECTIONS)?.value;
    let max_connections = usize::try_from(max_connections).expect("a million fits into usize");
    let (cors, proxies) = (read_cors(layers)?, read_proxies(layers)?);
    Ok(ApiConfig { bind, port, url, max_connections, cors, proxies })
}

fn read_proxies(layers: &Layers) -> Result<TrustedProxies, ConfigError> {
    let header = |text: &str| ForwardedHeader::ALL.into_iter().find(|header| header.name().eq_ignore_ascii_case(text));
    let header = with_default(layers.parsed_by(&settings::FORWARDED_HEADER, EXPECTED_HEADER, header)?).value;
    let networks = layers.list_by(&settings::TRUSTED_PROXIES, EXPECTED_PROXIES, ProxyNetwork::parse)?;
    Ok(TrustedProxies::new(networks, header))
}

fn read_cors(layers: &Layers) -> Result<CorsConfig, ConfigError> {
    let given = with_default(layers.list(&settings::CORS_ORIGINS, EXPECTED_ORIGINS)?);
    let origins: Vec<&str> = given.value.iter().map(|origin| origin.value.as_str()).collect();
    match origins[..] {
        [] | [NO_ORIGIN] => return Ok(CorsConfig::Off),
        ["*"] => return Ok(CorsConfig::Any),
        _ => {}
    }
    // A browser sends only scheme, host and port. An origin with a path would never match.
    let is_origin = |text: &str| parse_base_url(text).is_some_and(|url| url == text && url.matches('/').count() == 2);
    match given.value.iter().find(|origin| !is_origin(&origin.value)) {
        Some(wrong) => Err(wrong.invalid(&settings::CORS_ORIGINS, EXPECTED_ORIGINS)),
        None => Ok(CorsConfig::Only(origins.into_iter().map(str::to_owned).collect())),
    }
}
