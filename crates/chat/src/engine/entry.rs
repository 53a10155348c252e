//! Chat entries: author, number and text, and the number that stands for them on the LAN.
//!
//! On the LAN a message has 64 bits for a number. Ours are a digest of what the mesh tells of it, so that both ends can
//! reckon it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::text::replace_line_breaks;

/// Who said something, as the link tells it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// A peer of the mesh.
    Mesh(PeerId),
    /// A peer of the LAN, by what it calls itself.
    Lan(String),
}

/// Something that was said to everybody.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Who said it.
    pub author: Author,
    /// What the author is called, if that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Nickname>,
    /// The author's number of it.
    pub number: u64,
    /// When, by the author's clock, in Unix seconds.
    pub said_at: i64,
    /// What.
    pub text: String,
}

impl Entry {
    /// Its number on the LAN, where it may have come, too.
    pub(super) fn lan_number(&self) -> u64 {
        match self.author {
            Author::Mesh(sender) => lan_number(sender, self.number, &self.text),
            Author::Lan(_) => self.number,
        }
    }
}

/// The number on the LAN of a message of the mesh.
#[must_use]
pub fn lan_number(sender: PeerId, number: u64, text: &str) -> u64 {
    digest(&[&sender.0.to_be_bytes(), &number.to_be_bytes()], text)
}

/// The first bits of a digest of the parts and of the text as it is after its way through a datagram.
pub(super) fn digest(parts: &[&[u8]], text: &str) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.update(replace_line_breaks(text).trim().as_bytes());
    let digest = hash.finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
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
}
