//! State of lazy push on one link, for both directions: pruned authors, `have` announcements, and
//! history requests.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::{MAX_AUTHORS, MAX_REPEATED_AUTHORS};
use crate::mesh::SeqRanges;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// Largest number of messages per link that wait to be announced in a `have`. At this number the
/// `have` is sent at once. So it always fits into one mesh message, for any authors and numbers.
const MAX_PENDING_HAVES: usize = 512;
/// Delay in milliseconds before announced chat is requested, because it may still arrive on the
/// author's parent link.
pub(super) const REQUEST_DELAY_MS: u64 = 100;
/// Largest number of missing ranges per link. If more are announced, `overflow_request_at` is set
/// instead.
const MAX_MISSING_RANGES: usize = 512;
/// Number of answers in a row without new chat after which this peer stops requesting.
const MAX_USELESS_ANSWERS: u32 = 3;
/// Number of requests for a missing range after which this peer gives the range up, even if the
/// answers contain other new chat.
const MAX_REQUESTS: u32 = 50;
/// Time in milliseconds after a batch in which the other peer may request the next one.
const FOLLOW_UP_WINDOW_MS: u64 = 2_000;

/// State of lazy push between this peer and one linked peer.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyPush {
    /// Whether the other peer knows `prune` and `have`.
    pub(super) is_supported: bool,
    /// State for the chat that this peer sends.
    pub(super) send: LazySend,
    /// State for the chat that this peer receives.
    pub(super) receive: LazyReceive,
}

impl LazyPush {
    /// Whether a `prune` for this author may be sent to the other peer.
    pub(super) fn can_prune(&self, author: PeerId) -> bool {
        self.is_supported && !self.receive.pruned.contains(&author) && !self.receive.is_requested(author)
    }
}

/// The sending direction: the authors whose chat the other peer receives lazily, and the pending
/// `have`.
#[derive(Clone, Debug, Default)]
pub(super) struct LazySend {
    /// Authors that the other peer has pruned. It receives their chat on another link.
    lazy_authors: BTreeSet<PeerId>,
    /// Messages of pruned authors that the next `have` message will name.
    pending_haves: Vec<(PeerId, u64)>,
    /// Time until which the other peer may request the next batch of an answer.
    answer_open_until: Option<BootMs>,
}

impl LazySend {
    /// Handles a `prune` of the other peer: the author's chat is only announced from now on.
    pub(super) fn make_lazy(&mut self, author: PeerId) {
        if self.lazy_authors.len() < MAX_AUTHORS {
            self.lazy_authors.insert(author);
        }
    }

    /// Whether the other peer has pruned this author.
    pub(super) fn is_lazy(&self, author: PeerId) -> bool {
        self.lazy_authors.contains(&author)
    }

    /// Queues a message for the next `have`. Returns whether the queue is full.
    pub(super) fn queue_have(&mut self, author: PeerId, number: u64) -> bool {
        self.pending_haves.push((author, number));
        self.pending_haves.len() >= MAX_PENDING_HAVES
    }

    /// Takes the messages to name in a `have`.
    pub(super) fn take_pending_haves(&mut self) -> Vec<(PeerId, u64)> {
        std::mem::take(&mut self.pending_haves)
    }

    /// Handles a history request of the other peer: all authors are pushed eagerly again. The
    /// answer covers the messages that were not announced yet.
    pub(super) fn reset_to_eager(&mut self) {
        self.lazy_authors.clear();
        self.pending_haves.clear();
    }

    /// Records that a batch was sent, and whether more is left.
    pub(super) fn record_answer(&mut self, more: bool, now: BootMs) {
        self.answer_open_until = more.then(|| now.plus(FOLLOW_UP_WINDOW_MS));
    }

    /// Whether the other peer may request an entry that the history has evicted.
    pub(super) fn may_request_evicted(&self, now: BootMs) -> bool {
        !self.lazy_authors.is_empty() || self.has_open_answer(now)
    }

    /// Whether the other peer may request the next batch of an answer.
    pub(super) fn has_open_answer(&self, now: BootMs) -> bool {
        self.answer_open_until.is_some_and(|until| now < until)
    }
}

/// The receiving direction: the authors whose chat this peer receives lazily, and its history
/// requests.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyReceive {
    /// Authors that this peer has pruned on this link. Their chat arrives on another link.
    pruned: BTreeSet<PeerId>,
    /// Announced ranges that have not been received.
    missing: Vec<MissingRange>,
    /// Time of a history request for the announced ranges that did not fit into `missing`.
    overflow_request_at: Option<BootMs>,
    /// Number of history requests without a complete answer.
    open_requests: u32,
    /// Number of answers in a row without new chat.
    useless_answers: u32,
    /// Whether this link delivered new chat since the last history request. The first repeated
    /// message of an evicted author counts as progress, too.
    pub(super) has_progress: bool,
    /// Evicted authors whose chat was repeated on this link. The next request names them.
    repeated_authors: BTreeSet<PeerId>,
}

/// A range of an author's numbers that the other peer has announced.
#[derive(Clone, Debug)]
struct MissingRange {
    author: PeerId,
    range: (u64, u64),
    /// Time of the next request.
    request_at: BootMs,
    /// Number of requests for this range.
    requests: u32,
    /// Number of answers without new chat since this range was requested first.
    useless_answers: u32,
}

impl LazyReceive {
    /// Records that a `prune` for the author is sent. Returns `false` if the table is full or the
    /// author is in it.
    pub(super) fn prune(&mut self, author: PeerId) -> bool {
        self.pruned.len() < MAX_AUTHORS && self.pruned.insert(author)
    }

    /// Whether this peer has pruned the author on this link.
    pub(super) fn is_pruned(&self, author: PeerId) -> bool {
        self.pruned.contains(&author)
    }

    /// Records a repeated message of an evicted author. The first one of an author counts as
    /// progress, so an answer with only such messages does not stop the requests. The next request
    /// names the author, and its answer omits these messages.
    pub(super) fn record_repeat(&mut self, author: PeerId) {
        if self.repeated_authors.len() < MAX_REPEATED_AUTHORS && self.repeated_authors.insert(author) {
            self.has_progress = true;
        }
    }

    /// Evicted authors whose chat was repeated on this link.
    pub(super) fn repeated_authors(&self) -> &BTreeSet<PeerId> {
        &self.repeated_authors
    }

    /// Records that a history request is sent. Missing ranges stay until they are received or given
    /// up.
    pub(super) fn start_request(&mut self, now: BootMs) {
        self.pruned.clear();
        self.overflow_request_at = None;
        self.open_requests += 1;
        for missing in &mut self.missing {
            missing.requests += 1;
            missing.request_at = missing.request_at.max(now.plus(REQUEST_DELAY_MS));
        }
    }

    /// Whether the other peer answers a history request at the moment.
    pub(super) fn has_open_request(&self) -> bool {
        self.open_requests > 0
    }

    /// The authors of the missing ranges.
    pub(super) fn missing_authors(&self) -> BTreeSet<PeerId> {
        self.missing.iter().map(|missing| missing.author).collect()
    }

    /// Whether a range of this author was requested and is still missing.
    pub(super) fn is_requested(&self, author: PeerId) -> bool {
        self.missing.iter().any(|missing| missing.author == author && missing.requests > 0)
    }

    /// Records the end of an answer. Returns whether the next batch must be requested at once.
    ///
    /// Meanwhile, all messages of a batch may have arrived on other links. So the requests stop
    /// only after several answers in a row without new chat.
    pub(super) fn finish_request(&mut self, more: bool) -> bool {
        let Some(open_requests) = self.open_requests.checked_sub(1) else { return false };
        self.open_requests = open_requests;
        if self.has_progress {
            self.useless_answers = 0;
        } else {
            self.useless_answers += 1;
            // If more batches follow, one of them may contain the missing ranges.
            let requested = self.missing.iter_mut().filter(|missing| missing.requests > 0 && !more);
            requested.for_each(|missing| missing.useless_answers += 1);
        }
        self.missing.retain(|missing| missing.useless_answers < MAX_USELESS_ANSWERS && missing.requests < MAX_REQUESTS);
        more && self.useless_answers < MAX_USELESS_ANSWERS
    }

    /// Time of the next history request. [`BootMs::NEVER`] while an answer is incomplete.
    pub(super) fn next_deadline(&self) -> BootMs {
        if self.open_requests > 0 {
            return BootMs::NEVER;
        }
        let missing = self.missing.iter().map(|missing| missing.request_at).min().unwrap_or(BootMs::NEVER);
        missing.min(self.overflow_request_at.unwrap_or(BootMs::NEVER))
    }

    /// Adds a range that the other peer has announced. It is requested at `request_at`.
    pub(super) fn add_missing(&mut self, author: PeerId, range: (u64, u64), request_at: BootMs) {
        if self.missing.len() < MAX_MISSING_RANGES {
            self.missing.push(MissingRange { author, range, request_at, requests: 0, useless_answers: 0 });
        } else {
            self.overflow_request_at.get_or_insert(request_at);
        }
    }

    /// The authors whose missing ranges must be requested now; `None` if there are none. Ranges
    /// that were received meanwhile are removed. If an author was just requested from another peer,
    /// the request is delayed, because one answer is enough.
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

/// Sorts message numbers and merges them into ranges per author. No two ranges of an author touch.
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
