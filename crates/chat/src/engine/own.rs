//! This peer itself: its rules, its profile, and the numbers of its messages.

use super::entry::lan_number;
use super::event::Now;
use super::rules::Rules;
use crate::mesh::{MeshMessage, MessageBody};
use crate::profile::PeerProfile;

/// Numbers of what is no chat stand above this bit, so that the numbers of a run's chat follow each other without gaps.
/// Numbers stay below 2^53, which every JSON reader keeps exactly.
pub(super) const CONTROL_NUMBERS: u64 = 1 << 52;

/// Chat of this peer's own is numbered below this, with room for whatever it will say. A higher number under its id was made
/// up by somebody.
pub(super) const HIGHEST_CHAT: u64 = CONTROL_NUMBERS - (1 << 40);

/// This peer.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) rules: Rules,
    pub(super) profile: Option<PeerProfile>,
    next_chat: u64,
    next_control: u64,
}

impl Own {
    pub(super) fn new(rules: Rules, now: Now) -> Self {
        // Microseconds: nobody says as much in a second. So the numbers of the next run are above those of this one.
        let clock = u64::try_from(now.unix_s).unwrap_or(0).saturating_mul(1_000_000) % CONTROL_NUMBERS;
        Self { rules, profile: None, next_chat: clock + 1, next_control: CONTROL_NUMBERS | clock }
    }

    /// A message of this peer that is no chat.
    pub(super) fn control(&mut self, body: MessageBody, now: Now) -> MeshMessage {
        self.next_control += 1;
        let name = Some(self.rules.name.clone());
        MeshMessage { sender: self.rules.id, number: self.next_control, said_at: now.unix_s, name, body }
    }

    /// The number of the next chat.
    pub(super) fn next_chat_number(&mut self) -> u64 {
        let number = self.next_chat;
        self.next_chat += 1;
        number
    }

    /// A number on the LAN for what is no post.
    pub(super) fn next_lan_id(&mut self) -> u64 {
        self.next_control += 1;
        lan_number(self.rules.id, self.next_control, "")
    }

    /// This peer has said something with this number, in an earlier run.
    pub(super) fn has_said(&mut self, number: u64) {
        if number < HIGHEST_CHAT {
            self.next_chat = self.next_chat.max(number + 1);
        }
    }
}
