//! State of lazy push on one link: pruned authors, announced numbers and open questions of each end.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::{MAX_AUTHORS, MAX_REPEATED_AUTHORS};
use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// The most numbers that one neighbour is told at once: whatever they are, they fit into a message.
const MAX_PENDING_HAVES: usize = 512;
/// What a neighbour has may be on its way from where it mostly comes from; it is asked for after so long.
pub(super) const REQUEST_DELAY_MS: u64 = 100;
/// The most runs of numbers that are waited for of one neighbour; with more it is asked for everything.
const MAX_MISSING_RANGES: usize = 512;
/// After so many answers in a row that had nothing new no more is expected of the next.
const MAX_USELESS_ANSWERS: u32 = 3;
/// After so many questions for something it is not expected any more, whatever else the answers have.
const MAX_REQUESTS: u32 = 50;
/// Who was given a part of an answer may ask for the next for so long.
const FOLLOW_UP_WINDOW_MS: u64 = 2_000;

/// What two neighbours have agreed on, and told each other, about the chat of others.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyPush {
    /// Whether the other end knows how to spare and be spared.
    pub(super) is_supported: bool,
    /// What this end sends.
    pub(super) send: LazySend,
    /// What this end gets.
    pub(super) receive: LazyReceive,
}

impl LazyPush {
    /// Whether the other end can be asked to spare this one an author's chat.
    pub(super) fn can_prune(&self, author: PeerId) -> bool {
        self.is_supported && !self.receive.pruned.contains(&author) && !self.receive.is_requested(author)
    }
}

/// What the other end is spared, and is owed instead.
#[derive(Clone, Debug, Default)]
pub(super) struct LazySend {
    /// Whose chat the other end has from elsewhere.
    lazy_authors: BTreeSet<PeerId>,
    /// What it is still to be told of that.
    pending_haves: Vec<(PeerId, u64)>,
    /// Until when the other end may ask for more of an answer.
    answer_open_until: Option<BootMs>,
}

impl LazySend {
    /// The other end has an author's chat from elsewhere.
    pub(super) fn make_lazy(&mut self, author: PeerId) {
        if self.lazy_authors.len() < MAX_AUTHORS {
            self.lazy_authors.insert(author);
        }
    }

    /// Whether the other end has this author's chat from elsewhere.
    pub(super) fn is_lazy(&self, author: PeerId) -> bool {
        self.lazy_authors.contains(&author)
    }

    /// Queues a number that the other end is to be told of. Returns whether the queue is full.
    pub(super) fn queue_have(&mut self, author: PeerId, number: u64) -> bool {
        self.pending_haves.push((author, number));
        self.pending_haves.len() >= MAX_PENDING_HAVES
    }

    /// What the other end is to be told of; it counts as told from now on.
    pub(super) fn take_pending_haves(&mut self) -> Vec<(PeerId, u64)> {
        std::mem::take(&mut self.pending_haves)
    }

    /// The other end asks for what it has not heard: it is spared nothing any more, and told all of it.
    pub(super) fn reset_to_eager(&mut self) {
        self.lazy_authors.clear();
        self.pending_haves.clear();
    }

    /// A part of an answer was given, and there is more or not.
    pub(super) fn record_answer(&mut self, more: bool, now: BootMs) {
        self.answer_open_until = more.then(|| now.plus(FOLLOW_UP_WINDOW_MS));
    }

    /// Whether the other end may ask for what has left the history.
    pub(super) fn may_request_evicted(&self, now: BootMs) -> bool {
        !self.lazy_authors.is_empty() || self.has_open_answer(now)
    }

    /// Whether the other end may ask for more of an answer.
    pub(super) fn has_open_answer(&self, now: BootMs) -> bool {
        self.answer_open_until.is_some_and(|until| now < until)
    }
}

/// What this end is spared, and asks for instead.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyReceive {
    /// Whose chat this end has from elsewhere.
    pruned: BTreeSet<PeerId>,
    /// What this end was told of that and has not got yet.
    missing: Vec<MissingRange>,
    /// When to ask because there was no room for all that is missing.
    overflow_request_at: Option<BootMs>,
    /// How many questions for history are not answered yet.
    open_requests: u32,
    /// How many answers in a row had nothing new.
    useless_answers: u32,
    /// Whether chat came that was new since the last question for history.
    pub(super) has_progress: bool,
    /// Forgotten senders whose chat came again here: the next question names them.
    repeated_authors: BTreeSet<PeerId>,
}

/// Numbers of an author, from the first to the last, that a neighbour has.
#[derive(Clone, Debug)]
struct MissingRange {
    author: PeerId,
    range: (u64, u64),
    /// When it is asked for next.
    request_at: BootMs,
    /// How often it was asked for, and how often the answer had nothing new.
    requests: u32,
    useless_answers: u32,
}

impl LazyReceive {
    /// Notes that the other end is asked to spare this one an author's chat. Returns `false` if
    /// there is no room for one more.
    pub(super) fn prune(&mut self, author: PeerId) -> bool {
        self.pruned.len() < MAX_AUTHORS && self.pruned.insert(author)
    }

    /// Whether this end has an author's chat from elsewhere.
    pub(super) fn is_pruned(&self, author: PeerId) -> bool {
        self.pruned.contains(&author)
    }

    /// Chat of a forgotten sender came again. An answer that has nothing else is no reason to stop asking, since the next
    /// question leaves that out.
    pub(super) fn record_repeat(&mut self, author: PeerId) {
        if self.repeated_authors.len() < MAX_REPEATED_AUTHORS && self.repeated_authors.insert(author) {
            self.has_progress = true;
        }
    }

    /// Forgotten senders whose chat came again.
    pub(super) fn repeated_authors(&self) -> &BTreeSet<PeerId> {
        &self.repeated_authors
    }

    /// This end asks for what it has not heard. What is missing stays so until it is heard, or was asked for in vain.
    pub(super) fn start_request(&mut self, now: BootMs) {
        self.pruned.clear();
        self.overflow_request_at = None;
        self.open_requests += 1;
        for missing in &mut self.missing {
            missing.requests += 1;
            missing.request_at = missing.request_at.max(now.plus(REQUEST_DELAY_MS));
        }
    }

    /// Whose chat is missing.
    pub(super) fn missing_authors(&self) -> BTreeSet<PeerId> {
        self.missing.iter().map(|missing| missing.author).collect()
    }

    /// Whether this author's chat was asked for here and is waited for.
    pub(super) fn is_requested(&self, author: PeerId) -> bool {
        self.missing.iter().any(|missing| missing.author == author && missing.requests > 0)
    }

    /// The last question was answered, by something new or not; whether to ask for `more` at once. All of a part may have come
    /// from elsewhere meanwhile: so an answer without anything new is no reason yet to ask no more, but several in a row are.
    pub(super) fn finish_request(&mut self, more: bool) -> bool {
        let Some(open_requests) = self.open_requests.checked_sub(1) else { return false };
        self.open_requests = open_requests;
        if self.has_progress {
            self.useless_answers = 0;
        } else {
            self.useless_answers += 1;
            // What is missing may be in another part.
            let requested = self.missing.iter_mut().filter(|missing| missing.requests > 0 && !more);
            requested.for_each(|missing| missing.useless_answers += 1);
        }
        self.missing.retain(|missing| missing.useless_answers < MAX_USELESS_ANSWERS && missing.requests < MAX_REQUESTS);
        more && self.useless_answers < MAX_USELESS_ANSWERS
    }

    /// When something that is missing is to be asked for; never before an answer to the last question is complete.
    pub(super) fn next_deadline(&self) -> BootMs {
        if self.open_requests > 0 {
            return BootMs::NEVER;
        }
        let missing = self.missing.iter().map(|missing| missing.request_at).min().unwrap_or(BootMs::NEVER);
        missing.min(self.overflow_request_at.unwrap_or(BootMs::NEVER))
    }

    /// The other end has these numbers of an author; they are asked for at `asked_at`.
    pub(super) fn add_missing(&mut self, author: PeerId, range: (u64, u64), request_at: BootMs) {
        if self.missing.len() < MAX_MISSING_RANGES {
            self.missing.push(MissingRange { author, range, request_at, requests: 0, useless_answers: 0 });
        } else {
            self.overflow_request_at.get_or_insert(request_at);
        }
    }

    /// The authors whose chat is to be asked for now; `None` if nothing is. What `is_heard` meanwhile
    /// is not missing any more. Authors that another neighbour was `asked` for are put off: one
    /// answer is enough.
    pub(super) fn due_authors(
        &mut self,
        now: BootMs,
        requested: &BTreeSet<PeerId>,
        is_received: impl Fn(PeerId, (u64, u64)) -> bool,
    ) -> Option<BTreeSet<PeerId>> {
        let mut authors = BTreeSet::new();
        self.missing.retain_mut(|missing| {
            if is_received(missing.author, missing.range) {
                return false;
            }
            if requested.contains(&missing.author) {
                missing.request_at = missing.request_at.max(now.plus(REQUEST_DELAY_MS));
            }
            if missing.request_at <= now {
                authors.insert(missing.author);
            }
            true
        });
        let is_due = !authors.is_empty() || self.overflow_request_at.is_some_and(|at| at <= now);
        is_due.then_some(authors)
    }
}

/// Numbers of authors in runs that do not touch.
pub(super) fn to_ranges(mut numbers: Vec<(PeerId, u64)>) -> BTreeMap<PeerId, SeqRanges> {
    numbers.sort_unstable();
    let mut all: BTreeMap<PeerId, SeqRanges> = BTreeMap::new();
    for (author, number) in numbers {
        let ranges = all.entry(author).or_default();
        match ranges.last_mut() {
            Some((_, last)) if number <= last.saturating_add(1) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_numbers_become_sorted_ranges_that_do_not_touch() {
        let (a, b) = (PeerId(1), PeerId(2));
        let numbers = vec![(b, 7), (a, 3), (a, 1), (a, 2), (a, 9), (a, 9), (b, u64::MAX), (b, u64::MAX - 1)];
        let expected = BTreeMap::from([(a, vec![(1, 3), (9, 9)]), (b, vec![(7, 7), (u64::MAX - 1, u64::MAX)])]);
        assert_eq!(to_ranges(numbers), expected);
    }
}
