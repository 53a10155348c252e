//! Deduplication between mesh and LAN, for a peer that uses both.
//!
//! A post goes out on both transports, and a receiver on both must show it once. The same holds for
//! a profile. A LAN announcement also shows which mesh peer its sender is: the message id of the
//! announcement is a digest of the peer id, the LAN user id and the time.
//!
//! The two count as one peer only while both transports come from the same host. A claim alone is
//! not enough to take the place of another peer.

use std::collections::{HashMap, VecDeque};

use super::chat_entry::{Author, digest, lan_message_id};
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;

/// The message id of a LAN announcement. A receiver that is linked to the peer can compute it.
pub(super) fn announcement_id(peer: PeerId, user: &LanUserId, sent_at: i64) -> u64 {
    lan_message_id(peer, sent_at.cast_unsigned(), user.as_str())
}

/// The part of a LAN announcement that identifies its sender.
#[derive(Clone, Debug)]
pub(super) struct LanAnnouncement {
    pub(super) id: u64,
    /// By the sender's clock, in Unix seconds.
    pub(super) sent_at: i64,
}

impl LanAnnouncement {
    /// Whether this peer sent the announcement, under this user id.
    pub(super) fn is_by(&self, peer: PeerId, user: &LanUserId) -> bool {
        announcement_id(peer, user, self.sent_at) == self.id
    }
}

/// Largest number of messages remembered for deduplication between transports.
const MAX_REMEMBERED_MESSAGES: usize = 4096;

/// The latest messages of both transports with their authors. The key is the LAN id and the text:
/// otherwise a message could be suppressed by sending another text with its id first.
#[derive(Clone, Debug, Default)]
pub(super) struct CrossTransportDedup {
    authors: HashMap<u64, Author>,
    order: VecDeque<u64>,
    /// Whether any of them ever came by the LAN.
    has_lan_entries: bool,
}

impl CrossTransportDedup {
    /// Records a message. Returns the author it had when it first arrived, or `None` if it is new.
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

    /// Whether any message came by the LAN, in this run or in a stored one. If none did, there can
    /// be no duplicates between the transports.
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
