//! Dialable address of a mesh peer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

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

    /// The host for limits per host: an IPv4 address, the /64 network of an IPv6 address, or the
    /// last two labels of a name, because the owner of a domain can make any number of names.
    pub(super) fn host_group(&self) -> CompactString {
        if let Ok(ip) = self.host.parse() {
            return compact_str::format_compact!("{}", network_of(ip));
        }
        let labels_from = self.host.rmatch_indices('.').nth(1).map_or(0, |(dot, _)| dot + 1);
        CompactString::from(&self.host[labels_from..]).to_lowercase()
    }

    /// Whether another peer may announce the address on a link that comes from `remote`. A loopback
    /// address means the own host of each peer, and a link-local one the own network, so such an
    /// address from elsewhere would lead to another program.
    pub(super) fn may_come_from(&self, remote: IpAddr) -> bool {
        match self.host_scope() {
            HostScope::Global => true,
            HostScope::LinkLocal => remote.is_loopback() || is_link_local(remote),
            HostScope::Loopback => remote.is_loopback(),
        }
    }

    /// Whether a registry on another host may list the address.
    pub(super) fn may_come_from_elsewhere(&self) -> bool {
        self.host_scope() == HostScope::Global && self.is_dialable()
    }

    fn host_scope(&self) -> HostScope {
        match self.host.split('%').next().unwrap_or_default().parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() => HostScope::Loopback,
            Ok(ip) if is_link_local(ip) => HostScope::LinkLocal,
            Err(_) if is_localhost(&self.host) => HostScope::Loopback,
            Ok(_) | Err(_) => HostScope::Global,
        }
    }

    /// Whether the host is a loopback address or `localhost`.
    pub(super) fn is_loopback(&self) -> bool {
        self.host_scope() == HostScope::Loopback
    }

    /// Replaces a host that cannot be dialled, such as `0.0.0.0`, with `ip`: the address from which
    /// the peer connected.
    #[must_use]
    pub fn seen_from(self, ip: IpAddr) -> Self {
        if self.is_dialable() { self } else { Self::of(SocketAddr::new(ip, self.port)) }
    }
}

/// Where an address means the same host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HostScope {
    Global,
    /// On one network.
    LinkLocal,
    /// On one host.
    Loopback,
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether the name always means the own host (RFC 6761).
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The unit of limits per host: an IPv4 address, or the /64 network of an IPv6 address, because one
/// host can use every address of its network.
pub(super) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip @ IpAddr::V4(_) => ip,
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
    fn the_ports_of_one_host_and_the_names_of_one_domain_are_one_group() {
        for (one, other, is_same) in [
            ("10.0.0.1:1", "10.0.0.1:2", true),
            ("10.0.0.1:1", "10.0.0.2:1", false),
            ("[2001:db8::1]:1", "[2001:db8::ffff:2]:1", true),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false),
            ("a.evil.example:1", "x.b.Evil.example:2", true),
            ("peer1:1", "peer2:1", false),
        ] {
            let group = |text| PeerEndpoint::parse(text).unwrap().host_group();
            assert_eq!(group(one) == group(other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn an_address_of_the_own_host_or_network_is_accepted_only_from_there() {
        for (text, [from_loopback, from_link_local, from_elsewhere]) in [
            ("10.0.0.7:1", [true, true, true]),
            ("peer1:1", [true, true, true]),
            ("127.0.0.1:22", [true, false, false]),
            ("[::1]:22", [true, false, false]),
            ("LocalHost:22", [true, false, false]),
            ("db.localhost.:22", [true, false, false]),
            ("[::ffff:127.0.0.2]:22", [true, false, false]),
            ("169.254.169.254:80", [true, true, false]),
            ("[fe80::1]:80", [true, true, false]),
            ("[fe80::1%eth0]:80", [true, true, false]),
        ] {
            let endpoint = PeerEndpoint::parse(text).unwrap();
            let from = ["127.0.0.9", "fe80::7", "10.0.0.9"].map(|ip| endpoint.may_come_from(ip.parse().unwrap()));
            assert_eq!(from, [from_loopback, from_link_local, from_elsewhere], "{text}");
            assert_eq!(endpoint.may_come_from_elsewhere(), from_elsewhere, "{text}");
        }
        assert!(!PeerEndpoint::parse("0.0.0.0:80").unwrap().may_come_from_elsewhere());
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
