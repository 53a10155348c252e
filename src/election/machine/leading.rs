//! Rules 3 and 7: the lease, and how a leadership ends.

use super::event::{Action, Note, SteppedDownBecause};
use super::rules::Draw;
use super::stance::Stance;
use super::{Actions, Machine};
use crate::domain::{BootMs, MAX_NODES, Term};
use crate::election::message::Message;
use crate::election::process::NodeId;

impl Machine {
    /// The end of the lease (rule 3): the send time of the newest heartbeat that a majority acknowledged, plus L.
    /// 0 for a node that does not lead or was not acknowledged yet.
    #[must_use]
    pub fn serves_until(&self) -> BootMs {
        if !matches!(self.stance, Stance::Leader { .. }) {
            return BootMs(0);
        }
        if self.rules.nodes == 1 {
            return BootMs::NEVER;
        }
        self.majority_acked().map_or(BootMs(0), |sent_at| sent_at.plus(self.rules.lease_ms()))
    }

    /// The send time of the newest heartbeat that a majority, this node included, acknowledged.
    pub(super) fn majority_acked(&self) -> Option<BootMs> {
        let Stance::Leader { acked, .. } = &self.stance else { return None };
        let mut newest_first = *acked;
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        newest_first[self.rules.majority() - 2]
    }

    /// When a leader without a majority gives up: V after the last heartbeat that a majority acknowledged.
    pub(super) fn steps_down_at(&self) -> BootMs {
        match self.stance {
            Stance::Leader { since, .. } if self.rules.nodes > 1 => {
                self.majority_acked().unwrap_or(since).plus(self.rules.election_timeout_min_ms)
            }
            _ => BootMs::NEVER,
        }
    }

    pub(super) fn win(&mut self, now: BootMs, out: &mut Actions) {
        self.stance = Stance::Leader { since: now, next_beat: now, acked: [None; MAX_NODES] };
        self.lost = 0;
        self.nominated = false;
        self.hint = None;
        out.push(Action::Note(Note::Won { term: self.ballot.term }));
        self.beat(now, out);
    }

    pub(super) fn beat(&mut self, now: BootMs, out: &mut Actions) {
        if let Stance::Leader { next_beat, .. } = &mut self.stance {
            *next_beat = now.plus(self.rules.heartbeat_interval_ms);
        }
        self.broadcast(Message::Heartbeat { term: self.ballot.term, sent_at: now }, out);
    }

    pub(super) fn heard_ack(
        &mut self,
        from: NodeId,
        term: Term,
        sent_at: BootMs,
        now: BootMs,
        draw: Draw,
        out: &mut Actions,
    ) {
        self.seen = self.seen.max(term);
        let Stance::Leader { since, acked, .. } = &mut self.stance else { return };
        if term > self.ballot.term {
            self.step_down(SteppedDownBecause::HigherTerm(term), now, draw, out);
        } else if term == self.ballot.term && (*since..=now).contains(&sent_at) {
            let newest = &mut acked[usize::from(from.0)];
            *newest = (*newest).max(Some(sent_at));
        }
    }

    /// Ends a leadership. The node may stand again after a pause.
    pub(super) fn step_down(&mut self, why: SteppedDownBecause, now: BootMs, draw: Draw, out: &mut Actions) {
        out.push(Action::Note(Note::SteppedDown { term: self.ballot.term, why }));
        self.stance = Stance::Follower;
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
    }

    /// Gives the lease up before anything else ends, and says so.
    pub(super) fn stop(&mut self, now: BootMs, out: &mut Actions) {
        self.stopping = true;
        if let Stance::Leader { .. } = self.stance {
            let term = self.ballot.term;
            self.step_down(SteppedDownBecause::Stopping, now, Draw(0), out);
            self.broadcast(Message::Resign { term }, out);
        } else if self.following.is_none() {
            self.stance = Stance::Follower;
        }
    }
}
