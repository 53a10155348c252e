//! HTTP API in a node's configuration: the address to listen on, the URL for clients, the allowed
//! origins of web pages, and the trusted proxies.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::Uri;

use rollcall_core::{ForwardedHeader, NodeAddr, ProxyNetwork, TrustedProxies};

use super::base_url::parse_base_url;
use super::key_file::is_key_itself;
use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::{EXPECTED_PATH, Layers, WithOrigin, with_default};
use crate::config::setting::Setting;

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
    /// The files for TLS. `None` if the API listens without TLS.
    pub tls: Option<ApiTlsConfig>,
    /// Connections served at once, if the process may open that many files.
    pub max_connections: usize,
    /// Web pages that may use the API.
    pub cors: CorsConfig,
    /// Proxies that report the addresses of their clients.
    pub proxies: TrustedProxies,
}

/// The files for TLS of the API, both in PEM format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiTlsConfig {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
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

    /// The scheme of URLs of the address to listen on.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        scheme(self.tls.is_some())
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
    let tls = read_tls(layers)?;
    let url = match layers.text(&settings::API_URL, EXPECTED_URL)? {
        Some(given) => {
            let url = parse_base_url(&given.value);
            let url = url.ok_or_else(|| given.invalid(&settings::API_URL, EXPECTED_URL))?;
            if tls.is_some() && Uri::try_from(&url).is_ok_and(|url| url.scheme_str() == Some("http")) {
                return Err(ConfigError::PlainApiUrl { origin: given.origin, url });
            }
            url
        }
        // `SocketAddr` writes an IPv6 address in brackets, as a URL does.
        None => format!("{}://{}", scheme(tls.is_some()), SocketAddr::new(election.ip(), port)),
    };
    let max_connections = layers.number(&settings::MAX_CONNECTIONS, MAX_MAX_CONNECTIONS)?.value;
    let max_connections = usize::try_from(max_connections).expect("a million fits into usize");
    let (cors, proxies) = (read_cors(layers)?, read_proxies(layers)?);
    Ok(ApiConfig { bind, port, url, tls, max_connections, cors, proxies })
}

fn scheme(has_tls: bool) -> &'static str {
    if has_tls { "https" } else { "http" }
}

/// Reads the files for TLS. Both must be given, or neither.
fn read_tls(layers: &Layers) -> Result<Option<ApiTlsConfig>, ConfigError> {
    let path = |setting: &'static Setting| {
        let given = layers.text(setting, EXPECTED_PATH)?;
        match given {
            Some(given) if is_key_itself(&given.value) => Err(ConfigError::KeyInsteadOfFile { key: setting.key }),
            Some(given) if given.value.is_empty() => Err(given.invalid(setting, EXPECTED_PATH)),
            given => Ok(given),
        }
    };
    let missing = |origin, key: &'static Setting, other: &'static Setting| {
        Err(ConfigError::HalfOfTls { origin, key: key.key, missing: other.key, variable: other.env })
    };
    match (path(&settings::TLS_CERT)?, path(&settings::TLS_KEY)?) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(ApiTlsConfig { cert: cert.value.into(), key: key.value.into() })),
        (Some(cert), None) => missing(cert.origin, &settings::TLS_CERT, &settings::TLS_KEY),
        (None, Some(key)) => missing(key.origin, &settings::TLS_KEY, &settings::TLS_CERT),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};

    /// Loads the configuration of one node with `more` appended to its file, on line 3.
    fn load(more: &str) -> Result<ApiConfig, String> {
        let file = format!("this_node = \"10.0.0.1:8080\"\npeers = [\"10.0.0.1:8080\"]\n{more}");
        let loaded = Config::load(Some(("c.toml", &file)), &|_| None, &Flags::default());
        loaded.map(|config| config.api).map_err(|error| error.to_string())
    }

    const BOTH: &str = "tls_cert = \"node.pem\"\ntls_key = \"node-key.pem\"\n";

    #[test]
    fn urls_are_https_with_tls() {
        let plain = load("").unwrap();
        assert_eq!((plain.scheme(), plain.url.as_str(), plain.tls), ("http", "http://10.0.0.1:3000", None));
        let secure = load(BOTH).unwrap();
        assert_eq!((secure.scheme(), secure.url.as_str()), ("https", "https://10.0.0.1:3000"));
        assert_eq!(secure.tls, Some(ApiTlsConfig { cert: "node.pem".into(), key: "node-key.pem".into() }));
        let named = load(&format!("{BOTH}api_url = \"https://api.example/\"")).unwrap();
        assert_eq!(named.url, "https://api.example");
        // A proxy in front of the node adds TLS.
        let proxied = load("api_url = \"https://api.example\"").unwrap();
        assert_eq!((proxied.scheme(), proxied.url.as_str()), ("http", "https://api.example"));
    }

    #[test]
    fn half_of_tls_and_an_http_url_with_tls_are_errors_with_the_remedy() {
        for (more, words) in [
            ("tls_cert = \"a\"", ["c.toml:3", "tls_cert is set", "ROLLCALL_TLS_KEY"]),
            ("tls_key = \"a\"", ["c.toml:3", "tls_key is set", "ROLLCALL_TLS_CERT"]),
            ("tls_cert = \"\"", ["c.toml:3", "tls_cert", "a path"]),
            ("tls_key = \"-----BEGIN PRIVATE KEY-----\"", ["tls_key holds a key", "to a file", "path of that file"]),
        ] {
            let error = load(more).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        for url in ["http://api.example", "HTTP://api.example"] {
            let error = load(&format!("{BOTH}api_url = \"{url}\"")).unwrap_err();
            assert!(error.contains("c.toml:5: api_url is") && error.contains("begin it with https://"), "{error}");
        }
    }
}
