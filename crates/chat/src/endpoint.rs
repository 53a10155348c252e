//! Dialable address of a mesh peer.

use std::net::{IpAddr, SocketAddr};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Host name or IP address, and a port.
///
/// Invariant: the host has 1 to 253 characters of `A-Za-z0-9._-:%`, and the port is not 0. In text
/// form, an IPv6 address is in brackets.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerEndpoint {
    host: CompactString,
    port: u16,
}

/// Error: the text is not a valid `host:port`.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{given:?} is not a host:port such as \"peer1:8080\", \"10.0.0.7:8080\" or \"[::1]:8080\"")]
pub struct InvalidEndpoint {
    /// The text, cut to 80 characters so that an error message stays short.
    pub given: String,
}

/// Longest host name, in characters. DNS allows no longer name (RFC 1035).
const MAX_HOST_CHARS: usize = 253;

impl PeerEndpoint {
    /// Parses `host:port`. An IPv4 address in IPv6 form becomes the IPv4 address.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] for anything else, including port 0.
    pub fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint { given: text.chars().take(80).collect() };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(invalid)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) if inner.contains(':') => inner,
            Some(_) => return Err(invalid()),
            None if host.contains(':') => return Err(invalid()),
            None => host,
        };
        let is_host = (1..=MAX_HOST_CHARS).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:%".contains(&b));
        let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match port.parse() {
            Ok(port) if is_host && is_port && port != 0 => match host.parse() {
                Ok(ip) => Ok(Self::of(SocketAddr::new(ip, port))),
                Err(_) => Ok(Self { host: host.into(), port }),
            },
            _ => Err(invalid()),
        }
    }

    /// The endpoint of a socket address.
    #[must_use]
    pub fn of(addr: SocketAddr) -> Self {
        Self { host: compact_str::format_compact!("{}", addr.ip().to_canonical()), port: addr.port() }
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the host can be dialled. A host name can; an IP address can if it is neither
    /// unspecified nor multicast.
    #[must_use]
    pub fn is_dialable(&self) -> bool {
        self.host.parse().is_ok_and(|ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast())
            || self.host.parse::<IpAddr>().is_err()
    }

    /// Replaces a host that cannot be dialled, such as `0.0.0.0`, with `ip`: the address from which
    /// the peer connected.
    #[must_use]
    pub fn seen_from(self, ip: IpAddr) -> Self {
        if self.is_dialable() { self } else { Self::of(SocketAddr::new(ip, self.port)) }
    }
}

impl std::fmt::Display for PeerEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for PeerEndpoint {
    type Error = InvalidEndpoint;

    fn try_from(text: String) -> Result<Self, InvalidEndpoint> {
        Self::parse(&text)
    }
}

impl From<PeerEndpoint> for String {
    fn from(endpoint: PeerEndpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parsed_endpoint_is_displayed_as_it_was_written() {
        for good in ["peer1:8080", "10.0.0.7:1", "[::1]:65535", "[fe80::1%eth0]:9", "a-b.example.org:80"] {
            assert_eq!(PeerEndpoint::parse(good).unwrap().to_string(), good);
        }
        let brackets = PeerEndpoint::of("[::1]:80".parse().unwrap());
        assert_eq!(brackets.to_string(), "[::1]:80");
    }

    #[test]
    fn an_ip_address_has_one_text() {
        for (given, canonical) in [
            ("[::ffff:10.0.0.7]:9000", "10.0.0.7:9000"),
            ("[0:0:0:0::1]:9000", "[::1]:9000"),
            ("[FE80::A]:1", "[fe80::a]:1"),
        ] {
            let endpoint = PeerEndpoint::parse(given).unwrap();
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(PeerEndpoint::of(given.parse().unwrap()), endpoint);
        }
    }

    #[test]
    fn an_invalid_endpoint_is_rejected() {
        for bad in ["", ":1", "a", "a:", "a:0", "a:65536", "a:+1", "::1:80", "[a]:1", "a b:1", "a\n:1", "[::1]"] {
            assert!(PeerEndpoint::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_unspecified_host_is_replaced_by_the_address_from_which_the_peer_connected() {
        let everywhere = PeerEndpoint::parse("0.0.0.0:8080").unwrap();
        assert!(!everywhere.is_dialable());
        assert_eq!(everywhere.seen_from("10.0.0.7".parse().unwrap()).to_string(), "10.0.0.7:8080");
        let named = PeerEndpoint::parse("peer1:8080").unwrap();
        assert_eq!(named.clone().seen_from("10.0.0.7".parse().unwrap()), named);
    }
}
