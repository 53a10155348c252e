//! Client address: where other clients can reach a client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Address on which a client listens for its peers.
///
/// Invariant: the IP address of one machine (not `0.0.0.0`, `::`, multicast or `255.255.255.255`)
/// and a port that is not 0. It has no IPv6 scope, because a scope is an interface number of one
/// machine. An IPv4 address is never in IPv6 form (`::ffff:10.0.0.7`), so that equal addresses have
/// equal texts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "SocketAddr", into = "SocketAddr")]
pub struct Addr {
    // 20 bytes instead of the 32 of a `SocketAddr`: the registry stores several for each client.
    ip: IpAddr,
    port: NonZeroU16,
}

/// An address as a client may send it: complete, or the port alone (`":9000"`).
///
/// With the port alone, the server uses the IP address from which the request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddrForm {
    /// `IP:PORT`.
    Full(Addr),
    /// `:PORT`. The IP address is the source address of the request.
    PortOnly(NonZeroU16),
}

/// The text is not a client address. The error message contains the text and the valid forms.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "Invalid addr {given:?}: give the IP:PORT at which others can reach you, with a port from 1 to 65535, such as \"10.40.6.26:9000\" or \"[fe80::1]:9000\", or \":9000\" for your address as this server sees it"
)]
pub struct InvalidAddr {
    /// The given text, cut to 80 characters.
    pub given: String,
}

impl Addr {
    /// The client address, or `None` if the port is 0 or the IP address is not that of one machine.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Option<Self> {
        let port = NonZeroU16::new(addr.port())?;
        let ip = addr.ip().to_canonical();
        is_one_machine(ip).then_some(Self { ip, port })
    }

    /// Parses `IP:PORT`.
    ///
    /// # Errors
    /// [`InvalidAddr`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidAddr> {
        match AddrForm::parse(text)? {
            AddrForm::Full(addr) => Ok(addr),
            AddrForm::PortOnly(_) => Err(InvalidAddr { given: text.chars().take(80).collect() }),
        }
    }

    /// The address as a socket address.
    #[must_use]
    pub fn socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.get())
    }
}

impl Addr {
    /// Appends the text of `Display` to `text`.
    ///
    /// An IPv4 address is written without `fmt`, because each heartbeat response contains an
    /// address.
    pub fn append_to(self, text: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        match self.ip {
            IpAddr::V4(ip) => {
                for (octet, separator) in ip.octets().into_iter().zip(*b"...:") {
                    text.extend_from_slice(digits.format(octet).as_bytes());
                    text.push(separator);
                }
            }
            IpAddr::V6(ip) => text.extend_from_slice(format!("[{ip}]:").as_bytes()),
        }
        text.extend_from_slice(digits.format(self.port.get()).as_bytes());
    }
}

impl AddrForm {
    /// Parses `IP:PORT` or `:PORT`.
    ///
    /// # Errors
    /// [`InvalidAddr`] for any other text, such as a host name or port 0.
    pub fn parse(text: &str) -> Result<Self, InvalidAddr> {
        let invalid = || InvalidAddr { given: text.chars().take(80).collect() };
        if let Some(port) = text.strip_prefix(':') {
            return parse_port(port).map(Self::PortOnly).ok_or_else(invalid);
        }
        // The standard parser also accepts a scope, which `Addr` cannot hold.
        let addr = text.parse().ok().and_then(Addr::new).filter(|_| !text.contains('%'));
        // The standard parser accepts a port with leading zeros. The digits at the end of the text
        // are the port.
        let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
        let addr = addr.filter(|_| text.as_bytes()[text.len() - digits] != b'0');
        addr.map(Self::Full).ok_or_else(invalid)
    }

    /// The port, which both forms have.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Full(addr) => addr.port.get(),
            Self::PortOnly(port) => port.get(),
        }
    }

    /// The complete address. `seen` is the source address of the request. It is used if the form
    /// has only a port.
    #[must_use]
    pub fn resolve(self, seen: IpAddr) -> Addr {
        match self {
            Self::Full(addr) => addr,
            Self::PortOnly(port) => Addr { ip: seen.to_canonical(), port },
        }
    }
}

/// The socket address with an IPv4-mapped IPv6 address (`::ffff:10.0.0.7`) as IPv4. An IPv6 socket
/// reports IPv4 clients in the mapped form. Keeps the scope of every other IPv6 address.
#[must_use]
pub fn canonical_socket_addr(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// Whether a canonical IP address belongs to one machine. The unspecified address, multicast and
/// broadcast do not.
pub(crate) fn is_one_machine(ip: IpAddr) -> bool {
    !(ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST))
}

/// Parses digits without a leading zero. The standard parser also accepts a `+` and leading zeros.
fn parse_port(text: &str) -> Option<NonZeroU16> {
    let is_well_formed = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    is_well_formed.then(|| text.parse().ok()).flatten()
}

impl TryFrom<SocketAddr> for Addr {
    type Error = InvalidAddr;

    fn try_from(addr: SocketAddr) -> Result<Self, Self::Error> {
        Self::new(addr).ok_or_else(|| InvalidAddr { given: addr.to_string() })
    }
}

impl From<Addr> for SocketAddr {
    fn from(addr: Addr) -> Self {
        addr.socket_addr()
    }
}

impl From<Addr> for AddrForm {
    fn from(addr: Addr) -> Self {
        Self::Full(addr)
    }
}

impl std::fmt::Display for AddrForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(addr) => addr.fmt(f),
            Self::PortOnly(port) => write!(f, ":{port}"),
        }
    }
}

impl std::fmt::Display for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.socket_addr().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_addresses_are_parsed() {
        for good in ["10.40.6.26:9000", "127.0.0.1:1", "[::1]:65535"] {
            let AddrForm::Full(addr) = AddrForm::parse(good).expect("valid") else { panic!("{good}") };
            assert_eq!(addr.to_string(), good);
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_address() {
        let plain = AddrForm::parse("10.0.0.7:9000").expect("valid");
        for mapped in ["[::ffff:10.0.0.7]:9000", "[::FFFF:a00:7]:9000", "[0:0:0:0:0:ffff:10.0.0.7]:9000"] {
            assert_eq!(AddrForm::parse(mapped), Ok(plain), "{mapped}");
            assert_eq!(serde_json::from_str::<Addr>(&format!("\"{mapped}\"")).unwrap().to_string(), "10.0.0.7:9000");
        }
        // Other addresses that contain an IPv4 address are different addresses.
        for other in ["[::10.0.0.7]:9000", "[64:ff9b::10.0.0.7]:9000", "[::fffe:10.0.0.7]:9000"] {
            assert_ne!(AddrForm::parse(other), Ok(plain), "{other}");
        }
    }

    #[test]
    fn only_an_ipv4_mapped_socket_address_changes_its_form() {
        for (given, canonical) in [
            ("[::ffff:10.0.0.7]:80", "10.0.0.7:80"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(canonical_socket_addr(given.parse().unwrap()).to_string(), canonical);
        }
    }

    #[test]
    fn a_port_alone_is_completed_with_the_source_address_of_the_request() {
        let form = AddrForm::parse(":9000").expect("valid");
        assert_eq!(form.resolve("10.0.0.7".parse().unwrap()).to_string(), "10.0.0.7:9000");
        assert_eq!(form.resolve("::ffff:10.0.0.7".parse().unwrap()).to_string(), "10.0.0.7:9000");
    }

    #[test]
    fn each_form_is_displayed_as_it_is_parsed() {
        for (text, port) in [("10.40.6.26:9000", 9000), ("[::1]:65535", 65535), (":1", 1)] {
            let form = AddrForm::parse(text).expect("valid");
            assert_eq!((form.to_string().as_str(), form.port()), (text, port));
        }
    }

    proptest::proptest! {
        #[test]
        fn an_address_is_appended_as_it_is_displayed(ip: IpAddr, port: NonZeroU16) {
            let addr = Addr { ip, port };
            let mut text = b"at ".to_vec();
            addr.append_to(&mut text);
            proptest::prop_assert_eq!(String::from_utf8(text).unwrap(), format!("at {addr}"));
        }
    }

    #[test]
    fn a_text_that_is_not_an_address_is_rejected() {
        for bad in [
            "",
            ":",
            ":0",
            ":+5",
            ":65536",
            "1.2.3.4",
            "1.2.3.4:0",
            "1.2.3.4:65536",
            "localhost:90",
            "300.1.1.1:9",
            "::1:9000x",
            " 1.2.3.4:5",
            "1.2.3.4:09",
            ":09",
            "[::1]:00009",
            "[fe80::1%2]:9000",
        ] {
            assert!(AddrForm::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_ip_address_that_is_not_of_one_machine_is_rejected() {
        for bad in
            ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "224.0.0.1", "239.255.255.255", "[ff02::1]", "255.255.255.255"]
        {
            assert!(AddrForm::parse(&format!("{bad}:9000")).is_err(), "{bad}");
        }
        for good in ["0.0.0.1", "223.255.255.255", "255.255.255.254", "[fe80::1]", "127.0.0.1"] {
            assert!(AddrForm::parse(&format!("{good}:9000")).is_ok(), "{good}");
        }
    }
}
