//! Fair shares of a bounded table: each item counts for the link that delivered it first.
//!
//! Names cost a forger nothing, so a share per name protects nobody. A link costs a host and a
//! connection. So a full table evicts from the host with the largest share, and of the links of
//! this host from the one with the largest share.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::endpoint::network_of;
use crate::peer_id::PeerId;

/// First deliverer of an item: the host and the peer at the other end of the link, or the host that
/// sent a datagram.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Deliverer {
    host: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<PeerId>,
}

impl Deliverer {
    /// The peer of a mesh link that comes from `remote`.
    #[must_use]
    pub fn link(remote: IpAddr, peer: PeerId) -> Self {
        Self { host: network_of(remote), peer: Some(peer) }
    }

    /// The sender of a LAN datagram.
    #[must_use]
    pub fn datagram(source: IpAddr) -> Self {
        Self { host: network_of(source), peer: None }
    }
}

/// The deliverer from which a full table evicts: of the host with the largest share, the deliverer
/// with the largest share. `None` stands for this peer.
pub(super) fn largest_share(shares: impl IntoIterator<Item = (Option<Deliverer>, usize)>) -> Option<Deliverer> {
    let mut by_deliverer: BTreeMap<Option<Deliverer>, usize> = BTreeMap::new();
    let mut by_host: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
    for (deliverer, size) in shares {
        *by_deliverer.entry(deliverer).or_default() += size;
        *by_host.entry(deliverer.map(|deliverer| deliverer.host)).or_default() += size;
    }
    let host = by_host.into_iter().max_by_key(|(_, size)| *size).and_then(|(host, _)| host);
    let of_host = by_deliverer.into_iter().filter(|(deliverer, _)| deliverer.map(|deliverer| deliverer.host) == host);
    of_host.max_by_key(|(_, size)| *size).and_then(|(deliverer, _)| deliverer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(host: &str, peer: u128) -> Deliverer {
        Deliverer::link(host.parse().unwrap(), PeerId(peer))
    }

    #[test]
    fn the_largest_share_is_that_of_the_largest_host_and_not_of_the_largest_link() {
        let shares = [(link("10.0.0.1", 1), 5), (link("10.0.0.2", 2), 4), (link("10.0.0.2", 3), 3)];
        let shares = || shares.map(|(link, size)| (Some(link), size)).into_iter();
        assert_eq!(largest_share(shares().chain([(None, 6)])), Some(link("10.0.0.2", 2)));
        assert_eq!(largest_share(shares().chain([(None, 8)])), None);
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_have_one_share() {
        let shares = [(link("2001:db8::1", 1), 2), (link("2001:db8::2:3", 1), 2), (link("10.0.0.1", 1), 3)];
        let shares = shares.map(|(link, size)| (Some(link), size));
        assert_eq!(largest_share(shares), Some(link("2001:db8::9", 1)));
        assert_eq!(link("::ffff:10.0.0.1", 1), link("10.0.0.1", 1));
    }
}
