//! HTTP API in a node's configuration: where it listens, where clients reach it, which web pages may read it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rollcall_core::NodeAddr;

use super::base_url::url;
use super::keys;
use crate::config::error::ConfigError;
use crate::config::layers::{Given, Layers};

const DEFAULT_API_PORT: u64 = 3000;
/// What stands for "no origin" where an empty text would count as unset.
const NO_ORIGIN: &str = "none";

const RIGHT_IP: &str = "an IP address of this machine, \"0.0.0.0\" for all, or \"127.0.0.1\" for this machine alone";
const RIGHT_URL: &str = "a URL such as \"http://10.40.6.26:3000\"";
const RIGHT_ORIGINS: &str = "\"*\" for all web pages, \"none\", or a list of origins such as \"https://example.org\"";

/// The HTTP API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Api {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port to listen on, not 0 and not the election's.
    pub port: u16,
    /// Where clients reach it, without a trailing slash: `http://127.0.0.1:3000`.
    pub url: String,
    /// Which web pages may read it.
    pub cors: Cors,
}

/// Which web pages a browser may let read the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cors {
    /// None but its own.
    Off,
    /// All.
    Any,
    /// Those of these origins (`https://example.org`).
    Only(Vec<String>),
}

impl Api {
    /// The address to bind.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}

/// The API of the node with this election address.
pub(super) fn api(layers: &Layers, node: &Given<NodeAddr>) -> Result<Api, ConfigError> {
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

fn cors(layers: &Layers) -> Result<Cors, ConfigError> {
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
