//! Node address: the address of a node's election port, which is also the node's name.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::addr::canonical_socket_addr;

/// Largest number of nodes in a cluster. Seven nodes survive three failures. More nodes would only
/// add heartbeats.
pub const MAX_NODES: usize = 7;

/// Election address of a node, as in the setting `peers`. It names the node in responses and logs.
///
/// Invariant: an IP address that other nodes can dial (not unspecified) and a port that is not 0.
/// An IPv4 address is never in IPv6 form, because the text is the node's name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeAddr(SocketAddr);

/// The text is not a node address. The message contains the text and an example of a valid one.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("invalid node address {given:?}: give the IP:PORT that the other nodes dial, such as \"10.40.6.26:8080\"")]
pub struct InvalidNodeAddr {
    /// The given text, cut to 80 characters.
    pub given: String,
}

impl NodeAddr {
    /// The socket address to bind or dial.
    #[must_use]
    pub fn socket_addr(self) -> SocketAddr {
        self.0
    }
}

impl std::str::FromStr for NodeAddr {
    type Err = InvalidNodeAddr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse().map(canonical_socket_addr) {
            Ok(addr) if addr.port() != 0 && !addr.ip().is_unspecified() => Ok(Self(addr)),
            _ => Err(InvalidNodeAddr { given: text.chars().take(80).collect() }),
        }
    }
}

impl TryFrom<String> for NodeAddr {
    type Error = InvalidNodeAddr;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NodeAddr> for String {
    fn from(addr: NodeAddr) -> Self {
        addr.to_string()
    }
}

impl std::fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_can_be_dialled_is_a_node_address() {
        assert_eq!("127.0.0.1:8080".parse::<NodeAddr>().expect("valid").to_string(), "127.0.0.1:8080");
        let mapped: NodeAddr = "[::ffff:127.0.0.1]:8080".parse().expect("valid");
        assert_eq!(mapped.to_string(), "127.0.0.1:8080");
        for bad in [
            "",
            "8080",
            "0.0.0.0:8080",
            "[::]:8080",
            "[::ffff:0.0.0.0]:8080",
            "127.0.0.1:0",
            "localhost:8080",
            "127.0.0.1",
        ] {
            assert!(bad.parse::<NodeAddr>().is_err(), "{bad:?}");
        }
    }
}
