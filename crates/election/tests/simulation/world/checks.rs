//! What must hold after every step of the simulation, and what is remembered to check it.

use std::collections::BTreeMap;

use rollcall_core::Term;
use rollcall_election::NodeId;

/// The rule that was broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rule {
    /// I1: a term has at most one leader.
    OneLeaderPerTerm,
    /// I2: at most one node serves at any instant.
    OneServingNode,
    /// I3: a node's term never goes back.
    TermNeverDecreases,
    /// I4: the serving term only grows.
    ServingTermNeverDecreases,
    /// I6: while a majority is connected, a leader serves within a bounded time.
    Liveness,
    /// Rule 1: nothing leaves that depends on a ballot that is not on disk.
    Durable,
    /// A node that wakes or talks without end does no work and burns a processor.
    NoBusyLoop,
}

/// A broken rule, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) text: String,
}

/// What the simulation remembers of all nodes together.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    leaders: BTreeMap<Term, NodeId>,
    /// The highest term in which anybody has served.
    pub(crate) served: Term,
    /// Who served last.
    pub(crate) last: Option<NodeId>,
    /// How often another node began to serve.
    pub(crate) changes: u64,
    /// The first rule that was broken.
    pub(crate) violation: Option<Violation>,
}

impl Checks {
    pub(crate) fn broken(&mut self, rule: Rule, text: String) {
        self.violation.get_or_insert(Violation { rule, text });
    }

    pub(crate) fn leads(&mut self, node: NodeId, term: Term) {
        let first = *self.leaders.entry(term).or_insert(node);
        if first != node {
            self.broken(Rule::OneLeaderPerTerm, format!("nodes {} and {} both lead term {}", first.0, node.0, term.0));
        }
    }

    pub(crate) fn serves(&mut self, node: NodeId, term: Term) {
        if term < self.served {
            self.broken(
                Rule::ServingTermNeverDecreases,
                format!("node {} serves term {} after {}", node.0, term.0, self.served.0),
            );
        }
        self.served = self.served.max(term);
        if self.last != Some(node) {
            self.changes += u64::from(self.last.is_some());
            self.last = Some(node);
        }
    }
}
