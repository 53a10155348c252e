//! State of lazy push on one link: pruned authors, announced numbers and open questions of each end.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{MAX_REPEATED, MAX_SENDERS};
use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// The most numbers that one neighbour is told at once: whatever they are, they fit into a message.
const MAX_UNTOLD: usize = 512;
/// What a neighbour has may be on its way from where it mostly comes from; it is asked for after so long.
pub(super) const ASKED_AFTER_MS: u64 = 100;
/// The most runs of numbers that are waited for of one neighbour; with more it is asked for everything.
const MAX_MISSING: usize = 512;
/// After so many answers in a row that had nothing new no more is expected of the next.
const MOST_VAIN: u32 = 3;
/// After so many questions for something it is not expected any more, whatever else the answers have.
const MOST_ASKED: u32 = 50;
/// Who was given a part of an answer may ask for the next for so long.
const ASKS_ON_FOR_MS: u64 = 2_000;

/// What two neighbours have agreed on, and told each other, about the chat of others.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyPush {
    /// Whether the other end knows how to spare and be spared.
    pub(super) is_known: bool,
    /// What this end sends.
    pub(super) outgoing: Outgoing,
    /// What this end gets.
    pub(super) incoming: Incoming,
}

impl LazyPush {
    /// Whether the other end can be asked to spare this one an author's chat.
    pub(super) fn could_spare(&self, author: PeerId) -> bool {
        self.is_known && !self.incoming.spares.contains(&author) && !self.incoming.was_asked_for(author)
    }
}

/// What the other end is spared, and is owed instead.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing {
    /// Whose chat the other end has from elsewhere.
    spared: BTreeSet<PeerId>,
    /// What it is still to be told of that.
    untold: Vec<(PeerId, u64)>,
    /// Until when the other end may ask for more of an answer.
    owed_until: Option<BootMs>,
}

impl Outgoing {
    /// The other end has an author's chat from elsewhere.
    pub(super) fn is_pruned(&mut self, author: PeerId) {
        if self.spared.len() < MAX_SENDERS {
            self.spared.insert(author);
        }
    }

    /// Whether the other end has this author's chat from elsewhere.
    pub(super) fn spares(&self, author: PeerId) -> bool {
        self.spared.contains(&author)
    }

    /// Queues a number that the other end is to be told of. Returns whether the queue is full.
    pub(super) fn tell_later(&mut self, author: PeerId, number: u64) -> bool {
        self.untold.push((author, number));
        self.untold.len() >= MAX_UNTOLD
    }

    /// What the other end is to be told of; it counts as told from now on.
    pub(super) fn take_untold(&mut self) -> Vec<(PeerId, u64)> {
        std::mem::take(&mut self.untold)
    }

    /// The other end asks for what it has not heard: it is spared nothing any more, and told all of it.
    pub(super) fn is_asked_for_all(&mut self) {
        self.spared.clear();
        self.untold.clear();
    }

    /// A part of an answer was given, and there is more or not.
    pub(super) fn has_answered(&mut self, more: bool, now: BootMs) {
        self.owed_until = more.then(|| now.plus(ASKS_ON_FOR_MS));
    }

    /// Whether the other end may ask for what has left the history.
    pub(super) fn may_ask(&self, now: BootMs) -> bool {
        !self.spared.is_empty() || self.is_owed(now)
    }

    /// Whether the other end may ask for more of an answer.
    pub(super) fn is_owed(&self, now: BootMs) -> bool {
        self.owed_until.is_some_and(|until| now < until)
    }
}

/// What this end is spared, and asks for instead.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming {
    /// Whose chat this end has from elsewhere.
    spares: BTreeSet<PeerId>,
    /// What this end was told of that and has not got yet.
    missing: Vec<Missing>,
    /// When to ask because there was no room for all that is missing.
    overflow: Option<BootMs>,
    /// How many questions for history are not answered yet.
    asked: u32,
    /// How many answers in a row had nothing new.
    vain: u32,
    /// Whether chat came that was new since the last question for history.
    pub(super) learned: bool,
    /// Forgotten senders whose chat came again here: the next question names them.
    repeated: BTreeSet<PeerId>,
}

/// Numbers of an author, from the first to the last, that a neighbour has.
#[derive(Clone, Debug)]
struct Missing {
    author: PeerId,
    run: (u64, u64),
    /// When it is asked for next.
    asked_at: BootMs,
    /// How often it was asked for, and how often the answer had nothing new.
    asked: u32,
    vain: u32,
}

impl Incoming {
    /// Notes that the other end is asked to spare this one an author's chat. Returns `false` if
    /// there is no room for one more.
    pub(super) fn prune(&mut self, author: PeerId) -> bool {
        self.spares.len() < MAX_SENDERS && self.spares.insert(author)
    }

    /// Whether this end has an author's chat from elsewhere.
    pub(super) fn is_spared(&self, author: PeerId) -> bool {
        self.spares.contains(&author)
    }

    /// Chat of a forgotten sender came again. An answer that has nothing else is no reason to stop asking, since the next
    /// question leaves that out.
    pub(super) fn repeats(&mut self, sender: PeerId) {
        if self.repeated.len() < MAX_REPEATED && self.repeated.insert(sender) {
            self.learned = true;
        }
    }

    /// Forgotten senders whose chat came again.
    pub(super) fn repeated(&self) -> &BTreeSet<PeerId> {
        &self.repeated
    }

    /// This end asks for what it has not heard. What is missing stays so until it is heard, or was asked for in vain.
    pub(super) fn asks_for_all(&mut self, now: BootMs) {
        self.spares.clear();
        self.overflow = None;
        self.asked += 1;
        for missing in &mut self.missing {
            missing.asked += 1;
            missing.asked_at = missing.asked_at.max(now.plus(ASKED_AFTER_MS));
        }
    }

    /// Whose chat is missing.
    pub(super) fn missing_authors(&self) -> BTreeSet<PeerId> {
        self.missing.iter().map(|missing| missing.author).collect()
    }

    /// Whether this author's chat was asked for here and is waited for.
    pub(super) fn was_asked_for(&self, author: PeerId) -> bool {
        self.missing.iter().any(|missing| missing.author == author && missing.asked > 0)
    }

    /// The last question was answered, by something new or not; whether to ask for `more` at once. All of a part may have come
    /// from elsewhere meanwhile: so an answer without anything new is no reason yet to ask no more, but several in a row are.
    pub(super) fn is_answered(&mut self, more: bool) -> bool {
        let Some(asked) = self.asked.checked_sub(1) else { return false };
        self.asked = asked;
        if self.learned {
            self.vain = 0;
        } else {
            self.vain += 1;
            // What is missing may be in another part.
            let asked = self.missing.iter_mut().filter(|missing| missing.asked > 0 && !more);
            asked.for_each(|missing| missing.vain += 1);
        }
        self.missing.retain(|missing| missing.vain < MOST_VAIN && missing.asked < MOST_ASKED);
        more && self.vain < MOST_VAIN
    }

    /// When something that is missing is to be asked for; never before an answer to the last question is complete.
    pub(super) fn next_at(&self) -> BootMs {
        if self.asked > 0 {
            return BootMs::NEVER;
        }
        let missing = self.missing.iter().map(|missing| missing.asked_at).min().unwrap_or(BootMs::NEVER);
        missing.min(self.overflow.unwrap_or(BootMs::NEVER))
    }

    /// The other end has these numbers of an author; they are asked for at `asked_at`.
    pub(super) fn waits_for(&mut self, author: PeerId, run: (u64, u64), asked_at: BootMs) {
        if self.missing.len() < MAX_MISSING {
            self.missing.push(Missing { author, run, asked_at, asked: 0, vain: 0 });
        } else {
            self.overflow.get_or_insert(asked_at);
        }
    }

    /// The authors whose chat is to be asked for now; `None` if nothing is. What `is_heard` meanwhile
    /// is not missing any more. Authors that another neighbour was `asked` for are put off: one
    /// answer is enough.
    pub(super) fn due(
        &mut self,
        now: BootMs,
        asked: &BTreeSet<PeerId>,
        is_heard: impl Fn(PeerId, (u64, u64)) -> bool,
    ) -> Option<BTreeSet<PeerId>> {
        let mut authors = BTreeSet::new();
        self.missing.retain_mut(|missing| {
            if is_heard(missing.author, missing.run) {
                return false;
            }
            if asked.contains(&missing.author) {
                missing.asked_at = missing.asked_at.max(now.plus(ASKED_AFTER_MS));
            }
            if missing.asked_at <= now {
                authors.insert(missing.author);
            }
            true
        });
        let is_due = !authors.is_empty() || self.overflow.is_some_and(|at| at <= now);
        is_due.then_some(authors)
    }
}

/// Numbers of authors in runs that do not touch.
pub(super) fn in_runs(mut numbers: Vec<(PeerId, u64)>) -> BTreeMap<PeerId, SeqRanges> {
    numbers.sort_unstable();
    let mut all: BTreeMap<PeerId, SeqRanges> = BTreeMap::new();
    for (author, number) in numbers {
        let runs = all.entry(author).or_default();
        match runs.last_mut() {
            Some((_, last)) if number <= last.saturating_add(1) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_in_order_and_in_runs_that_do_not_touch() {
        let (a, b) = (PeerId(1), PeerId(2));
        let numbers = vec![(b, 7), (a, 3), (a, 1), (a, 2), (a, 9), (a, 9), (b, u64::MAX), (b, u64::MAX - 1)];
        let expected = BTreeMap::from([(a, vec![(1, 3), (9, 9)]), (b, vec![(7, 7), (u64::MAX - 1, u64::MAX)])]);
        assert_eq!(in_runs(numbers), expected);
    }
}
