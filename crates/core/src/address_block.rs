//! Address block: the unit in which limits and shares count clients.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or a /64 block of IPv6 addresses.
///
/// Limits per client count address blocks. One IPv6 host can use every address of its /64 block, so
/// the addresses of a block count as one client.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AddressBlock(IpAddr);

impl AddressBlock {
    /// The block that contains `ip`. An IPv4 address that is written as an IPv6 address
    /// (`::ffff:10.0.0.1`) is an IPv4 address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// The block as `10.0.0.1` or `2001:db8::/64`.
impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ip: &str) -> String {
        AddressBlock::of(ip.parse().unwrap()).to_string()
    }

    #[test]
    fn an_ipv6_address_counts_as_its_64_block_and_an_ipv4_address_as_itself() {
        assert_eq!(block("10.0.0.1"), "10.0.0.1");
        assert_eq!(block("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(block("2001:db8:0:1:ffff:ffff:ffff:ffff"), "2001:db8:0:1::/64");
        assert_ne!(block("2001:db8:0:1::1"), block("2001:db8:0:2::1"));
        assert_ne!(block("10.0.0.1"), block("10.0.0.2"));
    }
}
