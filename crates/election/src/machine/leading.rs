//! Rules 3 and 7: the lease, and how a leadership ends.

use super::event::{Action, Note, SteppedDownBecause};
use super::rules::Draw;
use super::stance::{GaveUp, Handover, Leading, Stance};
use super::{Actions, Machine};
use crate::message::Message;
use crate::process::{NodeId, all_ids};
use rollcall_core::{BootMs, Load, MAX_NODES, Term};

/// How much heavier than the lightest follower, in hundredths of the capacity, a leader must be to hand over. Found by
/// simulation: with less, leadership follows the load that leading itself makes.
const HANDOVER_POINTS: u16 = 25;

/// How long a leader that hands over goes on serving what is under way.
const DRAIN_MS: u64 = 200;

/// How long it waits for its successor before it tells everybody that the term is free.
const RESIGN_AFTER_MS: u64 = 300;

/// How long it does not stand itself.
const EX_LEADER_WAITS_MS: u64 = 1000;

impl Machine {
    /// The end of the lease (rule 3): the send time of the newest heartbeat that a majority acknowledged, plus L.
    /// 0 for a node that does not lead or was not acknowledged yet.
    #[must_use]
    pub fn serves_until(&self) -> BootMs {
        if !matches!(self.stance, Stance::Leader(_)) {
            return BootMs(0);
        }
        if self.rules.nodes == 1 {
            return BootMs::NEVER;
        }
        self.majority_acked().map_or(BootMs(0), |sent_at| sent_at.plus(self.rules.lease_ms()))
    }

    /// The send time of the newest heartbeat that a majority, this node included, acknowledged.
    pub(super) fn majority_acked(&self) -> Option<BootMs> {
        let Stance::Leader(leading) = &self.stance else { return None };
        let mut newest_first = leading.acked;
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        newest_first[self.rules.majority() - 2]
    }

    /// When a leader without a majority gives up: V after the last heartbeat that a majority acknowledged.
    pub(super) fn steps_down_at(&self) -> BootMs {
        match &self.stance {
            Stance::Leader(leading) if self.rules.nodes > 1 => {
                self.majority_acked().unwrap_or(leading.since).plus(self.rules.timings.election_timeout_min_ms)
            }
            _ => BootMs::NEVER,
        }
    }

    pub(super) fn win(&mut self, now: BootMs, out: &mut Actions) {
        self.stance = Stance::Leader(Leading {
            since: now,
            next_beat: now,
            acked: [None; MAX_NODES],
            ready: [None; MAX_NODES],
            looks_at: now.plus(self.rules.timings.leader_term_ms),
            heavier_since: None,
            handover: None,
        });
        self.lost = 0;
        self.nominated = false;
        self.obituary = None;
        self.gave_up = None;
        self.hint = None;
        out.push(Action::Note(Note::Won { term: self.ballot.term }));
        self.beat(now, out);
    }

    pub(super) fn beat(&mut self, now: BootMs, out: &mut Actions) {
        if let Stance::Leader(leading) = &mut self.stance {
            leading.next_beat = now.plus(self.rules.timings.heartbeat_interval_ms);
        }
        self.broadcast(Message::Heartbeat { term: self.ballot.term, sent_at: now }, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message, and what every handler takes")]
    pub(super) fn heard_ack(
        &mut self,
        from: NodeId,
        term: Term,
        sent_at: BootMs,
        ready: Option<Load>,
        now: BootMs,
        draw: Draw,
        out: &mut Actions,
    ) {
        self.seen = self.seen.max(term);
        let Stance::Leader(leading) = &mut self.stance else { return };
        if term > self.ballot.term {
            self.step_down(SteppedDownBecause::HigherTerm(term), now, draw, out);
        } else if term == self.ballot.term && (leading.since..=now).contains(&sent_at) {
            let newest = &mut leading.acked[usize::from(from.0)];
            *newest = (*newest).max(Some(sent_at));
            leading.ready[usize::from(from.0)] = ready;
        }
    }

    /// Ends a leadership. The node may stand again after a pause.
    pub(super) fn step_down(&mut self, why: SteppedDownBecause, now: BootMs, draw: Draw, out: &mut Actions) {
        out.push(Action::Note(Note::SteppedDown { term: self.ballot.term, why }));
        self.stance = Stance::Follower;
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
    }

    /// The lightest follower that could take over: heard lately, and able to stand.
    fn successor(&self, now: BootMs) -> Option<(Load, NodeId)> {
        let Stance::Leader(leading) = &self.stance else { return None };
        let lately = 2 * self.rules.timings.heartbeat_interval_ms;
        all_ids(self.rules.nodes)
            .filter(|node| leading.acked[usize::from(node.0)].is_some_and(|sent_at| now.since(sent_at) <= lately))
            .filter_map(|node| leading.ready[usize::from(node.0)].map(|load| (load, node)))
            .min()
    }

    /// Rule 7: looks whether another should lead. Hysteresis keeps leadership from following every spike: the other must
    /// have been much lighter for half a term, and this node must have led for two terms.
    pub(super) fn look(&mut self, now: BootMs, out: &mut Actions) {
        let successor = self.successor(now).filter(|(load, _)| load.lighter_by(HANDOVER_POINTS, self.load));
        let term_ms = self.rules.timings.leader_term_ms;
        let Stance::Leader(leading) = &mut self.stance else { return };
        leading.heavier_since = successor.and(leading.heavier_since.or(Some(now)));
        if now < leading.looks_at {
            return;
        }
        leading.looks_at = now.plus(term_ms);
        let long_enough = leading.heavier_since.is_some_and(|since| now.since(since) >= term_ms / 2);
        let cooled_down = now.since(leading.since) >= 2 * term_ms;
        if let Some((_, to)) = successor.filter(|_| long_enough && cooled_down && !self.stopping) {
            self.begin_handover(to, now, out);
        }
    }

    fn begin_handover(&mut self, to: NodeId, now: BootMs, out: &mut Actions) {
        let Stance::Leader(leading) = &mut self.stance else { return };
        leading.handover = Some(Handover { to, gives_up_at: now.plus(DRAIN_MS) });
        out.push(Action::Note(Note::HandsOver { to, term: self.ballot.term }));
        out.push(Action::Drain);
    }

    pub(super) fn drained(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        if matches!(&self.stance, Stance::Leader(leading) if leading.handover.is_some()) {
            self.give_up(now, draw, out);
        }
    }

    /// The term is given up for good, and the successor told to stand. This node votes on, and stands itself only after a
    /// while.
    pub(super) fn give_up(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let Stance::Leader(Leading { handover: Some(handover), .. }) = self.stance else { return };
        let term = self.ballot.term;
        let why = if self.stopping { SteppedDownBecause::Stopping } else { SteppedDownBecause::HandedOver };
        self.step_down(why, now, draw, out);
        self.gave_up = Some(GaveUp { term, resigns_at: now.plus(RESIGN_AFTER_MS) });
        self.deadline = now.plus(EX_LEADER_WAITS_MS);
        out.push(Action::Send { to: handover.to, message: Message::StandNow { term } });
    }

    /// Hands the lease over before anything else ends, or gives it up and says so if nobody could take over.
    pub(super) fn stop(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        self.stopping = true;
        if let Stance::Leader(leading) = &self.stance {
            if leading.handover.is_some() {
                return;
            }
            if let Some((_, to)) = self.successor(now).filter(|_| self.is_serving(now)) {
                self.begin_handover(to, now, out);
                return;
            }
            let term = self.ballot.term;
            self.step_down(SteppedDownBecause::Stopping, now, draw, out);
            self.broadcast(Message::Resign { term }, out);
        } else if self.following.is_none() {
            self.stance = Stance::Follower;
        }
    }

    /// Whether a term of this node's still waits for a successor: a process that ends should wait for it, for a moment.
    #[must_use]
    pub fn awaits_successor(&self) -> bool {
        matches!(&self.stance, Stance::Leader(leading) if leading.handover.is_some()) || self.gave_up.is_some()
    }
}
