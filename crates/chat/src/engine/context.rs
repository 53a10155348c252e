//! Context of one event: the time, the randomness, this peer itself, and the actions so far.

use super::counters::Counters;
use super::event::{Action, Actions, Now};
use super::event_rng::EventRng;
use super::local_peer::LocalPeer;
use super::notice::Notice;
use crate::mesh::{MeshMessage, MessageBody};

/// Passed down through the components while they take in one event.
pub(super) struct Context<'e> {
    pub(super) now: Now,
    pub(super) rng: EventRng,
    pub(super) local: &'e mut LocalPeer,
    pub(super) counters: &'e mut Counters,
    /// In the order in which they are to be done.
    pub(super) actions: Actions,
}

impl Context<'_> {
    /// A message of this peer that is no chat.
    pub(super) fn control_message(&mut self, body: MessageBody) -> MeshMessage {
        self.local.control_message(body, self.now)
    }

    /// Tells the person.
    pub(super) fn notify(&mut self, notice: Notice) {
        self.actions.push(Action::Notify(notice));
    }

    /// Tells the person that something was not done, and why.
    pub(super) fn reject(&mut self, reason: impl Into<String>) {
        self.notify(Notice::Rejected { reason: reason.into() });
    }
}
