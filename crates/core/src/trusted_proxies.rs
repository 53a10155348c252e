//! Trusted proxies, and the client address that they report in a header. Pure.
//!
//! Each proxy appends the address of its own client at the right end of the header. Everything to
//! the left of the first untrusted address was written by a client, and is not read.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::addr::is_one_machine;

/// Longest chain of proxies that is followed, in elements of the header. Real chains have one to
/// three.
pub const MAX_PROXY_HOPS: usize = 16;

/// Shortest prefix of an IPv4 network of proxies: that of `10.0.0.0/8`.
const MIN_PREFIX_V4: u8 = 8;
/// Shortest prefix of an IPv6 network of proxies: that of `fc00::/7`, the unique local addresses.
const MIN_PREFIX_V6: u8 = 7;

/// The header in which proxies report the address of their client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: ADDRESS, ADDRESS`.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=ADDRESS;proto=https, for=ADDRESS` (RFC 7239).
    Forwarded,
}

/// A network whose hosts are trusted proxies.
///
/// Invariant: it is not larger than the largest private network of its family. If the networks were
/// the whole of IPv4 or IPv6, also together, each client could choose its own address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProxyNetwork(IpNet);

/// The proxies whose header is read, and the header. By default there are none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrustedProxies {
    networks: Vec<ProxyNetwork>,
    header: ForwardedHeader,
}

impl ForwardedHeader {
    /// Both headers.
    pub const ALL: [Self; 2] = [Self::XForwardedFor, Self::Forwarded];

    /// The name of the header in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The address in one element of the header. `None` if it names no address of one machine.
    fn address(self, element: &[u8]) -> Option<IpAddr> {
        let element = std::str::from_utf8(element).ok()?.trim_ascii();
        match self {
            Self::XForwardedFor => parse_node(element),
            Self::Forwarded => parse_node(for_parameter(element)?),
        }
    }
}

impl ProxyNetwork {
    /// Parses a network (`10.0.0.0/8`, `fd00::/8`) or a single address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self(ip.to_canonical().into()));
        }
        let network: IpNet = text.parse().ok()?;
        let is_valid = match network {
            IpNet::V4(v4) => v4.prefix_len() >= MIN_PREFIX_V4,
            // Addresses in the IPv4-mapped form are compared as IPv4, so such a network never
            // matches.
            IpNet::V6(v6) => v6.prefix_len() >= MIN_PREFIX_V6 && v6.addr().to_ipv4_mapped().is_none(),
        };
        is_valid.then(|| Self(network.trunc()))
    }
}

impl TrustedProxies {
    /// Proxies in these networks, which report their clients in `header`.
    #[must_use]
    pub fn new(networks: Vec<ProxyNetwork>, header: ForwardedHeader) -> Self {
        Self { networks, header }
    }

    /// Name of the header that is read.
    #[must_use]
    pub fn header_name(&self) -> &'static str {
        self.header.name()
    }

    /// Whether a host is a trusted proxy.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.0.contains(&ip))
    }

    /// The client of a request that came from the trusted proxy `proxy`: the rightmost address of
    /// the header that is not a trusted proxy. `lines` are the values of the header, in their
    /// order.
    ///
    /// The chain ends at an element that names no address (`unknown`, an obfuscated identifier or
    /// malformed text), after [`MAX_PROXY_HOPS`] elements (empty ones count), or at the left end of
    /// the header. Then the client is the last trusted proxy, which is the closest known host.
    #[must_use]
    pub fn client<'l>(&self, proxy: IpAddr, lines: impl DoubleEndedIterator<Item = &'l [u8]>) -> IpAddr {
        let mut last_proxy = proxy;
        for element in lines.rev().flat_map(|line| elements_from_right(line, b',')).take(MAX_PROXY_HOPS) {
            // Empty elements of a list are ignored (RFC 9110, section 5.6.1).
            if element.trim_ascii().is_empty() {
                continue;
            }
            match self.header.address(element) {
                Some(ip) if self.contains(ip) => last_proxy = ip,
                Some(ip) => return ip,
                None => break,
            }
        }
        last_proxy
    }
}

/// The elements of a list, the last one first. A separator in quotes does not count.
///
/// The list is read from the right, so that a quote that a client has opened cannot reach into the
/// elements that the proxies appended.
fn elements_from_right(list: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let mut is_quoted = false;
        let end = list.iter().rposition(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == separator && !is_quoted
        });
        rest = end.map(|end| &list[..end]);
        Some(end.map_or(list, |end| &list[end + 1..]))
    })
}

/// The value of the only `for` parameter in an element of `Forwarded`, without its quotes.
fn for_parameter(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in elements_from_right(element.as_bytes(), b';') {
        let pair = std::str::from_utf8(pair).ok()?.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"'),
        None => Some(value),
    }
}

/// Parses an address with or without a port. An IPv6 address with a port is in brackets.
fn parse_node(text: &str) -> Option<IpAddr> {
    let ip = text.parse().ok().or_else(|| parse_with_port(text))?;
    Some(ip.to_canonical()).filter(|ip| is_one_machine(*ip))
}

fn parse_with_port(text: &str) -> Option<IpAddr> {
    let (ip, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (ip, port) = bracketed.split_once(']')?;
        (IpAddr::V6(ip.parse().ok()?), port)
    } else {
        let (ip, port) = text.split_at(text.find(':')?);
        (IpAddr::V4(ip.parse().ok()?), port)
    };
    is_port(port).then_some(ip)
}

/// Whether the text after an address is empty or a port: a number, or an obfuscated port such as
/// `_gazonk`.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests;
