//! Rule 3 from the other side: promises to a leader, and what voids them.

use super::event::{Action, Note, SteppedDownBecause};
use super::memory::Memory;
use super::rules::Draw;
use super::stance::{Owed, Promise, Stance};
use super::{Actions, Machine};
use crate::message::Message;
use crate::process::{Ballot, NodeId, Process};
use rollcall_core::{BootMs, Term};

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
                let message = Message::Ack { term: self.ballot.term, sent_at: sent, load: self.load, ready: false };
                out.push(Action::Send { to: from.node, message });
            }
            return;
        }
        // Two leaders of one term cannot be by rule 1; and if they were, nothing good would come of following both.
        let leads = matches!(self.stance, Stance::Leader(_));
        let followed = self.following.map(|(process, of)| (process.node, of));
        let known = if leads { Some((self.rules.me, self.ballot.term)) } else { followed };
        if known.is_some_and(|(leader, of)| of == term && leader != from.node) {
            return;
        }
        if leads {
            self.step_down(SteppedDownBecause::HigherTerm(term), now, draw, out);
        }
        if term > self.ballot.term {
            // The vote of the term goes to its leader, so that no other can get it any more.
            self.ballot = Ballot { term, voted_for: Some(from.node) };
        }
        if self.following != Some((from, term)) {
            out.push(Action::Note(Note::Follows { leader: from.node, term }));
        }
        self.stance = Stance::Follower;
        self.following = Some((from, term));
        self.obituary = None;
        self.gave_up = None;
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
            // It follows, and so would never ask by itself; but the others' word is what it needs to be of use again.
            self.begin_round(now);
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

    /// Rule 5: a process is dead. That voids a promise made to exactly it, whatever the term, and never a vote, the term
    /// or the boot window.
    pub(super) fn ended(&mut self, process: Process, now: BootMs, draw: Draw, out: &mut Actions) {
        if !self.trusts_ends {
            return;
        }
        self.dead[usize::from(process.node.0)] = Some(process.boot);
        if self.promise.is_some_and(|promise| promise.to == process) {
            self.promise = None;
            self.obituary = Some(process);
        }
        if self.following.is_some_and(|(leader, _)| leader == process) {
            self.following = None;
            self.obituary = Some(process);
            self.deadline = now.plus(self.rules.short_pause_ms(self.load, draw));
            out.push(Action::Note(Note::LeaderDied { leader: process.node }));
        }
        self.hint = self.hint.filter(|hint| hint.node != process.node);
    }

    pub(super) fn is_dead(&self, process: Process) -> bool {
        self.dead[usize::from(process.node.0)] == Some(process.boot)
    }

    /// A candidate names the process whose death it saw; this node may not have seen it, or only as a reset.
    pub(super) fn told_of_death(&mut self, dead: Option<Process>, out: &mut Actions) {
        let Some(dead) = dead.filter(|_| self.trusts_ends) else { return };
        if dead == (Process { node: self.rules.me, boot: self.boot }) {
            // This very process. Whoever saw it die was wrong, and so might this node be about others.
            self.distrust(dead.node, out);
        } else if self.promise.is_some_and(|promise| promise.to == dead) {
            self.promise = None;
            self.obituary = Some(dead);
            self.dead[usize::from(dead.node.0)] = Some(dead.boot);
            self.following = self.following.filter(|(leader, _)| *leader != dead);
        }
    }

    /// A process greets again whose death this node believed in.
    pub(super) fn greeted(&mut self, process: Process, out: &mut Actions) {
        if self.is_dead(process) {
            self.dead[usize::from(process.node.0)] = None;
            self.distrust(process.node, out);
        }
    }

    fn distrust(&mut self, node: NodeId, out: &mut Actions) {
        self.trusts_ends = false;
        self.obituary = None;
        out.push(Action::Note(Note::EndOfStreamWasNoDeath { node }));
    }

    /// Rule 7: a candidate was told to stand by the leader of `voids`, who gave that term up for good. That voids a
    /// promise made to exactly that term.
    pub(super) fn told_of_handover(&mut self, voids: Option<Term>) {
        if self.promise.is_some_and(|promise| Some(promise.term) == voids) {
            self.promise = None;
        }
    }

    /// Rule 7: the leader told this node to take its place. Only from the leader it follows, in the term it follows it in:
    /// a delayed one says nothing any more.
    pub(super) fn stand_now(&mut self, from: Process, term: Term, now: BootMs, draw: Draw, out: &mut Actions) {
        if self.following != Some((from, term)) || self.ballot.term != term || self.stopping {
            return;
        }
        self.told_of_handover(Some(term));
        self.following = None;
        if self.is_free() {
            self.stand(Some(term), now, draw, out);
        }
    }
}
