//! Takeover: a new leader pulls rows from all other nodes before it lists clients and users.

use std::collections::{BTreeMap, BTreeSet};

use super::catch_up::CatchUp;
use crate::registry::Coverage;
use rollcall_core::BootMs;
use rollcall_election::NodeId;

/// Longest wait of a new leader for the rows of the other nodes, in milliseconds.
const WAIT_FOR_REPORTS_MS: u64 = 1000;

/// A new leader's catch-ups from the other nodes, and the finished ones. A node has *reported* when
/// its catch-up is finished.
#[derive(Debug)]
pub(super) struct Takeover {
    started_at: BootMs,
    /// Unfinished catch-ups. The majority that elected this leader may know rows that it lacks.
    pub(super) catch_ups: BTreeMap<NodeId, CatchUp>,
    /// Number of other nodes that have reported.
    reports: usize,
    /// This leader's coverage of the clients.
    clients_coverage: Coverage,
    /// Nodes that have reported and claim to be complete.
    complete_nodes: BTreeSet<NodeId>,
}

impl Takeover {
    /// A takeover by a node with this coverage of the clients. It has sent no requests yet.
    pub(super) fn new(clients_coverage: Coverage, now: BootMs) -> Self {
        Self {
            started_at: now,
            catch_ups: BTreeMap::new(),
            reports: 0,
            clients_coverage,
            complete_nodes: BTreeSet::new(),
        }
    }

    /// This leader's coverage of the clients.
    pub(super) fn clients_coverage(&self) -> Coverage {
        self.clients_coverage
    }

    /// Records that `node` has reported all its rows, and whether it claims to be complete.
    pub(super) fn record_report(&mut self, node: NodeId, claims_complete: bool) {
        self.reports += usize::from(self.catch_ups.remove(&node).is_some());
        if claims_complete {
            self.complete_nodes.insert(node);
        }
    }

    /// Raises the coverage of the clients to `UpToDate` if the reports allow it. Returns true once,
    /// in the call that raises it.
    ///
    /// A majority of `nodes`, this one included, must have reported, and one of the others must be
    /// complete. A node that is not complete may have just started and know no client. So without a
    /// complete node the leader waits for all nodes, [`WAIT_FOR_REPORTS_MS`] at most.
    pub(super) fn raise_clients_coverage(&mut self, nodes: usize, now: BootMs) -> bool {
        let majority_reported = self.reports >= nodes / 2 && !self.complete_nodes.is_empty();
        let wait_is_over = self.catch_ups.is_empty() || now.since(self.started_at) >= WAIT_FOR_REPORTS_MS;
        let is_raised = (majority_reported || wait_is_over) && !self.clients_coverage.may_answer_online();
        if is_raised {
            self.clients_coverage = Coverage::UpToDate;
        }
        is_raised
    }

    /// Whether this node has every registration that was ever acknowledged: the complete nodes that
    /// reported, and this node if it is complete itself, are a majority of `nodes`.
    pub(super) fn has_all_users(&self, may_claim_complete: bool, nodes: usize) -> bool {
        self.complete_nodes.len() + usize::from(may_claim_complete) > nodes / 2
    }
}
