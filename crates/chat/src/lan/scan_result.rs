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
const MOST: usize = 1024;

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
    Taken,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<SocketFailure>,
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
    pub me: LanUserId,
    /// The port at which answers come in.
    pub port: u16,
    /// Why the shared port is not heard, if it is not.
    pub shared_refusal: Option<SocketFailure>,
    /// The addresses of this machine.
    pub own_ips: Vec<IpAddr>,
    /// To whom the question went; its number is the place in this list.
    pub asked: Vec<ProbedAddress>,
    /// Whether these are all that there are.
    pub(super) everywhere: bool,
    pub(super) present: BTreeMap<(LanUserId, IpAddr), FoundPeer>,
    /// Who was named, and by whom first.
    pub(super) named: BTreeMap<LanUserId, LanUserId>,
}

impl ScanResult {
    /// Nothing, yet.
    #[must_use]
    pub fn new(
        me: LanUserId,
        port: u16,
        shared_refusal: Option<SocketFailure>,
        own_ips: Vec<IpAddr>,
        asked: Vec<ProbedAddress>,
        everywhere: bool,
    ) -> Self {
        Self { me, port, shared_refusal, own_ips, asked, everywhere, present: BTreeMap::new(), named: BTreeMap::new() }
    }

    /// Takes in what came to the shared port, or to the own one.
    pub fn hear(&mut self, source: SocketAddr, shared: bool, datagram: &Datagram, dialect: Dialect) {
        // An ACK says nothing of its sender.
        let Some(user) = &datagram.from else { return };
        if user == &self.me {
            let number = datagram.id.and_then(|id| usize::try_from(id).ok());
            let asked = number.and_then(|number| self.asked.get_mut(number));
            if let Some(asked) = asked
                && shared
                && source.port() == self.port
            {
                asked.was_heard = true;
            }
            return;
        }
        // Another look around, on this machine or elsewhere, is nobody.
        if user.name() == SCAN_NAME {
            return;
        }
        let (found_by, told_port) = match &datagram.body {
            DatagramBody::ListResponse(users) => {
                for named in users.iter().filter(|named| named.name() != SCAN_NAME) {
                    if self.named.len() < MOST {
                        self.named.entry(named.clone()).or_insert_with(|| user.clone());
                    }
                }
                (FoundBy::Answer, None)
            }
            DatagramBody::Discovery { port } => (FoundBy::Announcement, Some(*port)),
            _ => (FoundBy::Message, None),
        };
        let key = (user.clone(), source.ip());
        if self.present.len() >= MOST && !self.present.contains_key(&key) {
            return;
        }
        let style = match dialect {
            Dialect::Compact => SpokenDialects::Compact,
            Dialect::Spaced => SpokenDialects::Spaced,
        };
        let mismatched = !self.is_match(user, source.ip());
        let address = SocketAddr::new(source.ip(), told_port.unwrap_or(source.port()));
        let peer = self.present.entry(key).or_insert_with(|| FoundPeer {
            user_id: user.clone(),
            name: user.name().to_owned(),
            address,
            dialect: style,
            found_by,
            mismatched,
        });
        if peer.dialect != style {
            peer.dialect = SpokenDialects::Both;
        }
        peer.found_by = peer.found_by.max(found_by);
        if let Some(port) = told_port {
            peer.address.set_port(port);
        }
    }

    /// Whether somebody who claims to be there may write from here. All addresses of this machine are one.
    fn is_match(&self, user: &LanUserId, source: IpAddr) -> bool {
        let is_own = |ip: IpAddr| ip.is_loopback() || self.own_ips.contains(&ip);
        user.claimed_ip().is_some_and(|claimed| claimed == source || (is_own(claimed) && is_own(source)))
    }

    /// Who is there, by name.
    #[must_use]
    pub fn present(&self) -> impl ExactSizeIterator<Item = &FoundPeer> {
        self.present.values()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::lan) const ETH: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 255);

    fn asked(to: Ipv4Addr, interfaces: &[&str]) -> ProbedAddress {
        let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
        ProbedAddress { to, interfaces, refusal: None, was_heard: true }
    }

    /// A machine with one network, on which all is well.
    pub(in crate::lan) fn well() -> ScanResult {
        let me = LanUserId::parse("rollcall-scan@10.0.0.1").unwrap();
        let own = vec!["10.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let all = [
            asked(ETH, &["eth0"]),
            asked(Ipv4Addr::LOCALHOST, &[]),
            asked(Ipv4Addr::new(127, 255, 255, 255), &["lo"]),
            asked(Ipv4Addr::BROADCAST, &[]),
        ];
        ScanResult::new(me, 8001, None, own, all.to_vec(), true)
    }

    pub(in crate::lan) fn heard(seen: &mut ScanResult, user: &str, source: &str, body: DatagramBody) {
        let datagram = Datagram { from: LanUserId::parse(user), id: None, sent_at: 0, body };
        seen.hear(source.parse().unwrap(), false, &datagram, Dialect::Compact);
    }

    #[test]
    fn its_own_question_is_known_by_its_port_and_number() {
        let mut seen = well();
        seen.asked.iter_mut().for_each(|asked| asked.was_heard = false);
        let own = Datagram { from: Some(seen.me.clone()), id: Some(1), sent_at: 0, body: DatagramBody::ListRequest };
        seen.hear("10.0.0.1:8009".parse().unwrap(), true, &own, Dialect::Compact);
        seen.hear("10.0.0.1:8001".parse().unwrap(), false, &own, Dialect::Compact);
        seen.hear("10.0.0.1:8001".parse().unwrap(), true, &Datagram { id: Some(99), ..own.clone() }, Dialect::Compact);
        assert!(seen.asked.iter().all(|asked| !asked.was_heard));
        seen.hear("10.0.0.1:8001".parse().unwrap(), true, &own, Dialect::Compact);
        assert!(seen.asked[1].was_heard && seen.present().len() == 0);
    }

    #[test]
    fn an_answer_counts_more_than_an_announcement_and_an_announced_port_more_than_the_source() {
        let mut seen = well();
        let bob = LanUserId::parse("bob@10.0.0.2");
        let source = "10.0.0.2:4000".parse().unwrap();
        let announced =
            Datagram { from: bob.clone(), id: None, sent_at: 0, body: DatagramBody::Discovery { port: 8002 } };
        let answered = Datagram { from: bob, id: None, sent_at: 0, body: DatagramBody::ListResponse(vec![]) };
        seen.hear(source, true, &announced, Dialect::Compact);
        seen.hear(source, false, &answered, Dialect::Spaced);
        let bob = seen.present().next().unwrap();
        assert_eq!((bob.found_by, bob.address.port(), bob.dialect), (FoundBy::Answer, 8002, SpokenDialects::Both));
    }

    #[test]
    fn a_crowd_is_bounded() {
        let mut seen = well();
        for number in 0..3000 {
            let names = vec![LanUserId::parse(&format!("named{number}@10.0.0.5")).unwrap()];
            heard(&mut seen, &format!("p{number}@10.0.0.2"), "10.0.0.2:8002", DatagramBody::ListResponse(names));
        }
        assert_eq!((seen.present().len(), seen.named.len()), (MOST, MOST));
    }
}
