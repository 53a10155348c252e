//! Context of one event: the time, the randomness, this peer itself, and the actions so far.

use super::counts::Counts;
use super::draw::Draw;
use super::event::{Action, Actions, Now};
use super::notice::Notice;
use super::own::Own;
use crate::mesh::{MeshMessage, MessageBody};

/// Passed down through the components while they take in one event.
pub(super) struct Context<'e> {
    pub(super) now: Now,
    pub(super) draw: Draw,
    pub(super) own: &'e mut Own,
    pub(super) counts: &'e mut Counts,
    /// In the order in which they are to be done.
    pub(super) out: Actions,
}

impl Context<'_> {
    /// A message of this peer that is no chat.
    pub(super) fn control(&mut self, body: MessageBody) -> MeshMessage {
        self.own.control(body, self.now)
    }

    /// Tells the person.
    pub(super) fn tell(&mut self, notice: Notice) {
        self.out.push(Action::Tell(notice));
    }

    /// Tells the person that something was not done, and why.
    pub(super) fn refuse(&mut self, why: impl Into<String>) {
        self.tell(Notice::Refused { why: why.into() });
    }
}
