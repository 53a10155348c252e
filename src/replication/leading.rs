//! What a leader keeps in mind of its followers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::pulling::Pulling;
use crate::registry::RowNo;
use rollcall_core::{BootMs, Term};
use rollcall_election::NodeId;

/// The most bytes that are under way to one follower. Beyond that it misses batches, and pulls them when it can.
const MOST_UNDER_WAY: usize = 512 * 1024;

/// For how long a follower that was heard counts as being there.
const THERE_MS: u64 = 1000;

/// After so long a leader takes it that who has not told what it knows will not.
const WAIT_FOR_TOLD_MS: u64 = 1000;

/// A leader's part in the replication.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) term: Term,
    began_at: BootMs,
    /// The number of the last batch.
    pub(super) number: u64,
    pub(super) pulsed_at: BootMs,
    /// Whether its list of users is whole.
    pub(super) whole: bool,
    followers: BTreeMap<NodeId, Follower>,
    /// For each batch that a majority may not have yet: which new rows were told with it or before.
    unconfirmed: VecDeque<(u64, RowNo)>,
    /// What it pulls from the others, to know what the majority knows that elected it.
    pub(super) pulls: BTreeMap<NodeId, Pulling>,
    /// How many others told all that they know.
    told: usize,
    /// Whether it knows who is online as well as anybody does.
    knows_clients: bool,
    /// Complete nodes all of whose rows are known here.
    merged: BTreeSet<NodeId>,
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

impl Leading {
    /// A leader that asks nobody yet; one that `knows_clients` was in step with the leader before.
    pub(super) fn new(term: Term, knows_clients: bool, now: BootMs) -> Self {
        Self {
            term,
            began_at: now,
            number: 0,
            pulsed_at: now,
            whole: false,
            followers: BTreeMap::new(),
            unconfirmed: VecDeque::new(),
            pulls: BTreeMap::new(),
            told: 0,
            knows_clients,
            merged: BTreeSet::new(),
        }
    }

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

    /// Notes that everything a node knows is known here, and whether that node is complete.
    pub(super) fn merged(&mut self, node: NodeId, complete: bool) {
        self.told += usize::from(self.pulls.remove(&node).is_some());
        if complete {
            self.merged.insert(node);
        }
    }

    /// Whether this node knows since now who is online as well as anybody does: a majority of `nodes`, itself included,
    /// told what it knows, and one of the others is complete. Of nodes that are not, each may have been started just now and
    /// know nobody; then all are waited for, or a second.
    pub(super) fn learned_clients(&mut self, nodes: usize, now: BootMs) -> bool {
        let told = self.told >= nodes / 2 && !self.merged.is_empty();
        let all_told = self.pulls.is_empty() || now.since(self.began_at) >= WAIT_FOR_TOLD_MS;
        (told || all_told) && !std::mem::replace(&mut self.knows_clients, true)
    }

    /// Whether this node, complete or not, and those that were merged hold together all that was ever acknowledged: they
    /// are a majority of complete nodes.
    pub(super) fn knows_all(&self, is_complete: bool, nodes: usize) -> bool {
        self.merged.len() + usize::from(is_complete) > nodes / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_is_sent_no_more_than_fits_until_it_says_that_it_has_it() {
        const NODES: usize = 3;
        let (mut leading, now) = (Leading::new(Term(1), true, BootMs(0)), BootMs(0));
        let (slow, fast) = (NodeId(1), NodeId(2));
        let batch = MOST_UNDER_WAY / 4;
        for round in 0..5 {
            let first = round * 4;
            for number in first + 1..=first + 4 {
                leading.number = number;
                assert!(leading.may_send(fast, batch), "batch {number}");
                assert_eq!(leading.may_send(slow, batch), round == 0, "batch {number}");
            }
            leading.number += 1;
            assert!(!leading.may_send(fast, 1) && !leading.may_send(slow, 1));
            // One batch makes room for one.
            leading.seen(fast, (0, first + 1), NODES, now);
            assert!(!leading.may_send(fast, batch + 1) && leading.may_send(fast, batch));
            leading.seen(fast, (0, first + 5), NODES, now);
        }
    }
}
