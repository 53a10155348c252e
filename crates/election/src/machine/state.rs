//! The state of each role, and the promises and pauses that outlast a role.

use crate::process::{NodeId, NodeSet, Process};
use rollcall_core::{BootMs, Load, MAX_NODES, Term};

/// What a node does in the election.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum State {
    Follower,
    /// Rule 2: asks whether it would get votes.
    PreVote {
        since: BootMs,
        term: Term,
        grants: NodeSet,
        lightest: Option<(Load, NodeId)>,
    },
    /// Has raised its term and voted for itself. `released_term`: the term whose leader told it to stand.
    Candidate {
        released_term: Option<Term>,
        asked_at: BootMs,
        answered: NodeSet,
        votes: NodeSet,
    },
    /// Won the term.
    Leader(Leadership),
}

/// What a leader keeps.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Leadership {
    pub(super) since: BootMs,
    pub(super) next_heartbeat_at: BootMs,
    /// The send time of the newest heartbeat that each node acknowledged.
    pub(super) acked: [Option<BootMs>; MAX_NODES],
    /// The load that each node told with its last acknowledgement, if it could stand.
    pub(super) successor_loads: [Option<Load>; MAX_NODES],
    /// When it looks next whether another should lead.
    pub(super) next_handover_check_at: BootMs,
    /// Since when another has been much lighter without a break.
    pub(super) overloaded_since: Option<BootMs>,
    pub(super) handover: Option<Handover>,
}

/// A handover that has begun: the leader still serves what is under way (rule 7).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Handover {
    pub(super) to: NodeId,
    pub(super) drain_deadline: BootMs,
}

/// The leader that a node follows, and what binds it to hold still.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Following {
    /// The leader whose heartbeats it hears, and the term.
    pub(super) leader: Option<(Process, Term)>,
    pub(super) promise: Option<Promise>,
    pub(super) window: Option<BootWindow>,
    pub(super) hint: Option<LeaderHint>,
}

/// What an acknowledged heartbeat binds this node to (rule 3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Promise {
    pub(super) to: Process,
    pub(super) term: Term,
    pub(super) until: BootMs,
}

/// The time after boot in which this node holds still, because it may have promised something before (rule 4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct BootWindow {
    pub(super) until: BootMs,
    /// Who said itself, to this boot, that it does not lead.
    pub(super) not_leading: NodeSet,
}

/// A leader that somebody else named.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct LeaderHint {
    pub(super) node: NodeId,
    pub(super) term: Term,
    pub(super) until: BootMs,
}

/// When a node that does not lead acts next, and the count of its attempts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Schedule {
    pub(super) deadline: BootMs,
    /// The number of its latest round of questions.
    pub(super) round: u32,
    /// Rounds lost in a row.
    pub(super) lost_rounds: u8,
    /// Whether it asked a lighter node to stand since it last heard a leader.
    pub(super) nominated: bool,
    pub(super) released: Option<ReleasedTerm>,
}

/// A term that this node led and told another to follow it in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct ReleasedTerm {
    pub(super) term: Term,
    /// When everybody is told, because nobody followed.
    pub(super) resign_at: BootMs,
}
