//! One peer on two links: a post goes out on the LAN and over the mesh, and who hears both shows it once. So it is with a
//! profile, and who announces itself on the LAN is known for the peer of the mesh that it is.
//!
//! An announcement's number is a digest of the peer's id, of its name there and of the time. Who it belongs to counts
//! only while both links come from one host: nobody can make itself another by what it says alone.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::Engine;
use super::entry::{Author, digest, lan_number};
use super::neighbours::{Announced, Neighbour};
use crate::peer_id::PeerId;
use crate::profile::Profile;
use crate::user_id::UserId;

/// The number of an announcement on the LAN, by which those who are linked with the peer know it.
pub(super) fn announcement_number(peer: PeerId, user: &UserId, sent_at: i64) -> u64 {
    lan_number(peer, sent_at.cast_unsigned(), user.as_str())
}

/// How many messages are remembered across links.
const REMEMBERED: usize = 4096;

/// What was heard lately on either link, and from whom. It is known by its number on the LAN and its text: nobody can
/// suppress a message by using its number for another text first.
#[derive(Clone, Debug, Default)]
pub(super) struct Crossing {
    authors: HashMap<u64, Author>,
    order: VecDeque<u64>,
    /// Whether any of it came on the LAN, ever.
    lan: bool,
}

impl Crossing {
    /// Who said it on whichever link it came by first; `None` if it is new, and then remembered.
    pub(super) fn heard(&mut self, number: u64, text: &str, author: &Author) -> Option<Author> {
        let key = digest(&[&number.to_be_bytes()], text);
        if let Some(first) = self.authors.get(&key) {
            return Some(first.clone());
        }
        self.lan |= matches!(author, Author::Lan(_));
        self.authors.insert(key, author.clone());
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.authors.remove(&oldest);
        }
        None
    }

    /// Whether anything came on the LAN, in this run or in one that was kept: else nothing can have crossed.
    pub(super) fn has_lan(&self) -> bool {
        self.lan
    }
}

impl Engine {
    /// The linked peer that somebody of the LAN is.
    pub(super) fn linked_peer(&self, neighbour: &Neighbour) -> Option<PeerId> {
        let peer = neighbour.peer?;
        let is_there = !neighbour.is_mismatched && self.is_linked_from(peer, neighbour.addr.ip());
        is_there.then_some(peer)
    }

    /// Whether the peer is linked, and from this host.
    fn is_linked_from(&self, peer: PeerId, host: IpAddr) -> bool {
        let link = self.by_peer.get(&peer).and_then(|link| self.links.get(link));
        let (Some(link), Some(lan)) = (link, &self.neighbours) else { return false };
        lan.is_one_host(link.remote, host)
    }

    /// Somebody announced itself on the LAN from there: it may be a peer that is linked. If it is none, it is not any more
    /// who it was: a program that starts again may have another id.
    pub(super) fn heard_announcement(&mut self, user: &UserId, source: IpAddr, number: Option<u64>, sent_at: i64) {
        let is_match = self.neighbours.as_ref().is_some_and(|lan| lan.is_match(user, source));
        let Some(number) = number.filter(|_| is_match) else { return };
        let announced = Announced { number, sent_at };
        let is_it = |peer: &PeerId| self.is_linked_from(*peer, source) && announced.is_by(*peer, user);
        let found = self.by_peer.keys().copied().find(is_it);
        if let Some(neighbour) = self.neighbours.as_mut().and_then(|lan| lan.peers.get_mut(user)) {
            neighbour.peer = found;
            neighbour.announced = Some(announced);
        }
    }

    /// A peer was linked: it may have announced itself on the LAN.
    pub(super) fn look_for_announcement(&mut self, peer: PeerId) {
        for (user, neighbour) in self.neighbours.iter_mut().flat_map(|lan| &mut lan.peers) {
            if neighbour.announced.as_ref().is_some_and(|announced| announced.is_by(peer, user)) {
                neighbour.peer = Some(peer);
            }
        }
    }

    /// A profile came on the LAN, whole; whether the mesh brought the same already. If not, it need not any more.
    pub(super) fn is_known_on_mesh(&mut self, user: &UserId, profile: &Profile) -> bool {
        let neighbour = self.neighbours.as_ref().and_then(|lan| lan.peers.get(user));
        let peer = neighbour.and_then(|neighbour| self.linked_peer(neighbour));
        let Some(sender) = peer.and_then(|peer| self.senders.get_mut(&peer)) else { return false };
        sender.profile.replace(profile.clone()).as_ref() == Some(profile)
    }
}

impl Announced {
    fn is_by(&self, peer: PeerId, user: &UserId) -> bool {
        announcement_number(peer, user, self.sent_at) == self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let (mut crossing, author) = (Crossing::default(), Author::Mesh(PeerId(1)));
        for number in 0..=REMEMBERED as u64 {
            assert_eq!(crossing.heard(number, "x", &author), None);
        }
        assert_eq!(crossing.heard(REMEMBERED as u64, "x", &author), Some(author.clone()));
        assert_eq!(crossing.heard(0, "x", &author), None, "the oldest is forgotten");
        assert_eq!(crossing.authors.len(), REMEMBERED);
    }
}
