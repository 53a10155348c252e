//! Complete state of one node, and queries about it that several roles use.

use super::ballot_recovery::BallotRecovery;
use super::dead_processes::DeadProcesses;
use super::durable_ballot::DurableBallot;
use super::rules::Rules;
use super::state::{BootWindow, Following, Schedule, State};
use crate::process::{Ballot, BootId, NodeId, NodeSet, Process};
use crate::wire::message::BallotReport;
use rollcall_core::{BootMs, Load, MemberRole};

/// The components of a machine. Each role's file contains the rules of that role, as functions over
/// this struct.
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

/// State of this process as the driver reports it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct ProcessStatus {
    /// Random number of this process start.
    pub(super) boot: BootId,
    /// The nodes that messages can be sent to.
    pub(super) linked: NodeSet,
    /// Latest measured load.
    pub(super) load: Load,
    /// Whether the process was asked to stop. It never campaigns again.
    pub(super) stopping: bool,
}

impl Node {
    pub(super) fn new(rules: Rules, boot: BootId, ballot: Option<Ballot>, now: BootMs) -> Self {
        // In a cluster of one node no promise can exist.
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

    /// This process, as other nodes identify it.
    pub(super) fn me(&self) -> Process {
        Process { node: self.rules.me, boot: self.process.boot }
    }

    pub(super) fn leads(&self) -> bool {
        matches!(self.state, State::Leader(_))
    }

    /// Whether this node may campaign or grant a pre-vote: no promise binds it and its ballot is on
    /// disk.
    pub(super) fn is_free_to_vote(&self) -> bool {
        !self.refuses_votes() && self.ballot.is_saved()
    }

    /// Rules 3 and 4: whether this node must refuse every vote now.
    ///
    /// A leader refuses while it leads, not only while it serves. Between its election and the
    /// first acknowledgements, its followers have already promised not to vote. If the leader then
    /// voted for another node, the cluster could be without a leader for the length of a promise.
    pub(super) fn refuses_votes(&self) -> bool {
        let is_bound = self.following.window.is_some() || self.following.promise.is_some();
        self.leads() || !self.recovery.is_sound() || is_bound
    }

    /// Whether this node could campaign if its leader released it from its promise.
    pub(super) fn can_succeed_leader(&self) -> bool {
        self.following.window.is_none() && !self.process.stopping
    }

    /// Whether a response of `node` could still end the boot window or recover the lost ballot of
    /// this node. Without this check two nodes would send each other requests without end.
    pub(super) fn needs_answer_from(&self, node: NodeId) -> bool {
        self.following.window.is_some_and(|window| !window.not_leading.contains(node))
            || self.recovery.needs_report_from(node)
    }

    /// Role of this node as it is reported to other nodes.
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
            // An unsaved term is allowed here: it only makes the receiver more careful.
            term: self.ballot.term(),
        }
    }
}
