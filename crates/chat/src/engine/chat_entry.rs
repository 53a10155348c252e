//! Chat entry: author, number, time and text of a chat message. Also computes its message id on the
//! LAN.
//!
//! A LAN message has a 64-bit id. If a message is sent on both transports, its LAN id is a digest
//! of its mesh fields. So a receiver computes the same id from either copy and finds the duplicate.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::deliverer::Deliverer;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::text::replace_line_breaks;

/// Author of a message, as its transport identifies it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// A peer of the mesh.
    Mesh(PeerId),
    /// A peer of the LAN, by its user id.
    Lan(String),
}

/// A chat message to everybody.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ChatEntry {
    /// The author.
    pub author: Author,
    /// The author's name at the time of the message, if the message had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Nickname>,
    /// On the mesh, the author's sequence number of the message. On the LAN, the message id, or 0
    /// if there was none.
    pub number: u64,
    /// Time of sending by the author's clock, in Unix seconds.
    pub said_at: i64,
    /// The text.
    pub text: String,
    /// The first deliverer; `None` for messages of this peer, and for entries that were stored by
    /// earlier versions. It is never sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Deliverer>,
}

/// Approximate memory of a history entry without its texts, in bytes: the entry, its places in the
/// indexes, and the log of an author with a single entry.
const ENTRY_OVERHEAD_BYTES: usize = 512;

impl ChatEntry {
    /// Approximate memory of the entry in the history, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let author = match &self.author {
            // The key of the log has a copy.
            Author::Lan(user) => 2 * user.len(),
            Author::Mesh(_) => 0,
        };
        ENTRY_OVERHEAD_BYTES + self.text.capacity() + author
    }

    /// The id that the message has on the LAN.
    pub(super) fn lan_message_id(&self) -> u64 {
        match self.author {
            Author::Mesh(sender) => lan_message_id(sender, self.number, &self.text),
            Author::Lan(_) => self.number,
        }
    }
}

/// The LAN id of a message of the mesh.
#[must_use]
pub fn lan_message_id(sender: PeerId, number: u64, text: &str) -> u64 {
    digest(&[&sender.0.to_be_bytes(), &number.to_be_bytes()], text)
}

/// The first 64 bits of the SHA-256 of the parts and the text. The text is hashed in the form in
/// which a LAN datagram delivers it: on one line, without spaces at the ends.
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
    fn the_lan_message_id_depends_on_the_author_the_number_and_the_text_as_received() {
        let id = lan_message_id(PeerId(1), 2, "a\nb ");
        assert_eq!(id, lan_message_id(PeerId(1), 2, "a b"));
        for other in [
            lan_message_id(PeerId(2), 2, "a b"),
            lan_message_id(PeerId(1), 3, "a b"),
            lan_message_id(PeerId(1), 2, "a c"),
        ] {
            assert_ne!(id, other);
        }
    }
}
