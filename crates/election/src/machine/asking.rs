//! Rules 2, 4 and 6: asking before standing, and what the answers tell besides.

use super::event::{Action, Note};
use super::memory::Memory;
use super::rules::Draw;
use super::stance::{Hint, Owed, Stance};
use super::{Actions, Machine};
use crate::message::{Message, PreVoteResp};
use crate::process::{Ballot, NodeId, NodeSet, Process};
use rollcall_core::{BootMs, MemberRole, Term};

/// How much lighter, in hundredths of the capacity, another node must be to be asked to stand instead (rule 6).
const NOMINATE_POINTS: u16 = 15;

impl Machine {
    /// Rule 2: asks everybody, and changes nothing. A node that must hold still asks too: the answers tell it who leads,
    /// and end its boot window early if nobody does.
    pub(super) fn ask(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        if let Some((leader, _)) = self.following.take() {
            out.push(Action::Note(Note::LeaderSilent { leader: leader.node }));
        }
        self.begin_round(now);
        let me = NodeSet::of(self.rules.me);
        self.stance = Stance::Asking { since: now, term: self.next_term(), grants: me, lightest: None };
        self.deadline = now.plus(self.rules.backoff_ms(self.lost, draw));
        self.lost = self.lost.saturating_add(1);
        let message = self.question();
        self.broadcast(message, out);
        if self.memory == Memory::Sound && !self.is_saved() {
            // A write failed before. Until one succeeds this node can neither vote nor stand, so it tries again.
            self.save_then(Owed::Nothing, now, draw, out);
        }
        if self.rules.nodes == 1 {
            self.settle_memory(now, draw, out);
            self.stand_if_granted(now, draw, out);
        }
    }

    /// Tells the answers to come from the earlier ones.
    pub(super) fn begin_round(&mut self, now: BootMs) {
        self.round = self.round.wrapping_add(1);
        if now >= self.settles_after {
            self.settles_from_round.get_or_insert(self.round);
        }
    }

    pub(super) fn question(&self) -> Message {
        Message::PreVote { round: self.round, term: self.next_term(), dead: self.obituary }
    }

    pub(super) fn next_term(&self) -> Term {
        self.ballot.term.max(self.seen).next()
    }

    pub(super) fn answer_question(
        &mut self,
        from: Process,
        round: u32,
        term: Term,
        now: BootMs,
        draw: Draw,
        out: &mut Actions,
    ) {
        let granted = self.is_free() && term > self.ballot.term;
        let answer = PreVoteResp {
            asker: from.boot,
            round,
            granted,
            ready: self.is_free() && !self.stopping,
            load: self.load,
            role: self.member_role(),
            ballot: self.ballot_report(),
            leader: match self.stance {
                // A leader without a lease does not send anybody to itself.
                Stance::Leader(_) => self.is_serving(now).then_some((self.rules.me, self.ballot.term)),
                // Only what this node hears itself: hearsay would go round for ever.
                _ => self.following.map(|(process, term)| (process.node, term)),
            },
        };
        out.push(Action::Send { to: from.node, message: Message::PreVoteResp(answer) });
        // Two that ask at the same moment would both get their answers and split the votes, so the later in the list of
        // peers lets the earlier go first. Nothing was promised by either.
        if granted && matches!(self.stance, Stance::Asking { .. }) && from.node < self.rules.me {
            self.stance = Stance::Follower;
            self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
        }
        // An earlier question of ours may have been lost because the other had no link to us yet; now it has one.
        if self.wants_to_hear(from.node) {
            out.push(Action::Send { to: from.node, message: self.question() });
        }
    }

    /// Whether this node must hold still until it knows what `node` is, or was, and its answer would count. Two nodes that
    /// ask each other for what cannot count yet would go on without end.
    pub(super) fn wants_to_hear(&self, node: NodeId) -> bool {
        let remembers = self.settles_from_round.is_none() || self.memory.heard(node);
        self.window.is_some_and(|window| !window.not_leading.contains(node)) || !remembers
    }

    pub(super) fn heard_answer(
        &mut self,
        from: NodeId,
        answer: PreVoteResp,
        now: BootMs,
        draw: Draw,
        out: &mut Actions,
    ) {
        if answer.asker != self.boot {
            return;
        }
        self.seen = self.seen.max(answer.ballot.term);
        let hinted = answer.leader.filter(|(node, term)| *node != self.rules.me && *term >= self.ballot.term);
        if let Some((node, term)) = hinted {
            self.hint = Some(Hint { node, term, until: now.plus(self.rules.timings.election_timeout_min_ms) });
        }
        if self.settles_from_round.is_some_and(|first| answer.round.wrapping_sub(first) < u32::MAX / 2) {
            self.memory.told(from, answer.ballot);
            self.settle_memory(now, draw, out);
        }
        if answer.role != MemberRole::Leader {
            self.told_not_leading(from, now, draw, out);
        }
        if let Stance::Asking { since, term, grants, lightest } = &mut self.stance {
            if answer.round != self.round || now.since(*since) > self.rules.timings.net_timeout_ms {
                return;
            }
            if answer.ballot.term >= *term {
                // An election of that term or a later one is under way already. To stand beside it could only depose
                // whoever wins it.
                self.stance = Stance::Follower;
                return;
            }
            if answer.granted {
                grants.insert(from);
                if answer.ready && lightest.is_none_or(|(load, _)| answer.load < load) {
                    *lightest = Some((answer.load, from));
                }
            }
            self.stand_if_granted(now, draw, out);
        }
    }

    /// Rule 4: the boot window ends early once *every* other member has said itself, to this boot, that it does not lead.
    pub(super) fn told_not_leading(&mut self, from: NodeId, now: BootMs, draw: Draw, out: &mut Actions) {
        let Some(window) = &mut self.window else { return };
        window.not_leading.insert(from);
        if window.not_leading.len() == self.rules.nodes - 1 {
            self.end_window(true, now, draw, out);
        }
    }

    /// Rule 4: a node that lost its ballot gets one again as soon as the others' word allows it.
    pub(super) fn settle_memory(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let Some(term) = self.memory.verdict(self.rules.nodes) else { return };
        self.memory = Memory::Sound;
        // It may have voted in that term, or in one it has heard of since: it gives the vote to itself, who does not
        // stand in it, and so to nobody.
        let term = term.max(self.ballot.term);
        self.ballot = Ballot { term, voted_for: (term > Term(0)).then_some(self.rules.me) };
        out.push(Action::Note(Note::MemorySettled { abstains_through: term }));
        self.save_then(Owed::Nothing, now, draw, out);
    }

    pub(super) fn stand_if_granted(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let Stance::Asking { term, grants, lightest, .. } = self.stance else { return };
        let asked_for_it = term == self.next_term() && grants.len() >= self.rules.majority();
        if !asked_for_it || !self.is_free() || self.stopping {
            return;
        }
        match lightest {
            // Rule 6: once, and only a hint; if the other does not stand, this node does.
            Some((load, node)) if !self.nominated && load.lighter_by(NOMINATE_POINTS, self.load) => {
                self.nominated = true;
                self.stance = Stance::Follower;
                self.deadline = now.plus(self.rules.timings.election_retry_ms);
                out.push(Action::Note(Note::Nominated { node }));
                out.push(Action::Send { to: node, message: Message::Nominate { term: self.next_term() } });
            }
            _ => self.stand(None, now, draw, out),
        }
    }

    pub(super) fn nominated(&mut self, term: Term, now: BootMs, draw: Draw, out: &mut Actions) {
        let idle = matches!(self.stance, Stance::Follower | Stance::Asking { .. });
        if idle && self.is_free() && !self.stopping && term > self.ballot.term {
            self.seen = self.seen.max(Term(term.0.saturating_sub(1)));
            self.stand(None, now, draw, out);
        }
    }
}
