//! Rule 3 from the other side: promises to a leader, and what voids them.

use super::event::{Action, Note, SteppedDownBecause};
use super::memory::Memory;
use super::rules::Draw;
use super::stance::{Owed, Promise, Stance};
use super::{Actions, Machine};
use crate::domain::{BootMs, Term};
use crate::election::message::Message;
use crate::election::process::{Ballot, NodeId, Process};

impl Machine {
    pub(super) fn heard_heartbeat(
        &mut self,
        from: Process,
        term: Term,
        sent: BootMs,
        now: BootMs,
        draw: Draw,
        out: &mut Actions,
    ) {
        if term < self.ballot.term {
            // A leader that was passed over learns so, but only from what is on disk.
            if self.is_saved() {
                let message = Message::Ack { term: self.ballot.term, sent_at: sent };
                out.push(Action::Send { to: from.node, message });
            }
            return;
        }
        if matches!(self.stance, Stance::Leader { .. }) {
            if term == self.ballot.term {
                // Cannot be by rule 1; and if it were, nothing good would come of obeying.
                return;
            }
            self.step_down(SteppedDownBecause::HigherTerm(term), now, draw, out);
        }
        if term > self.ballot.term {
            self.ballot = Ballot { term, voted_for: None };
        }
        if self.following != Some((from, term)) {
            out.push(Action::Note(Note::Follows { leader: from.node, term }));
        }
        self.stance = Stance::Follower;
        self.following = Some((from, term));
        self.hint = None;
        self.lost = 0;
        self.nominated = false;
        self.deadline = now.plus(self.rules.silence_ms(self.load, draw));
        // A node that does not know how it voted must not become part of a lease's majority either: it could have
        // promised the same to another.
        if self.memory == Memory::Sound {
            self.promise = Some(Promise { to: from, term, until: now.plus(self.rules.promise_ms()) });
            self.save_then(Owed::Ack { to: from.node, sent_at: sent }, now, draw, out);
        } else {
            let question = self.question();
            self.broadcast(question, out);
        }
    }

    /// Voids a promise made to exactly the term that was given up, and nothing else. For the boot window it is the
    /// sender's own word that it does not lead, as good as an answer.
    pub(super) fn heard_resign(&mut self, from: NodeId, term: Term, now: BootMs, draw: Draw, out: &mut Actions) {
        if self.promise.is_some_and(|promise| promise.to.node == from && promise.term == term) {
            self.promise = None;
        }
        if self.following.is_some_and(|(process, of)| process.node == from && of == term) {
            self.following = None;
            self.deadline = now.plus(self.rules.short_pause_ms(self.load, draw));
            out.push(Action::Note(Note::LeaderResigned { leader: from, term }));
        }
        self.hint = self.hint.filter(|hint| hint.node != from || hint.term != term);
        self.told_not_leading(from, now, draw, out);
    }
}
