//! A pull under way: one question after the other, each repeated until it is answered.

use super::message::{Cursor, Message, Next};
use rollcall_core::BootMs;

/// How long a question goes without an answer before it is asked again.
const ASK_AGAIN_MS: u64 = 500;

/// Tells the questions of this process apart, also from those of the process that was this node before: an answer to one
/// of those may come late.
#[derive(Debug)]
pub(super) struct Asks(u64);

/// What one replica still wants to be told by another.
#[derive(Debug)]
pub(super) struct Pulling {
    ask: u64,
    from: Cursor,
    asked_at: BootMs,
}

impl Asks {
    /// Counts on from a number that was drawn.
    pub(super) fn after(drawn: u64) -> Self {
        Self(drawn)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

impl Pulling {
    /// Begins to ask; the first question.
    pub(super) fn start(from: Cursor, asks: &mut Asks, now: BootMs) -> (Self, Message) {
        let this = Self { ask: asks.next(), from, asked_at: now };
        let question = this.question();
        (this, question)
    }

    /// The question again, if it is time.
    pub(super) fn remind(&mut self, now: BootMs) -> Option<Message> {
        let is_due = now.since(self.asked_at) >= ASK_AGAIN_MS;
        is_due.then(|| {
            self.asked_at = now;
            self.question()
        })
    }

    /// Whether a part answers the present question.
    pub(super) fn is_answered_by(&self, ask: u64) -> bool {
        self.ask == ask
    }

    /// The question that follows a part, if more is to come.
    pub(super) fn go_on(&mut self, next: &Next, asks: &mut Asks, now: BootMs) -> Option<Message> {
        let Next::More(from) = next else { return None };
        (self.ask, self.from, self.asked_at) = (asks.next(), from.clone(), now);
        Some(self.question())
    }

    fn question(&self) -> Message {
        Message::Pull { ask: self.ask, from: self.from.clone() }
    }
}
