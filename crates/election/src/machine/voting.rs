//! Rule 1: standing and voting, and nothing leaves before it is on disk.

use super::event::{Action, Note};
use super::memory::Memory;
use super::rules::Draw;
use super::stance::{Owed, Stance};
use super::{Actions, Machine};
use crate::message::Message;
use crate::process::{Ballot, NodeId, NodeSet};
use rollcall_core::{BootMs, Term};

impl Machine {
    /// Whether this node may stand for election or say that another might: it is bound by nothing and its ballot is safe.
    pub(super) fn is_free(&self) -> bool {
        !self.refuses_votes() && self.is_saved()
    }

    /// Rules 3 and 4: whether something binds this node not to vote at all right now. A leader is bound as long as it
    /// leads, not only while it serves: between its election and the first acknowledgements others have promised not to
    /// vote, so a vote of its own would only leave the cluster without anybody for the length of a promise.
    pub(super) fn refuses_votes(&self) -> bool {
        let leads = matches!(self.stance, Stance::Leader(_));
        leads || self.memory != Memory::Sound || self.window.is_some() || self.promise.is_some()
    }

    /// Whether nothing but the promise to its leader would keep this node from standing.
    fn could_stand(&self) -> bool {
        self.window.is_none() && !self.stopping
    }

    pub(super) fn is_saved(&self) -> bool {
        self.saved == Some(self.ballot)
    }

    pub(super) fn stand(&mut self, voids: Option<Term>, now: BootMs, draw: Draw, out: &mut Actions) {
        self.ballot = Ballot { term: self.next_term(), voted_for: Some(self.rules.me) };
        self.following = None;
        self.hint = None;
        let me = NodeSet::of(self.rules.me);
        self.stance = Stance::Candidate { voids, asked_at: now, answered: me, votes: me };
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
        out.push(Action::Note(Note::Stands { term: self.ballot.term }));
        self.save_then(Owed::Campaign, now, draw, out);
    }

    pub(super) fn vote(
        &mut self,
        from: NodeId,
        term: Term,
        asked_at: BootMs,
        now: BootMs,
        draw: Draw,
        out: &mut Actions,
    ) {
        let passed = term < self.ballot.term;
        let taken = term == self.ballot.term && self.ballot.voted_for.is_some_and(|node| node != from);
        if passed || taken || self.refuses_votes() {
            // What is not on disk yet must not be told.
            let term = self.saved.map_or(Term(0), |ballot| ballot.term);
            let message = Message::VoteResp { term, asked_at, granted: false };
            out.push(Action::Send { to: from, message });
            return;
        }
        self.stance = Stance::Follower;
        self.following = None;
        self.hint = None;
        self.ballot = Ballot { term, voted_for: Some(from) };
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
        self.save_then(Owed::Grant { to: from, asked_at }, now, draw, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message, and what every handler takes")]
    pub(super) fn heard_vote(
        &mut self,
        from: NodeId,
        term: Term,
        asked: BootMs,
        granted: bool,
        now: BootMs,
        draw: Draw,
        out: &mut Actions,
    ) {
        self.seen = self.seen.max(term);
        let Stance::Candidate { asked_at, answered, votes, .. } = &mut self.stance else { return };
        if asked != *asked_at || now.since(*asked_at) > self.rules.timings.net_timeout_ms {
            return;
        }
        answered.insert(from);
        if granted && term == self.ballot.term {
            votes.insert(from);
        }
        let (answered, votes) = (*answered, *votes);
        if votes.len() >= self.rules.majority() {
            self.win(now, out);
        } else if votes.len() + self.linked.without(answered).len() < self.rules.majority() {
            // Rule 8: the round is lost already; whoever could still answer is not enough.
            self.stance = Stance::Follower;
            self.deadline = now.plus(self.rules.backoff_ms(self.lost, draw));
        }
    }

    /// Rule 1: `owed` leaves when the present ballot is on disk, which may be now.
    pub(super) fn save_then(&mut self, owed: Owed, now: BootMs, draw: Draw, out: &mut Actions) {
        self.owed = owed;
        if self.is_saved() {
            self.pay(now, draw, out);
        } else if self.saving != Some(self.ballot) {
            self.saving = Some(self.ballot);
            out.push(Action::Save(self.ballot));
        }
    }

    pub(super) fn saved(&mut self, ballot: Ballot, now: BootMs, draw: Draw, out: &mut Actions) {
        self.saved = Some(ballot);
        if self.saving == Some(ballot) {
            self.saving = None;
        }
        if self.is_saved() {
            self.pay(now, draw, out);
        }
    }

    pub(super) fn pay(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let term = self.ballot.term;
        match std::mem::replace(&mut self.owed, Owed::Nothing) {
            Owed::Nothing => self.stand_if_granted(now, draw, out),
            Owed::Campaign => self.campaign(now, draw, out),
            Owed::Grant { to, asked_at } => {
                out.push(Action::Send { to, message: Message::VoteResp { term, asked_at, granted: true } });
            }
            Owed::Ack { to, sent_at } => {
                let message = Message::Ack { term, sent_at, load: self.load, ready: self.could_stand() };
                out.push(Action::Send { to, message });
            }
        }
    }

    /// The request for a vote in the present term.
    pub(super) fn request(&self, asked_at: BootMs, voids: Option<Term>) -> Message {
        Message::Vote { term: self.ballot.term, asked_at, voids, dead: self.obituary }
    }

    pub(super) fn campaign(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let Stance::Candidate { asked_at, voids, .. } = &mut self.stance else { return };
        *asked_at = now;
        let voids = *voids;
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
        if self.rules.nodes == 1 {
            self.win(now, out);
        } else {
            let request = self.request(now, voids);
            self.broadcast(request, out);
        }
    }

    pub(super) fn save_failed(&mut self, ballot: Ballot, now: BootMs, draw: Draw, out: &mut Actions) {
        if self.saving == Some(ballot) {
            self.saving = None;
        }
        if ballot != self.ballot {
            return;
        }
        out.push(Action::Note(Note::BallotNotSaved));
        // The file may hold either ballot now, so neither counts as saved until a write succeeds.
        self.saved = None;
        self.owed = Owed::Nothing;
        if !matches!(self.stance, Stance::Leader(_)) {
            self.stance = Stance::Follower;
            self.deadline = self.deadline.max(now.plus(self.rules.backoff_ms(self.lost, draw)));
        }
    }
}
