//! Rules that hold after every step of the simulation, and the state to check them.

use std::collections::BTreeMap;

use rollcall_core::Term;
use rollcall_election::NodeId;

/// A rule that the simulation checks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rule {
    /// I1: a term has at most one leader.
    OneLeaderPerTerm,
    /// I2: at most one node serves at any moment.
    OneServingNode,
    /// I3: a node's term never decreases.
    TermNeverDecreases,
    /// I4: the serving term never decreases.
    ServingTermNeverDecreases,
    /// I6: while a majority is connected, a leader serves within a bounded time.
    Liveness,
    /// Rule 1 of docs/design/election.md: no message depends on a ballot that is not on disk.
    Durable,
    /// I6: no message raises a term so far that the terms can run out.
    TermsLast,
    /// A node names only nodes that exist.
    KnownNodes,
    /// A node does not wake or send messages without end. That would waste processor time.
    NoBusyLoop,
}

/// A violated rule, with details.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) text: String,
}

/// State of the checks over all nodes.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The first leader of each term.
    leaders: BTreeMap<Term, NodeId>,
    /// The highest term in which a node has served.
    pub(crate) served: Term,
    /// The node that served last.
    pub(crate) last: Option<NodeId>,
    /// Number of changes of the serving node.
    pub(crate) changes: u64,
    /// The first violation.
    pub(crate) violation: Option<Violation>,
}

impl Checks {
    /// Records a violation. Only the first one is kept.
    pub(crate) fn broken(&mut self, rule: Rule, text: String) {
        self.violation.get_or_insert(Violation { rule, text });
    }

    /// Records that `node` leads `term`. Checks I1.
    pub(crate) fn leads(&mut self, node: NodeId, term: Term) {
        let first = *self.leaders.entry(term).or_insert(node);
        if first != node {
            self.broken(Rule::OneLeaderPerTerm, format!("nodes {} and {} both lead term {}", first.0, node.0, term.0));
        }
    }

    /// Records that `node` serves in `term`. Checks I4.
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
