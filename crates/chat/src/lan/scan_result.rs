//! Result of a LAN scan. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;

use super::datagram::{Datagram, DatagramBody};
use super::fields::Dialect;
use crate::lan_user_id::LanUserId;

/// Name of the scan in its queries.
pub const SCAN_NAME: &str = "rollcall-scan";
/// Largest number of peers, and of mentioned users, in the result.
const MAX_PEERS: usize = 1024;

/// Error of a socket operation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SocketFailure {
    /// Kind of the error.
    pub kind: SocketFailureKind,
    /// Error text of the system.
    pub text: String,
}

/// Kinds of errors that need different remedies.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketFailureKind {
    /// The port is in use by another program.
    #[serde(rename = "taken")]
    InUse,
    /// No permission. When a datagram is sent, a firewall is the usual cause.
    Forbidden,
    /// No route to the address.
    NoRoute,
    /// Any other error.
    Other,
}

/// Address to which queries are sent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ProbedAddress {
    /// Destination address of the query.
    pub to: Ipv4Addr,
    /// Interfaces with this broadcast address; empty for 255.255.255.255, 127.0.0.1 and addresses
    /// of other hosts.
    pub interfaces: Vec<String>,
    /// Error of the latest query; `None` if it was sent.
    #[serde(rename = "refusal", skip_serializing_if = "Option::is_none")]
    pub failure: Option<SocketFailure>,
    /// Whether a query arrived at the shared port of this machine.
    pub was_heard: bool,
}

/// Peer from which a datagram was received.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FoundPeer {
    /// Claimed user id.
    pub user_id: LanUserId,
    /// Name: the part of the id before the address.
    pub name: String,
    /// Address at which the peer receives datagrams.
    pub address: SocketAddr,
    /// Dialects of its datagrams.
    pub dialect: SpokenDialects,
    /// Kind of datagram by which it was found.
    pub found_by: FoundBy,
    /// Whether the claimed address differs from the source address.
    pub mismatched: bool,
}

/// Dialects in which a peer sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpokenDialects {
    /// `KEY:VALUE`.
    Compact,
    /// `KEY: VALUE`.
    Spaced,
    /// Both dialects. Such a peer answers each query in the dialect of the query.
    Both,
}

/// Kind of datagram by which a peer was found, in ascending order of certainty.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// Another broadcast, such as a post.
    Message,
    /// Its announcement.
    Announcement,
    /// Its answer to a query.
    Answer,
}

/// Result of a scan, filled while it runs.
#[derive(Clone, Debug)]
pub struct ScanResult {
    /// User id of the scan.
    pub own_user: LanUserId,
    /// UDP port for the answers.
    pub port: u16,
    /// Error of binding the shared port; `None` if it is bound.
    pub shared_port_failure: Option<SocketFailure>,
    /// Addresses of this machine.
    pub own_ips: Vec<IpAddr>,
    /// Queried addresses. The id of a query is the index in this list.
    pub probed: Vec<ProbedAddress>,
    /// Whether `probed` has all networks of this machine.
    pub(super) covers_all_networks: bool,
    /// The key is the user id and the host, see [`Self::host_of`].
    pub(super) peers: BTreeMap<(LanUserId, IpAddr), FoundPeer>,
    /// Users named in received lists. The value is the first peer that listed the user.
    pub(super) mentioned: BTreeMap<LanUserId, LanUserId>,
}

impl ScanResult {
    /// Creates an empty result.
    #[must_use]
    pub fn new(
        own_user: LanUserId,
        port: u16,
        shared_port_failure: Option<SocketFailure>,
        own_ips: Vec<IpAddr>,
        probed: Vec<ProbedAddress>,
        covers_all_networks: bool,
    ) -> Self {
        Self {
            own_user,
            port,
            shared_port_failure,
            own_ips,
            probed,
            covers_all_networks,
            peers: BTreeMap::new(),
            mentioned: BTreeMap::new(),
        }
    }

    /// Records a datagram. `shared` tells whether it arrived at the shared port; otherwise it
    /// arrived at the port of the scan.
    pub fn record(&mut self, source: SocketAddr, shared: bool, datagram: &Datagram, dialect: Dialect) {
        // An ACK does not name its sender.
        let Some(user) = &datagram.from else { return };
        let Some(source) = user.source(source) else { return };
        if user == &self.own_user {
            let index = datagram.id.and_then(|id| usize::try_from(id).ok());
            let probed = index.and_then(|index| self.probed.get_mut(index));
            if let Some(probed) = probed
                && shared
                && source.port() == self.port
            {
                probed.was_heard = true;
            }
            return;
        }
        // Another scan is not a peer.
        if user.name() == SCAN_NAME {
            return;
        }
        let (found_by, announced_port) = match &datagram.body {
            DatagramBody::ListResponse(users) => {
                for mentioned in users.iter().filter(|mentioned| mentioned.name() != SCAN_NAME) {
                    if self.mentioned.len() < MAX_PEERS {
                        self.mentioned.entry(mentioned.clone()).or_insert_with(|| user.clone());
                    }
                }
                (FoundBy::Answer, None)
            }
            DatagramBody::Discovery { port } => (FoundBy::Announcement, Some(*port)),
            _ => (FoundBy::Message, None),
        };
        let key = (user.clone(), self.host_of(source.ip()));
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&key) {
            return;
        }
        let dialects = match dialect {
            Dialect::Compact => SpokenDialects::Compact,
            Dialect::Spaced => SpokenDialects::Spaced,
        };
        let mismatched = !self.is_claim_plausible(user, source.ip());
        let address = SocketAddr::new(source.ip(), announced_port.unwrap_or(source.port()));
        let peer = self.peers.entry(key).or_insert_with(|| FoundPeer {
            user_id: user.clone(),
            name: user.name().to_owned(),
            address,
            dialect: dialects,
            found_by,
            mismatched,
        });
        if peer.dialect != dialects {
            peer.dialect = SpokenDialects::Both;
        }
        peer.found_by = peer.found_by.max(found_by);
        if let Some(port) = announced_port {
            peer.address.set_port(port);
        }
    }

    /// Whether the claimed address matches the source address. All addresses of this machine match
    /// each other.
    fn is_claim_plausible(&self, user: &LanUserId, source: IpAddr) -> bool {
        user.claimed_ip().is_some_and(|claimed| self.host_of(claimed) == self.host_of(source))
    }

    /// The address that stands for the host of an address. All addresses of this machine are one
    /// host, so a peer of this machine is one peer at whichever of them it is heard.
    fn host_of(&self, ip: IpAddr) -> IpAddr {
        let is_own = ip.is_loopback() || self.own_ips.contains(&ip);
        if is_own { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip }
    }

    /// The peers, in the order of their user ids.
    #[must_use]
    pub fn peers(&self) -> impl ExactSizeIterator<Item = &FoundPeer> {
        self.peers.values()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::lan) const ETH: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 255);

    fn probed(to: Ipv4Addr, interfaces: &[&str]) -> ProbedAddress {
        let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
        ProbedAddress { to, interfaces, failure: None, was_heard: true }
    }

    /// Result on a machine with one network and no fault.
    pub(in crate::lan) fn healthy() -> ScanResult {
        let own_user = LanUserId::parse("rollcall-scan@10.0.0.1").unwrap();
        let own = vec!["10.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let all = [
            probed(ETH, &["eth0"]),
            probed(Ipv4Addr::LOCALHOST, &[]),
            probed(Ipv4Addr::new(127, 255, 255, 255), &["lo"]),
            probed(Ipv4Addr::BROADCAST, &[]),
        ];
        ScanResult::new(own_user, 8001, None, own, all.to_vec(), true)
    }

    pub(in crate::lan) fn receive(scan: &mut ScanResult, user: &str, source: &str, body: DatagramBody) {
        let datagram = Datagram { from: LanUserId::parse(user), id: None, sent_at: 0, body };
        scan.record(source.parse().unwrap(), false, &datagram, Dialect::Compact);
    }

    #[test]
    fn an_own_query_is_recognised_by_its_port_and_id() {
        let mut scan = healthy();
        scan.probed.iter_mut().for_each(|probed| probed.was_heard = false);
        let own =
            Datagram { from: Some(scan.own_user.clone()), id: Some(1), sent_at: 0, body: DatagramBody::ListRequest };
        scan.record("10.0.0.1:8009".parse().unwrap(), true, &own, Dialect::Compact);
        scan.record("10.0.0.1:8001".parse().unwrap(), false, &own, Dialect::Compact);
        scan.record(
            "10.0.0.1:8001".parse().unwrap(),
            true,
            &Datagram { id: Some(99), ..own.clone() },
            Dialect::Compact,
        );
        assert!(scan.probed.iter().all(|probed| !probed.was_heard));
        scan.record("10.0.0.1:8001".parse().unwrap(), true, &own, Dialect::Compact);
        assert!(scan.probed[1].was_heard && scan.peers().len() == 0);
    }

    #[test]
    fn an_answer_outranks_an_announcement_and_an_announced_port_outranks_the_source_port() {
        let mut scan = healthy();
        let bob = LanUserId::parse("bob@10.0.0.2");
        let source = "10.0.0.2:4000".parse().unwrap();
        let announced =
            Datagram { from: bob.clone(), id: None, sent_at: 0, body: DatagramBody::Discovery { port: 8002 } };
        let answered = Datagram { from: bob, id: None, sent_at: 0, body: DatagramBody::ListResponse(vec![]) };
        scan.record(source, true, &announced, Dialect::Compact);
        scan.record(source, false, &answered, Dialect::Spaced);
        let bob = scan.peers().next().unwrap();
        assert_eq!((bob.found_by, bob.address.port(), bob.dialect), (FoundBy::Answer, 8002, SpokenDialects::Both));
    }

    #[test]
    fn a_peer_heard_at_two_addresses_of_this_machine_is_one_peer() {
        let mut scan = healthy();
        for source in ["10.0.0.1:8004", "127.0.0.1:8004"] {
            receive(&mut scan, "me@10.0.0.1", source, DatagramBody::ListResponse(vec![]));
        }
        assert_eq!(scan.peers().map(|peer| peer.mismatched).collect::<Vec<_>>(), [false]);
    }

    #[test]
    fn a_datagram_without_a_source_address_comes_from_the_claimed_address() {
        let mut scan = healthy();
        for source in ["0.0.0.0:8002", "10.0.0.2:8002"] {
            receive(&mut scan, "bob@10.0.0.2", source, DatagramBody::ListResponse(vec![]));
        }
        receive(&mut scan, "nobody", "0.0.0.0:8002", DatagramBody::ListResponse(vec![]));
        let found: Vec<_> = scan.peers().map(|peer| (peer.address.to_string(), peer.mismatched)).collect();
        assert_eq!(found, [("10.0.0.2:8002".to_owned(), false)]);
    }

    #[test]
    fn the_number_of_recorded_peers_is_bounded() {
        let mut scan = healthy();
        for number in 0..3000 {
            let names = vec![LanUserId::parse(&format!("named{number}@10.0.0.5")).unwrap()];
            receive(&mut scan, &format!("p{number}@10.0.0.2"), "10.0.0.2:8002", DatagramBody::ListResponse(names));
        }
        assert_eq!((scan.peers().len(), scan.mentioned.len()), (MAX_PEERS, MAX_PEERS));
    }
}
