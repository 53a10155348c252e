//! Context of one event: time, randomness, the local peer, the counters, and the actions so far.

use super::counters::Counters;
use super::event::{Action, Actions, Now};
use super::event_rng::EventRng;
use super::local_peer::LocalPeer;
use super::notice::Notice;
use crate::mesh::{MeshMessage, MessageBody};

/// State that the components share while they process one event.
pub(super) struct Context<'e> {
    pub(super) now: Now,
    pub(super) rng: EventRng,
    pub(super) local: &'e mut LocalPeer,
    pub(super) counters: &'e mut Counters,
    /// Actions so far, in the order in which the driver must perform them.
    pub(super) actions: Actions,
}

impl Context<'_> {
    /// Creates a control message of this peer: any message other than chat.
    pub(super) fn control_message(&mut self, body: MessageBody) -> MeshMessage {
        self.local.control_message(body, self.now)
    }

    /// Notifies the user.
    pub(super) fn notify(&mut self, notice: Notice) {
        self.actions.push(Action::Notify(notice));
    }

    /// Notifies the user that a request was not carried out, with the reason.
    pub(super) fn reject(&mut self, reason: impl Into<String>) {
        self.notify(Notice::Rejected { reason: reason.into() });
    }
}
