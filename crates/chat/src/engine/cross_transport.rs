//! One peer on two links: a post goes out on the LAN and over the mesh, and who hears both shows it once. So it is with a
//! profile, and who announces itself on the LAN is known for the peer of the mesh that it is.
//!
//! An announcement's number is a digest of the peer's id, of its name there and of the time. Who it
//! belongs to counts only while both links come from one host: nobody can make itself another by
//! what it says alone.

use std::collections::{HashMap, VecDeque};

use super::entry::{Author, digest, lan_number};
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;

/// The number of an announcement on the LAN, by which those who are linked with the peer know it.
pub(super) fn announcement_number(peer: PeerId, user: &LanUserId, sent_at: i64) -> u64 {
    lan_number(peer, sent_at.cast_unsigned(), user.as_str())
}

/// What an announcement tells of who made it.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) number: u64,
    /// By the sender's clock, in Unix seconds.
    pub(super) sent_at: i64,
}

impl Announced {
    /// Whether it is this peer's, under this name.
    pub(super) fn is_by(&self, peer: PeerId, user: &LanUserId) -> bool {
        announcement_number(peer, user, self.sent_at) == self.number
    }
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
