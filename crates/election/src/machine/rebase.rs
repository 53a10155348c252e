//! A view of the machine without absolute time, for those who compare states: a model checker would otherwise hold two
//! clusters that differ only in what the clocks show, or in what is long over, for different ones.
//!
//! Every state is taken apart without `..`, so that a field that is added and not thought of here does not compile.

use super::memory::Memory;
use super::rules::Rules;
use super::stance::{BootWindow, GaveUp, Handover, Hint, Leading, Owed, Promise, Stance};
use super::{MAX_NODES, Machine};
use crate::process::{NodeId, NodeSet};
use rollcall_core::{BootMs, Term};

/// The present round of a machine whose answers do not settle a lost ballot, and (one less) those it asked before.
const ROUND: u32 = 1;
/// The present round of one whose answers do, and (one less) those it asked before that do, too.
const SETTLING_ROUND: u32 = 3;

impl Rules {
    /// After this long it makes no difference any more when a heartbeat was sent or a term won: every rule that looks
    /// back looks back less far.
    #[must_use]
    pub fn looks_back_ms(&self) -> u64 {
        let beats = self.timings.heartbeat_interval_ms.saturating_mul(2);
        // Whoever never looks for a lighter node does not look back for one either.
        let terms = self.timings.leader_term_ms.checked_mul(2).unwrap_or(0);
        self.timings.election_timeout_min_ms.max(beats).max(terms) + 1
    }
}

impl Machine {
    /// The number of its latest round of questions.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Whether it knows something that it did not know when it was `before`, besides who would vote for it: that another
    /// does not lead, how another voted, a later term.
    #[must_use]
    pub fn has_learnt_since(&self, before: &Self) -> bool {
        (self.window, &self.memory, self.seen) != (before.window, &before.memory, before.seen)
    }

    /// The same machine after `passed` milliseconds (by node: each time counts on the clock it was read from), on clocks
    /// that were then set back so that it is `now` again. What cannot matter any more is forgotten: how long ago a moment
    /// was, once nothing looks back so far; how late a deadline is; terms heard of that were passed since.
    ///
    /// With nothing passed it only forgets. Two machines that are equal after this behave alike from `now` on.
    ///
    /// `round` becomes 1 (or 3, once the answers can settle a lost ballot), and with it the round of the answers on their
    /// way must: the same if it is the present one, one less if it is over.
    #[must_use]
    pub fn rebased(&self, now: BootMs, passed: &[u64; MAX_NODES]) -> Self {
        let mut machine = self.clone();
        let Self {
            rules,
            boot: _,
            ballot,
            saved: _,
            saving: _,
            owed,
            missing_at_start,
            memory,
            settles_after,
            settles_from_round,
            stance,
            promise,
            window,
            seen,
            following: _,
            dead: _,
            obituary: _,
            trusts_ends: _,
            gave_up,
            hint,
            linked: _,
            round,
            deadline,
            lost,
            nominated: _,
            load: _,
            stopping: _,
        } = &mut machine;
        let clocks = Clocks::new(rules, now, passed);
        rebase_stance(stance, rules, &clocks);
        match owed {
            Owed::Nothing | Owed::Campaign => {}
            Owed::Grant { to, asked_at } => clocks.asked(*to, asked_at),
            Owed::Ack { to, sent_at } => clocks.past(*to, sent_at),
        }
        if let Some(Promise { to: _, term: _, until }) = promise {
            clocks.due(until);
        }
        *promise = promise.filter(|promise| now < promise.until);
        if let Some(Hint { node: _, term: _, until }) = hint {
            clocks.due(until);
        }
        *hint = hint.filter(|hint| now < hint.until);
        if let Some(BootWindow { until, not_leading: _ }) = window {
            clocks.due(until);
        }
        if let Some(GaveUp { term: _, resigns_at }) = gave_up {
            clocks.due(resigns_at);
        }
        clocks.due(deadline);
        clocks.due(settles_after);
        if *memory == Memory::Sound {
            *settles_after = now;
        }
        let settling = *missing_at_start && settles_from_round.is_some();
        *round = if settling { SETTLING_ROUND } else { ROUND };
        *settles_from_round = settling.then_some(SETTLING_ROUND - 1);
        if *seen <= ballot.term {
            *seen = Term(0);
        }
        if rules.timings.election_retry_ms == 0 {
            // Nothing to be doubled.
            *lost = 0;
        }
        machine
    }
}

fn rebase_stance(stance: &mut Stance, rules: &Rules, clocks: &Clocks<'_>) {
    let me = rules.me;
    match stance {
        Stance::Follower => {}
        Stance::Asking { since, term: _, grants: _, lightest: _ } => clocks.asked(me, since),
        Stance::Candidate { voids: _, asked_at, answered, votes } => {
            clocks.asked(me, asked_at);
            if *asked_at == clocks.oldest_asked {
                // No vote is counted any more.
                *answered = NodeSet::of(me);
                *votes = *answered;
            }
        }
        Stance::Leader(Leading { since, next_beat, acked, ready: _, looks_at, heavier_since, handover }) => {
            clocks.past(me, since);
            for acked in acked.iter_mut() {
                if let Some(sent_at) = acked {
                    clocks.past(me, sent_at);
                }
                *acked = acked.filter(|sent_at| *sent_at > clocks.oldest);
            }
            if *looks_at == BootMs::NEVER && acked.iter().flatten().count() + 1 >= rules.majority() {
                // When it won counts only until a majority has acknowledged.
                *since = clocks.oldest;
            }
            if let Some(since) = heavier_since {
                clocks.past(me, since);
            }
            clocks.due(next_beat);
            clocks.due(looks_at);
            if let Some(Handover { to: _, gives_up_at }) = handover {
                clocks.due(gives_up_at);
            }
        }
    }
}

/// How the clocks are set back.
struct Clocks<'a> {
    me: NodeId,
    now: BootMs,
    /// No heartbeat and no winning is looked back at further than this.
    oldest: BootMs,
    /// Questions and requests are too old to be answered before this.
    oldest_asked: BootMs,
    passed: &'a [u64; MAX_NODES],
}

impl<'a> Clocks<'a> {
    fn new(rules: &Rules, now: BootMs, passed: &'a [u64; MAX_NODES]) -> Self {
        let back = |ms: u64| BootMs(now.0.saturating_sub(ms));
        Self {
            me: rules.me,
            now,
            oldest: back(rules.looks_back_ms()),
            oldest_asked: back(rules.timings.net_timeout_ms + 1),
            passed,
        }
    }

    fn moved(&self, clock: NodeId, time: BootMs) -> BootMs {
        match time {
            BootMs::NEVER => BootMs::NEVER,
            BootMs(ms) => BootMs(ms.saturating_sub(self.passed[usize::from(clock.0)])),
        }
    }

    fn past(&self, clock: NodeId, time: &mut BootMs) {
        *time = self.moved(clock, *time).max(self.oldest);
    }

    fn asked(&self, clock: NodeId, time: &mut BootMs) {
        *time = self.moved(clock, *time).max(self.oldest_asked);
    }

    fn due(&self, time: &mut BootMs) {
        *time = self.moved(self.me, *time).max(self.now);
    }
}
