//! What a new leader learns from the other nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::pulling::Pulling;
use crate::registry::Coverage;
use rollcall_core::BootMs;
use rollcall_election::NodeId;

/// A new leader stops waiting after this time, in milliseconds, for nodes that have not reported all that they know.
const WAIT_FOR_REPORTS_MS: u64 = 1000;

/// A new leader's questions to the others, and what it has by their answers.
#[derive(Debug)]
pub(super) struct Takeover {
    began_at: BootMs,
    /// What it pulls from the others, to know what the majority knows that elected it.
    pub(super) pulls: BTreeMap<NodeId, Pulling>,
    /// How many others told all that they know.
    answered: usize,
    /// How much of the clients it has.
    clients: Coverage,
    /// Complete nodes all of whose rows are known here.
    merged: BTreeSet<NodeId>,
}

impl Takeover {
    /// A takeover that asks nobody yet, by a node that has so much of the clients.
    pub(super) fn new(clients: Coverage, now: BootMs) -> Self {
        Self { began_at: now, pulls: BTreeMap::new(), answered: 0, clients, merged: BTreeSet::new() }
    }

    /// How much of the clients this node has.
    pub(super) fn clients(&self) -> Coverage {
        self.clients
    }

    /// Notes that everything a node knows is known here, and whether that node claims to be complete.
    pub(super) fn merged(&mut self, node: NodeId, claims_complete: bool) {
        self.answered += usize::from(self.pulls.remove(&node).is_some());
        if claims_complete {
            self.merged.insert(node);
        }
    }

    /// Whether this node knows since now who is online as well as anybody does: a majority of `nodes`, itself included,
    /// told what it knows, and one of the others is complete. Of nodes that are not, each may have been started just now and
    /// know nobody; then all are waited for, or a second.
    pub(super) fn learned_clients(&mut self, nodes: usize, now: BootMs) -> bool {
        let majority_answered = self.answered >= nodes / 2 && !self.merged.is_empty();
        let nobody_is_left = self.pulls.is_empty() || now.since(self.began_at) >= WAIT_FOR_REPORTS_MS;
        let has_learned = (majority_answered || nobody_is_left) && !self.clients.may_answer_online();
        if has_learned {
            self.clients = Coverage::UpToDate;
        }
        has_learned
    }

    /// Whether this node, complete or not, and those that were merged hold together all that was ever acknowledged: they
    /// are a majority of complete nodes.
    pub(super) fn knows_all(&self, may_claim_complete: bool, nodes: usize) -> bool {
        self.merged.len() + usize::from(may_claim_complete) > nodes / 2
    }
}
