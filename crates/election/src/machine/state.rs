//! State of each role, and the promises and timers that are kept when the role changes.

use crate::process::{NodeId, NodeSet, Process};
use rollcall_core::{BootMs, Load, MAX_NODES, Term};

/// Role of a node, with the state of that role.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum State {
    /// Follows a leader or waits for one.
    Follower,
    /// Rule 2: asks whether it would get votes.
    PreVote {
        /// When the round started.
        since: BootMs,
        /// Term that the node would campaign in.
        term: Term,
        /// The nodes that granted the pre-vote, this node included.
        grants: NodeSet,
        /// The least loaded node in `grants` that is ready to campaign (rule 6).
        lightest: Option<(Load, NodeId)>,
    },
    /// Has raised its term and voted for itself.
    Candidate {
        /// Term of the leader that asked this node to take over (rule 7). The vote requests contain
        /// it.
        released_term: Option<Term>,
        /// When the vote requests were sent. The responses echo it.
        asked_at: BootMs,
        /// The nodes that have answered, this node included.
        answered: NodeSet,
        /// The nodes that granted their vote, this node included.
        votes: NodeSet,
    },
    /// Has won the term.
    Leader(Leadership),
}

/// State of a leader.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Leadership {
    /// When this node won the term.
    pub(super) since: BootMs,
    /// When the next heartbeat is due.
    pub(super) next_heartbeat_at: BootMs,
    /// Send time of the newest heartbeat that each node acknowledged.
    pub(super) acked: [Option<BootMs>; MAX_NODES],
    /// Load that each node reported in its last acknowledgement. `None` if that node could not
    /// campaign.
    pub(super) successor_loads: [Option<Load>; MAX_NODES],
    /// When the next handover check is due.
    pub(super) next_handover_check_at: BootMs,
    /// Start of the present period in which another node is much less loaded.
    pub(super) overloaded_since: Option<BootMs>,
    /// The handover in progress.
    pub(super) handover: Option<Handover>,
}

/// A handover in progress: the leader still serves the requests in progress (rule 7).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Handover {
    /// The successor.
    pub(super) to: NodeId,
    /// When the leader gives its term up, even if requests are still in progress.
    pub(super) drain_deadline: BootMs,
}

/// The followed leader, and the promises that restrict this node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Following {
    /// The leader whose heartbeats this node hears, and its term.
    pub(super) leader: Option<(Process, Term)>,
    /// The promise to a leader (rule 3).
    pub(super) promise: Option<Promise>,
    /// The boot window, while it lasts (rule 4).
    pub(super) window: Option<BootWindow>,
    /// The leader that another node named. It is only reported to clients and operators.
    pub(super) hint: Option<LeaderHint>,
}

/// Promise of rule 3, made by the acknowledgement of a heartbeat: no vote and no campaign before
/// `until`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Promise {
    pub(super) to: Process,
    pub(super) term: Term,
    pub(super) until: BootMs,
}

/// Time after a start in which this node neither votes nor campaigns, because its earlier process
/// may have made a promise (rule 4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct BootWindow {
    pub(super) until: BootMs,
    /// The nodes that reported to this process that they do not lead.
    pub(super) not_leading: NodeSet,
}

/// A leader that another node named.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct LeaderHint {
    pub(super) node: NodeId,
    pub(super) term: Term,
    pub(super) until: BootMs,
}

/// Timer of the next pre-vote round, and counters of the attempts. Used while the node does not
/// lead.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Schedule {
    /// When the next pre-vote round starts, unless a leader is heard before.
    pub(super) deadline: BootMs,
    /// Number of the latest pre-vote round.
    pub(super) round: u32,
    /// Number of rounds lost in a row.
    pub(super) lost_rounds: u8,
    /// Whether this node has nominated a less loaded node since it last heard a leader.
    pub(super) nominated: bool,
    pub(super) released: Option<ReleasedTerm>,
}

/// A term that this node led and handed to a successor.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct ReleasedTerm {
    pub(super) term: Term,
    /// When this node sends Resign to all nodes, unless a successor leads before.
    pub(super) resign_at: BootMs,
}
