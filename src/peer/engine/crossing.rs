//! One message on two links: a post goes out on the LAN and over the mesh, and who hears both shows it once.
//!
//! On the LAN a message has 64 bits for a number. Ours are a digest of what the mesh tells of it, so that both ends can
//! reckon it. The text is part of it: nobody can suppress a message by using its number for another text first.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use super::history::Author;
use crate::peer::peer_id::PeerId;
use crate::peer::text::one_line;

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

/// How many messages are remembered across links.
const REMEMBERED: usize = 4096;

/// What was heard lately on either link, and from whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Crossing {
    authors: HashMap<u64, Author>,
    order: VecDeque<u64>,
}

impl Crossing {
    /// Who said it on whichever link it came by first; `None` if it is new, and then remembered.
    pub(super) fn heard(&mut self, number: u64, author: &Author) -> Option<Author> {
        if let Some(first) = self.authors.get(&number) {
            return Some(first.clone());
        }
        self.authors.insert(number, author.clone());
        self.order.push_back(number);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.authors.remove(&oldest);
        }
        None
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
