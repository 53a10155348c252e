//! The batches that a leader sent, and which of them its followers have.

use std::collections::{BTreeMap, VecDeque};

use crate::registry::RowNo;
use rollcall_core::BootMs;
use rollcall_election::NodeId;

/// The most bytes that are under way to one follower. Beyond that it misses batches, and pulls them when it can.
const MOST_UNDER_WAY: usize = 512 * 1024;

/// For how long a follower that was heard counts as being there.
const THERE_MS: u64 = 1000;

/// A leader's batches, and what its followers acknowledged.
#[derive(Debug, Default)]
pub(super) struct SentBatches {
    /// The number of the last batch.
    pub(super) number: u64,
    followers: BTreeMap<NodeId, Follower>,
    /// For each batch that a majority may not have yet: which new rows were told with it or before.
    unconfirmed: VecDeque<(u64, RowNo)>,
}

#[derive(Debug, Default)]
struct Follower {
    /// It has the batches after `base` up to `upto`.
    base: u64,
    upto: u64,
    under_way: VecDeque<(u64, usize)>,
    bytes: usize,
    seen_at: BootMs,
}

impl SentBatches {
    /// Notes a batch in which `rows` new rows, and all before, have been told.
    pub(super) fn made(&mut self, number: u64, rows: Option<RowNo>) {
        if let Some(rows) = rows {
            self.unconfirmed.push_back((number, rows));
        }
    }

    /// Whether a batch of `bytes` may be sent to a follower now; notes it if so.
    pub(super) fn may_send(&mut self, to: NodeId, bytes: usize) -> bool {
        let number = self.number;
        let follower = self.followers.entry(to).or_default();
        if follower.bytes + bytes > MOST_UNDER_WAY {
            return false;
        }
        follower.bytes += bytes;
        follower.under_way.push_back((number, bytes));
        true
    }

    /// Takes in what a follower has. The new rows of which a majority of `nodes` knows now, if they are more.
    pub(super) fn seen(&mut self, by: NodeId, (base, upto): (u64, u64), nodes: usize, now: BootMs) -> Option<RowNo> {
        let follower = self.followers.entry(by).or_default();
        (follower.base, follower.upto, follower.seen_at) = (base, upto, now);
        while let Some((number, bytes)) = follower.under_way.front().copied()
            && number <= upto
        {
            follower.bytes -= bytes;
            follower.under_way.pop_front();
        }
        self.confirmed(nodes)
    }

    /// The new rows of which a majority of `nodes` knows, if they are more than before.
    pub(super) fn confirmed(&mut self, nodes: usize) -> Option<RowNo> {
        let mut confirmed = None;
        while let Some((number, rows)) = self.unconfirmed.front().copied() {
            let has = |follower: &&Follower| follower.base < number && number <= follower.upto;
            // With this node they are one more.
            if self.followers.values().filter(has).count() < nodes / 2 {
                break;
            }
            confirmed = Some(rows);
            self.unconfirmed.pop_front();
        }
        confirmed
    }

    /// Whether the followers that were heard within a second have every batch.
    pub(super) fn is_flushed(&self, now: BootMs) -> bool {
        let mut there = self.followers.values().filter(|follower| now.since(follower.seen_at) < THERE_MS);
        there.all(|follower| follower.upto == self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_is_sent_no_more_than_fits_until_it_says_that_it_has_it() {
        const NODES: usize = 3;
        let (mut sent, now) = (SentBatches::default(), BootMs(0));
        let (slow, fast) = (NodeId(1), NodeId(2));
        let batch = MOST_UNDER_WAY / 4;
        for round in 0..5 {
            let first = round * 4;
            for number in first + 1..=first + 4 {
                sent.number = number;
                assert!(sent.may_send(fast, batch), "batch {number}");
                assert_eq!(sent.may_send(slow, batch), round == 0, "batch {number}");
            }
            sent.number += 1;
            assert!(!sent.may_send(fast, 1) && !sent.may_send(slow, 1));
            // One batch makes room for one.
            sent.seen(fast, (0, first + 1), NODES, now);
            assert!(!sent.may_send(fast, batch + 1) && sent.may_send(fast, batch));
            sent.seen(fast, (0, first + 5), NODES, now);
        }
    }
}
