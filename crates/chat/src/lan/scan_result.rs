//! What a look around the LAN saw. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;

use super::datagram::{Datagram, DatagramBody};
use super::fields::Dialect;
use crate::lan_user_id::LanUserId;

/// The name under which a look around asks.
pub const SCAN_NAME: &str = "rollcall-scan";
/// The most peers that are remembered, and the most names that they tell.
const MAX_PEERS: usize = 1024;

/// Why something of the system could not be had.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SocketFailure {
    /// What kind it is, as far as it matters here.
    pub kind: SocketFailureKind,
    /// What the system said.
    pub text: String,
}

/// The refusals that have a remedy of their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketFailureKind {
    /// Another program has it.
    #[serde(rename = "taken")]
    InUse,
    /// It is forbidden: by a firewall, if it was about sending.
    Forbidden,
    /// No way leads there.
    NoRoute,
    /// Another one.
    Other,
}

/// An address to which the question was sent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ProbedAddress {
    /// The address.
    pub to: Ipv4Addr,
    /// The interfaces whose broadcast address it is; none if it belongs to no single one.
    pub interfaces: Vec<String>,
    /// Why it could not be sent, if it could not.
    #[serde(rename = "refusal", skip_serializing_if = "Option::is_none")]
    pub failure: Option<SocketFailure>,
    /// Whether the question was heard on the shared port of this machine itself.
    pub was_heard: bool,
}

/// A peer that was heard.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FoundPeer {
    /// What it calls itself, its address included.
    pub user_id: LanUserId,
    /// The part before the address.
    pub name: String,
    /// Where it is answered.
    pub address: SocketAddr,
    /// How it writes.
    pub dialect: SpokenDialects,
    /// How it was found.
    pub found_by: FoundBy,
    /// Whether it claims another address than the one it writes from.
    pub mismatched: bool,
}

/// The dialects that a peer showed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpokenDialects {
    /// `KEY:VALUE`.
    Compact,
    /// `KEY: VALUE`.
    Spaced,
    /// Whichever it was asked in.
    Both,
}

/// How a peer was found.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// It said something else that was for everybody.
    Message,
    /// It announced itself meanwhile.
    Announcement,
    /// It answered the question.
    Answer,
}

/// What was seen. Grows with what is heard.
#[derive(Clone, Debug)]
pub struct ScanResult {
    /// Who asks.
    pub own_user: LanUserId,
    /// The port at which answers come in.
    pub port: u16,
    /// Why the shared port is not heard, if it is not.
    pub shared_port_failure: Option<SocketFailure>,
    /// The addresses of this machine.
    pub own_ips: Vec<IpAddr>,
    /// To whom the question went; its number is the place in this list.
    pub probed: Vec<ProbedAddress>,
    /// Whether these are all that there are.
    pub(super) covers_all_networks: bool,
    pub(super) peers: BTreeMap<(LanUserId, IpAddr), FoundPeer>,
    /// Who was named, and by whom first.
    pub(super) mentioned: BTreeMap<LanUserId, LanUserId>,
}

impl ScanResult {
    /// Nothing, yet.
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

    /// Takes in what came to the shared port, or to the own one.
    pub fn record(&mut self, source: SocketAddr, shared: bool, datagram: &Datagram, dialect: Dialect) {
        // An ACK says nothing of its sender.
        let Some(user) = &datagram.from else { return };
        if user == &self.own_user {
            let number = datagram.id.and_then(|id| usize::try_from(id).ok());
            let probed = number.and_then(|number| self.probed.get_mut(number));
            if let Some(probed) = probed
                && shared
                && source.port() == self.port
            {
                probed.was_heard = true;
            }
            return;
        }
        // Another look around, on this machine or elsewhere, is nobody.
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
        let key = (user.clone(), source.ip());
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

    /// Whether somebody who claims to be there may write from here. All addresses of this machine are one.
    fn is_claim_plausible(&self, user: &LanUserId, source: IpAddr) -> bool {
        let is_own = |ip: IpAddr| ip.is_loopback() || self.own_ips.contains(&ip);
        user.claimed_ip().is_some_and(|claimed| claimed == source || (is_own(claimed) && is_own(source)))
    }

    /// Who is there, by name.
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

    /// A machine with one network, on which all is well.
    pub(in crate::lan) fn well() -> ScanResult {
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

    pub(in crate::lan) fn heard(scan: &mut ScanResult, user: &str, source: &str, body: DatagramBody) {
        let datagram = Datagram { from: LanUserId::parse(user), id: None, sent_at: 0, body };
        scan.record(source.parse().unwrap(), false, &datagram, Dialect::Compact);
    }

    #[test]
    fn its_own_question_is_known_by_its_port_and_number() {
        let mut scan = well();
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
    fn an_answer_counts_more_than_an_announcement_and_an_announced_port_more_than_the_source() {
        let mut scan = well();
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
    fn a_crowd_is_bounded() {
        let mut scan = well();
        for number in 0..3000 {
            let names = vec![LanUserId::parse(&format!("named{number}@10.0.0.5")).unwrap()];
            heard(&mut scan, &format!("p{number}@10.0.0.2"), "10.0.0.2:8002", DatagramBody::ListResponse(names));
        }
        assert_eq!((scan.peers().len(), scan.mentioned.len()), (MAX_PEERS, MAX_PEERS));
    }
}
