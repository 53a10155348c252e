//! What a leader keeps in mind of its followers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::pulling::Pulling;
use crate::domain::{BootMs, Term};
use crate::election::NodeId;
use crate::registry::RowNo;

/// The most bytes that are under way to one follower. Beyond that it misses batches, and pulls them when it can.
const MOST_UNDER_WAY: usize = 512 * 1024;

/// For how long a follower that was heard counts as being there.
const THERE_MS: u64 = 1000;

/// A leader's part in the replication.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) term: Term,
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
    pub(super) fn new(term: Term, now: BootMs) -> Self {
        Self {
            term,
            number: 0,
            pulsed_at: now,
            whole: false,
            followers: BTreeMap::new(),
            unconfirmed: VecDeque::new(),
            pulls: BTreeMap::new(),
            told: 0,
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

    /// Whether so many others told all that they know that they are a majority of `nodes` with this one.
    pub(super) fn heard_from(&self, nodes: usize) -> bool {
        self.told >= nodes / 2
    }

    /// Whether this node, complete or not, and those that were merged hold together all that was ever acknowledged: they
    /// are a majority of complete nodes.
    pub(super) fn knows_all(&self, is_complete: bool, nodes: usize) -> bool {
        self.merged.len() + usize::from(is_complete) > nodes / 2
    }
}
