//! One peer on two links: a post goes out on the LAN and over the mesh, and who hears both shows it once. So it is with a
//! profile, and who announces itself on the LAN is known for the peer of the mesh that it is.
//!
//! On the LAN a message has 64 bits for a number. Ours are a digest of what the mesh tells of it, so that both ends can
//! reckon it. The text is part of it: nobody can suppress a message by using its number for another text first. An
//! announcement's are a digest of the peer's id, of its name there and of the time.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use super::Engine;
use super::history::Author;
use super::neighbours::Announced;
use crate::domain::BootMs;
use crate::peer::peer_id::PeerId;
use crate::peer::profile::Profile;
use crate::peer::text::one_line;
use crate::peer::user_id::UserId;

/// An announcement that tells nothing new is not looked at again for so long, however often it comes.
const LOOKED_AT_EVERY_MS: u64 = 1_000;

/// The number on the LAN of a message of the mesh.
#[must_use]
pub fn lan_number(sender: PeerId, number: u64, text: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(sender.0.to_be_bytes());
    hash.update(number.to_be_bytes());
    // As it is after its way through a datagram.
    hash.update(one_line(text).trim().as_bytes());
    let digest = hash.finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}

/// The number of an announcement on the LAN, by which those who are linked with the peer know it.
pub(super) fn announcement_number(peer: PeerId, user: &UserId, sent_at: i64) -> u64 {
    lan_number(peer, sent_at.cast_unsigned(), user.as_str())
}

/// How many messages are remembered across links.
const REMEMBERED: usize = 4096;

/// What was heard lately on either link, and from whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Crossing {
    authors: HashMap<u64, Author>,
    order: VecDeque<u64>,
    /// Whether any of it came on the LAN, ever.
    lan: bool,
}

impl Crossing {
    /// Who said it on whichever link it came by first; `None` if it is new, and then remembered.
    pub(super) fn heard(&mut self, number: u64, author: &Author) -> Option<Author> {
        if let Some(first) = self.authors.get(&number) {
            return Some(first.clone());
        }
        self.lan |= matches!(author, Author::Lan(_));
        self.authors.insert(number, author.clone());
        self.order.push_back(number);
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
    /// Somebody announced itself on the LAN: it may be a peer that is linked.
    pub(super) fn heard_announcement(&mut self, user: &UserId, number: Option<u64>, sent_at: i64, now: BootMs) {
        let Some(number) = number else { return };
        let Some(neighbour) = self.neighbours.as_mut().and_then(|lan| lan.peers.get_mut(user)) else { return };
        let is_linked = neighbour.peer.is_some_and(|peer| self.by_peer.contains_key(&peer));
        let is_too_soon =
            neighbour.announced.as_ref().is_some_and(|announced| now < announced.at.plus(LOOKED_AT_EVERY_MS));
        if is_linked || is_too_soon {
            return;
        }
        let announced = Announced { number, sent_at, at: now };
        let found = self.by_peer.keys().copied().find(|peer| announced.is_by(*peer, user));
        neighbour.peer = found.or(neighbour.peer);
        neighbour.announced = Some(announced);
    }

    /// A peer was linked: it may have announced itself on the LAN.
    pub(super) fn look_for_announcement(&mut self, peer: PeerId) {
        for (user, neighbour) in self.neighbours.iter_mut().flat_map(|lan| &mut lan.peers) {
            let is_linked = neighbour.peer.is_some_and(|peer| self.by_peer.contains_key(&peer));
            if !is_linked && neighbour.announced.as_ref().is_some_and(|announced| announced.is_by(peer, user)) {
                neighbour.peer = Some(peer);
            }
        }
    }

    /// Whether this profile of a peer of the mesh came on the LAN already.
    pub(super) fn is_known_on_lan(&self, peer: PeerId, profile: &Profile) -> bool {
        let mut same = self.neighbours.iter().flat_map(|lan| lan.peers.values());
        same.any(|neighbour| neighbour.peer == Some(peer) && neighbour.profile.as_ref() == Some(profile))
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
    fn the_number_is_of_sender_number_and_text_as_it_arrives() {
        let number = lan_number(PeerId(1), 2, "a\nb ");
        assert_eq!(number, lan_number(PeerId(1), 2, "a b"));
        for other in [lan_number(PeerId(2), 2, "a b"), lan_number(PeerId(1), 3, "a b"), lan_number(PeerId(1), 2, "a c")]
        {
            assert_ne!(number, other);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (mut crossing, author) = (Crossing::default(), Author::Mesh(PeerId(1)));
        for number in 0..=REMEMBERED as u64 {
            assert_eq!(crossing.heard(number, &author), None);
        }
        assert_eq!(crossing.heard(REMEMBERED as u64, &author), Some(author.clone()));
        assert_eq!(crossing.heard(0, &author), None, "the oldest is forgotten");
        assert_eq!(crossing.authors.len(), REMEMBERED);
    }
}
