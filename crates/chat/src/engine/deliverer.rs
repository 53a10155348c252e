//! Fair shares of a bounded table: each item counts for the link that delivered it first.
//!
//! Names cost a forger nothing, so a share per name protects nobody. A link costs a host and a
//! connection. So a full table evicts from the host with the largest share, and of the links of
//! this host from the one with the largest share.

use std::collections::{BTreeMap, BTreeSet};
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

/// Sizes of the shares of all deliverers, ranked by size. `None` stands for this peer.
///
/// Each operation takes logarithmic time: a forger can reconnect with a new peer id for each
/// message, and every message of anybody may have to evict one.
///
/// Invariant: the size of a host is the sum of the sizes of its deliverers.
#[derive(Clone, Debug, Default)]
pub(super) struct ShareSizes {
    hosts: Ranking<Option<IpAddr>>,
    deliverers: BTreeMap<Option<IpAddr>, Ranking<Option<Deliverer>>>,
}

/// Sizes by key, ranked.
///
/// Invariant: `ranked` has each key of `sizes` once, with its size. No size is 0.
#[derive(Clone, Debug)]
struct Ranking<K> {
    sizes: BTreeMap<K, usize>,
    ranked: BTreeSet<(usize, K)>,
}

impl<K> Default for Ranking<K> {
    fn default() -> Self {
        Self { sizes: BTreeMap::new(), ranked: BTreeSet::new() }
    }
}

impl<K: Copy + Ord> Ranking<K> {
    fn change(&mut self, key: K, change: impl Fn(usize) -> usize) {
        let old = self.sizes.remove(&key).unwrap_or_default();
        self.ranked.remove(&(old, key));
        let new = change(old);
        if new > 0 {
            self.sizes.insert(key, new);
            self.ranked.insert((new, key));
        }
    }

    fn largest(&self) -> Option<K> {
        self.ranked.last().map(|(_, key)| *key)
    }
}

impl ShareSizes {
    /// Adds to the share of a deliverer.
    pub(super) fn add(&mut self, via: Option<Deliverer>, size: usize) {
        self.change(via, |old| old.saturating_add(size));
    }

    /// Takes from the share of a deliverer.
    pub(super) fn subtract(&mut self, via: Option<Deliverer>, size: usize) {
        self.change(via, |old| old.saturating_sub(size));
    }

    /// The deliverer from which a full table evicts: of the host with the largest share, the
    /// deliverer with the largest share.
    pub(super) fn largest(&self) -> Option<Deliverer> {
        self.deliverers.get(&self.hosts.largest()?)?.largest()?
    }

    fn change(&mut self, via: Option<Deliverer>, change: impl Fn(usize) -> usize) {
        let host = via.map(|via| via.host);
        self.hosts.change(host, &change);
        let of_host = self.deliverers.entry(host).or_default();
        of_host.change(via, &change);
        if of_host.sizes.is_empty() {
            self.deliverers.remove(&host);
        }
    }
}

/// The deliverer from which a full table with these shares evicts.
pub(super) fn largest_share(shares: impl IntoIterator<Item = (Option<Deliverer>, usize)>) -> Option<Deliverer> {
    let mut sizes = ShareSizes::default();
    shares.into_iter().for_each(|(via, size)| sizes.add(via, size));
    sizes.largest()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// The rule without a ranking: looks at all shares.
    fn largest_of_all(shares: &BTreeMap<Option<Deliverer>, usize>) -> Option<Deliverer> {
        let host_of = |via: &Option<Deliverer>| via.map(|via| via.host);
        let of_host = |host| shares.iter().filter(move |(via, _)| host_of(via) == host);
        let size = |host| of_host(host).map(|(_, size)| *size).sum::<usize>();
        let hosts: BTreeSet<Option<IpAddr>> = shares.keys().map(host_of).collect();
        let largest = hosts.into_iter().max_by_key(|host| size(*host))?;
        of_host(largest).max_by_key(|(_, size)| **size).and_then(|(via, _)| *via)
    }

    proptest! {
        #[test]
        fn the_ranking_agrees_with_a_look_at_all_shares(
            changes in proptest::collection::vec((0_u8..4, 0_u128..3, any::<bool>(), 1_usize..50), 1..100)
        ) {
            let (mut sizes, mut shares) = (ShareSizes::default(), BTreeMap::new());
            for (host, peer, is_added, size) in changes {
                let via = (host > 0).then(|| link(&format!("10.0.0.{host}"), peer));
                let share: &mut usize = shares.entry(via).or_default();
                if is_added {
                    *share += size;
                    sizes.add(via, size);
                } else {
                    let size = size.min(*share);
                    *share -= size;
                    sizes.subtract(via, size);
                }
                shares.retain(|_, size| *size > 0);
                prop_assert_eq!(sizes.largest(), largest_of_all(&shares));
            }
            for (via, size) in shares {
                sizes.subtract(via, size);
            }
            prop_assert!(sizes.deliverers.is_empty() && sizes.hosts.sizes.is_empty(), "nothing is left behind");
        }
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_have_one_share() {
        let shares = [(link("2001:db8::1", 1), 2), (link("2001:db8::2:3", 1), 2), (link("10.0.0.1", 1), 3)];
        let shares = shares.map(|(link, size)| (Some(link), size));
        assert_eq!(largest_share(shares), Some(link("2001:db8::9", 1)));
        assert_eq!(link("::ffff:10.0.0.1", 1), link("10.0.0.1", 1));
    }
}
