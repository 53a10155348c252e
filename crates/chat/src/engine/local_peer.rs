//! This peer itself: its rules, its profile, and the numbers of its messages.

use super::chat_entry::lan_number;
use super::config::EngineConfig;
use super::event::Now;
use crate::mesh::{MeshMessage, MessageBody};
use crate::profile::PeerProfile;

/// Numbers of what is no chat stand above this bit, so that the numbers of a run's chat follow each other without gaps.
/// Numbers stay below 2^53, which every JSON reader keeps exactly.
pub(super) const CONTROL_NUMBER_BIT: u64 = 1 << 52;

/// Chat of this peer's own is numbered below this, with room for whatever it will say. A higher number under its id was made
/// up by somebody.
pub(super) const CHAT_NUMBER_LIMIT: u64 = CONTROL_NUMBER_BIT - (1 << 40);

/// This peer.
#[derive(Clone, Debug)]
pub(super) struct LocalPeer {
    pub(super) config: EngineConfig,
    pub(super) profile: Option<PeerProfile>,
    next_chat_number: u64,
    next_control_number: u64,
}

impl LocalPeer {
    pub(super) fn new(config: EngineConfig, now: Now) -> Self {
        // Microseconds: nobody says as much in a second. So the numbers of the next run are above those of this one.
        let clock = u64::try_from(now.unix_s).unwrap_or(0).saturating_mul(1_000_000) % CONTROL_NUMBER_BIT;
        Self { config, profile: None, next_chat_number: clock + 1, next_control_number: CONTROL_NUMBER_BIT | clock }
    }

    /// A message of this peer that is no chat.
    pub(super) fn control_message(&mut self, body: MessageBody, now: Now) -> MeshMessage {
        self.next_control_number += 1;
        let name = Some(self.config.name.clone());
        MeshMessage { sender: self.config.id, number: self.next_control_number, said_at: now.unix_s, name, body }
    }

    /// The number of the next chat.
    pub(super) fn next_chat_number(&mut self) -> u64 {
        let number = self.next_chat_number;
        self.next_chat_number += 1;
        number
    }

    /// A number on the LAN for what is no post.
    pub(super) fn next_lan_id(&mut self) -> u64 {
        self.next_control_number += 1;
        lan_number(self.config.id, self.next_control_number, "")
    }

    /// This peer has said something with this number, in an earlier run.
    pub(super) fn record_used_number(&mut self, number: u64) {
        if number < CHAT_NUMBER_LIMIT {
            self.next_chat_number = self.next_chat_number.max(number + 1);
        }
    }
}
