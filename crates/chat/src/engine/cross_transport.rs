//! Deduplication between mesh and LAN, for a peer that uses both.
//!
//! Such a peer sends each post on both transports, and a receiver that uses both must show the post
//! once. The same holds for a profile. A LAN announcement also identifies the mesh peer that sent
//! it: its message id is a digest of the peer id, the LAN user id and the time.
//!
//! A LAN peer and a mesh peer count as one only while the datagrams and the link come from the same
//! host. So a peer cannot take the place of another by a claim alone.

use std::collections::{HashMap, VecDeque};

use super::chat_entry::{Author, digest, lan_message_id};
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;

/// The message id of a LAN announcement. A receiver that is linked to the peer can compute it too.
pub(super) fn announcement_id(peer: PeerId, user: &LanUserId, sent_at: i64) -> u64 {
    lan_message_id(peer, sent_at.cast_unsigned(), user.as_str())
}

/// The part of a LAN announcement that identifies its sender.
#[derive(Clone, Debug)]
pub(super) struct LanAnnouncement {
    /// Message id of the announcement.
    pub(super) id: u64,
    /// Time of sending by the sender's clock, in Unix seconds.
    pub(super) sent_at: i64,
}

impl LanAnnouncement {
    /// Whether `peer` sent the announcement, with the user id `user`.
    pub(super) fn is_by(&self, peer: PeerId, user: &LanUserId) -> bool {
        announcement_id(peer, user, self.sent_at) == self.id
    }
}

/// Largest number of messages remembered for deduplication between transports.
const MAX_REMEMBERED_MESSAGES: usize = 4096;

/// The latest messages of both transports, with their authors. The key is a digest of the LAN
/// message id and the text. With the id alone, an attacker could suppress a message by an earlier
/// message with its id and another text.
#[derive(Clone, Debug, Default)]
pub(super) struct CrossTransportDedup {
    /// The author of each message, by key.
    authors: HashMap<u64, Author>,
    /// The keys, oldest first.
    order: VecDeque<u64>,
    /// Whether the first copy of any message ever came by the LAN. Removed messages count too.
    has_lan_entries: bool,
}

impl CrossTransportDedup {
    /// Records a message. Returns the author of its first copy, or `None` if the message is new.
    pub(super) fn record(&mut self, lan_id: u64, text: &str, author: &Author) -> Option<Author> {
        let key = digest(&[&lan_id.to_be_bytes()], text);
        if let Some(first) = self.authors.get(&key) {
            return Some(first.clone());
        }
        self.has_lan_entries |= matches!(author, Author::Lan(_));
        self.authors.insert(key, author.clone());
        self.order.push_back(key);
        if self.order.len() > MAX_REMEMBERED_MESSAGES
            && let Some(oldest) = self.order.pop_front()
        {
            self.authors.remove(&oldest);
        }
        None
    }

    /// Whether the first copy of any message came by the LAN, in this run or among the messages
    /// that an earlier run stored. If there was none, a peer without LAN needs no check for
    /// duplicates between the transports.
    pub(super) fn has_lan_entries(&self) -> bool {
        self.has_lan_entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_remembered_messages_is_bounded() {
        let (mut dedup, author) = (CrossTransportDedup::default(), Author::Mesh(PeerId(1)));
        for lan_id in 0..=MAX_REMEMBERED_MESSAGES as u64 {
            assert_eq!(dedup.record(lan_id, "x", &author), None);
        }
        assert_eq!(dedup.record(MAX_REMEMBERED_MESSAGES as u64, "x", &author), Some(author.clone()));
        assert_eq!(dedup.record(0, "x", &author), None, "the oldest message was removed");
        assert_eq!(dedup.authors.len(), MAX_REMEMBERED_MESSAGES);
    }
}
