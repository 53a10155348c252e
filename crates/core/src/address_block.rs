//! The unit of limits per client address.

use std::net::{IpAddr, Ipv6Addr};

/// The addresses that one client can use as it likes: an IPv4 address, or the /64 block of an IPv6
/// address. All addresses of a block map to the same value.
#[must_use]
pub fn address_block(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_an_ipv4_address_or_64_bits_of_an_ipv6_address() {
        let block = |text: &str| address_block(text.parse().unwrap());
        assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
        assert_ne!(block("10.0.0.1"), block("10.0.0.2"));
        assert_eq!(block("::ffff:10.0.0.1"), block("10.0.0.1"));
    }
}
