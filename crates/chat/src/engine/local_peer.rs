//! The local peer: its configuration, its profile, and the sequence numbers of its messages.

use super::chat_entry::lan_message_id;
use super::config::EngineConfig;
use super::event::Now;
use crate::mesh::{MeshMessage, MessageBody};
use crate::profile::PeerProfile;

/// Bit that is set in the number of each control message. Control messages thus take no chat
/// numbers, and the chat numbers of one run have no gaps. All numbers stay below 2^53, so every
/// JSON parser represents them exactly.
pub(super) const CONTROL_NUMBER_BIT: u64 = 1 << 52;

/// Upper bound of the chat numbers that are accepted as numbers of an earlier run of this peer. A
/// higher number was forged by another peer. If this run began just below the bound, 2^40 numbers
/// are left for its chat.
pub(super) const CHAT_NUMBER_LIMIT: u64 = CONTROL_NUMBER_BIT - (1 << 40);

/// State of the local peer.
#[derive(Clone, Debug)]
pub(super) struct LocalPeer {
    pub(super) config: EngineConfig,
    pub(super) profile: Option<PeerProfile>,
    next_chat_number: u64,
    next_control_number: u64,
}

impl LocalPeer {
    pub(super) fn new(config: EngineConfig, now: Now) -> Self {
        // The numbers of a run start at the time in microseconds. No run sends a million messages
        // per second, so the next run starts above all numbers of this run.
        let clock = u64::try_from(now.unix_s).unwrap_or(0).saturating_mul(1_000_000) % CONTROL_NUMBER_BIT;
        Self { config, profile: None, next_chat_number: clock + 1, next_control_number: CONTROL_NUMBER_BIT | clock }
    }

    /// Creates a control message of this peer: any message other than chat.
    pub(super) fn control_message(&mut self, body: MessageBody, now: Now) -> MeshMessage {
        self.next_control_number += 1;
        let name = Some(self.config.name.clone());
        MeshMessage { sender: self.config.id, number: self.next_control_number, said_at: now.unix_s, name, body }
    }

    /// Takes the number of the next chat message.
    pub(super) fn next_chat_number(&mut self) -> u64 {
        let number = self.next_chat_number;
        self.next_chat_number += 1;
        number
    }

    /// Takes an id for a LAN message other than a post.
    pub(super) fn next_lan_message_id(&mut self) -> u64 {
        self.next_control_number += 1;
        lan_message_id(self.config.id, self.next_control_number, "")
    }

    /// Records a chat number that this peer used in an earlier run. New numbers are higher.
    pub(super) fn record_used_number(&mut self, number: u64) {
        if number < CHAT_NUMBER_LIMIT {
            self.next_chat_number = self.next_chat_number.max(number + 1);
        }
    }
}
