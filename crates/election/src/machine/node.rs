//! The whole state of one node, and the questions about it that several roles ask.

use super::ballot_recovery::BallotRecovery;
use super::dead_processes::DeadProcesses;
use super::durable_ballot::DurableBallot;
use super::rules::Rules;
use super::state::{BootWindow, Following, Schedule, State};
use crate::process::{Ballot, BootId, NodeId, NodeSet, Process};
use crate::wire::message::BallotReport;
use rollcall_core::{BootMs, Load, MemberRole};

/// The components of a machine. Each role's rules are functions over it, in the role's file.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Node {
    pub(super) rules: Rules,
    pub(super) process: ProcessStatus,
    pub(super) ballot: DurableBallot,
    pub(super) recovery: BallotRecovery,
    pub(super) state: State,
    pub(super) following: Following,
    pub(super) dead: DeadProcesses,
    pub(super) schedule: Schedule,
}

/// What the driver tells of this process.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct ProcessStatus {
    pub(super) boot: BootId,
    /// The nodes that messages can be sent to.
    pub(super) linked: NodeSet,
    pub(super) load: Load,
    pub(super) stopping: bool,
}

impl Node {
    pub(super) fn new(rules: Rules, boot: BootId, ballot: Option<Ballot>, now: BootMs) -> Self {
        // With one node there is nobody to whom anything could have been promised.
        let window = (rules.nodes > 1)
            .then(|| BootWindow { until: now.plus(rules.promise_duration_ms()), not_leading: NodeSet::default() });
        Self {
            process: ProcessStatus { boot, linked: NodeSet::default(), load: Load::NEUTRAL, stopping: false },
            ballot: DurableBallot::new(ballot),
            recovery: BallotRecovery::new(ballot.is_none(), now.plus(rules.vote_lifetime_ms())),
            state: State::Follower,
            following: Following { leader: None, promise: None, window, hint: None },
            dead: DeadProcesses::new(rules.trust_end_of_stream),
            schedule: Schedule { deadline: now, round: 0, lost_rounds: 0, nominated: false, released: None },
            rules,
        }
    }

    /// This very process, as other nodes name it.
    pub(super) fn me(&self) -> Process {
        Process { node: self.rules.me, boot: self.process.boot }
    }

    pub(super) fn leads(&self) -> bool {
        matches!(self.state, State::Leader(_))
    }

    /// Whether this node may stand for election or say that another might: it is bound by nothing and its ballot is safe.
    pub(super) fn is_free_to_vote(&self) -> bool {
        !self.refuses_votes() && self.ballot.is_saved()
    }

    /// Rules 3 and 4: whether something binds this node not to vote at all right now. A leader is bound as long as it
    /// leads, not only while it serves: between its election and the first acknowledgements others have promised not to
    /// vote, so a vote of its own would only leave the cluster without anybody for the length of a promise.
    pub(super) fn refuses_votes(&self) -> bool {
        let is_bound = self.following.window.is_some() || self.following.promise.is_some();
        self.leads() || !self.recovery.is_sound() || is_bound
    }

    /// Whether nothing but the promise to its leader would keep this node from standing.
    pub(super) fn can_succeed_leader(&self) -> bool {
        self.following.window.is_none() && !self.process.stopping
    }

    /// Whether this node must hold still until it knows what `node` is, or was, and its answer would count. Two nodes that
    /// ask each other for what cannot count yet would go on without end.
    pub(super) fn needs_answer_from(&self, node: NodeId) -> bool {
        self.following.window.is_some_and(|window| !window.not_leading.contains(node))
            || self.recovery.needs_report_from(node)
    }

    /// What this node is, in the word that others are told.
    pub(super) fn member_role(&self) -> MemberRole {
        match self.state {
            State::Follower => MemberRole::Follower,
            State::PreVote { .. } | State::Candidate { .. } => MemberRole::Candidate,
            State::Leader(_) => MemberRole::Leader,
        }
    }

    pub(super) fn ballot_report(&self) -> BallotReport {
        BallotReport {
            missing_at_start: self.recovery.missing_at_start,
            sound: self.recovery.is_sound() && self.ballot.is_saved(),
            // An unsaved term may be told here: it only makes the asker more careful.
            term: self.ballot.term(),
        }
    }
}
