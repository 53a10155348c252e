//! A view of the machine without absolute time, for those who compare states: a model checker would otherwise hold two
//! clusters that differ only in what the clocks show, or in what is long over, for different ones.

use super::rules::Rules;
use super::stance::{Owed, Stance};
use super::{MAX_NODES, Machine};
use crate::domain::{BootMs, Term};
use crate::election::process::{NodeId, NodeSet};

impl Rules {
    /// After this long it makes no difference any more when a heartbeat was sent or a term won: every rule that looks
    /// back looks back less far.
    #[must_use]
    pub fn looks_back_ms(&self) -> u64 {
        let beats = self.heartbeat_interval_ms.saturating_mul(2);
        // Whoever never looks for a lighter node does not look back for one either.
        let terms = self.leader_term_ms.checked_mul(2).unwrap_or(0);
        self.election_timeout_min_ms.max(beats).max(terms) + 1
    }
}

impl Machine {
    /// The same machine after `passed` milliseconds (by node: each time counts on the clock it was read from), on clocks
    /// that were then set back so that it is `now` again. What cannot matter any more is forgotten: how long ago a moment
    /// was, once nothing looks back so far; how late a deadline is; terms heard of that were passed since.
    ///
    /// With nothing passed it only forgets. Two machines that are equal after this behave alike from `now` on.
    ///
    /// `round` becomes 1, and with it the round of the answers on their way must: 1 if it is the present one, else 0.
    #[must_use]
    pub fn rebased(&self, now: BootMs, passed: &[u64; MAX_NODES]) -> Self {
        let oldest = BootMs(now.0.saturating_sub(self.rules.looks_back_ms()));
        // Questions and requests are too old to be answered before that.
        let oldest_asked = BootMs(now.0.saturating_sub(self.rules.net_timeout_ms + 1));
        let moved = |node: NodeId, time: BootMs| match time {
            BootMs::NEVER => BootMs::NEVER,
            BootMs(ms) => BootMs(ms.saturating_sub(passed[usize::from(node.0)])),
        };
        let past = |time: &mut BootMs| *time = moved(self.rules.me, *time).max(oldest);
        let asked = |time: &mut BootMs| *time = moved(self.rules.me, *time).max(oldest_asked);
        let due = |time: &mut BootMs| *time = moved(self.rules.me, *time).max(now);

        let mut machine = self.clone();
        match &mut machine.stance {
            Stance::Follower => {}
            Stance::Asking { since, .. } => asked(since),
            Stance::Candidate { asked_at, answered, votes, .. } => {
                asked(asked_at);
                if *asked_at == oldest_asked {
                    // No vote is counted any more.
                    *answered = NodeSet::of(self.rules.me);
                    *votes = *answered;
                }
            }
            Stance::Leader(leading) => {
                past(&mut leading.since);
                for acked in &mut leading.acked {
                    acked.iter_mut().for_each(past);
                    *acked = acked.filter(|sent_at| *sent_at > oldest);
                }
                if leading.looks_at == BootMs::NEVER && leading.acked.iter().flatten().count() > 0 {
                    // When it won counts only until it is acknowledged.
                    leading.since = oldest;
                }
                leading.heavier_since.iter_mut().for_each(past);
                due(&mut leading.next_beat);
                due(&mut leading.looks_at);
                leading.handover.iter_mut().for_each(|handover| due(&mut handover.gives_up_at));
            }
        }
        match &mut machine.owed {
            Owed::Nothing | Owed::Campaign => {}
            Owed::Grant { to, asked_at } => *asked_at = moved(*to, *asked_at).max(oldest_asked),
            Owed::Ack { to, sent_at } => *sent_at = moved(*to, *sent_at).max(oldest),
        }
        machine.promise.iter_mut().for_each(|promise| due(&mut promise.until));
        machine.promise = machine.promise.filter(|promise| now < promise.until);
        machine.hint.iter_mut().for_each(|hint| due(&mut hint.until));
        machine.hint = machine.hint.filter(|hint| now < hint.until);
        machine.window.iter_mut().for_each(|window| due(&mut window.until));
        machine.gave_up.iter_mut().for_each(|gave_up| due(&mut gave_up.resigns_at));
        due(&mut machine.deadline);
        machine.round = 1;
        if machine.seen <= machine.ballot.term {
            machine.seen = Term(0);
        }
        if machine.rules.election_retry_ms == 0 {
            // Nothing to be doubled.
            machine.lost = 0;
        }
        machine
    }
}
