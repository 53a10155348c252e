//! Messages between nodes. `frame.rs` contains the codec.

use serde::{Deserialize, Serialize};

use crate::process::{BootId, NodeId, Process};
use rollcall_core::{BootMs, Load, MemberRole, Term};

/// Message from one node's state machine to another's. Times are on the boot clock of the node that
/// sent the request or heartbeat. The other node only echoes them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Message {
    /// Request for a pre-vote: would the receiver vote for the sender in `term`? It changes no vote
    /// and no term at the receiver.
    PreVote {
        /// Number of the sender's pre-vote round.
        round: u32,
        /// Term in which the sender would campaign.
        term: Term,
        /// The sender's last leader, if the sender knows that it is dead (rule 5).
        #[serde(rename = "dead")]
        dead_leader: Option<Process>,
    },
    /// Response to [`Message::PreVote`].
    PreVoteResp(PreVoteResp),
    /// Nomination: the sender asks a less loaded node to campaign (rule 6).
    Nominate {
        /// Term to campaign in.
        term: Term,
    },
    /// Request for a vote.
    Vote {
        /// Term of the campaign.
        term: Term,
        /// When the candidate sent the request.
        asked_at: BootMs,
        /// Term of the leader that asked the candidate to take over. That leader gave the term up
        /// for good (rule 7).
        #[serde(rename = "voids")]
        released_term: Option<Term>,
        /// The candidate's last leader, if the candidate knows that it is dead (rule 5).
        #[serde(rename = "dead")]
        dead_leader: Option<Process>,
    },
    /// Response to [`Message::Vote`].
    VoteResp {
        /// Term of the voter's ballot on disk.
        term: Term,
        /// Echoed from the request.
        asked_at: BootMs,
        /// Whether the vote was granted.
        granted: bool,
    },
    /// Heartbeat of a leader: asks the receiver for a promise (rule 3).
    Heartbeat {
        /// Term of the leader.
        term: Term,
        /// When the heartbeat was created. The lease counts from this time.
        sent_at: BootMs,
    },
    /// Response to [`Message::Heartbeat`], and a promise. If its term is higher than the leader's,
    /// it is a rejection instead: the leader is outdated.
    Ack {
        /// Term of the follower.
        term: Term,
        /// Echoed from the heartbeat.
        sent_at: BootMs,
        /// Load of the follower.
        load: Load,
        /// Whether the follower is ready to succeed the leader in a planned handover.
        ready: bool,
    },
    /// Handover: the sender gave `term` up for good and asks the receiver to campaign now.
    StandNow {
        /// Term that was given up.
        term: Term,
    },
    /// Resignation: the sender led `term` and gave it up for good.
    Resign {
        /// Term that was given up.
        term: Term,
    },
}

/// Response to a pre-vote request. The requester uses its fields even if the pre-vote is not
/// granted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct PreVoteResp {
    /// Process that sent the request. A later process of the same node ignores the response.
    #[serde(rename = "asker")]
    pub requester: BootId,
    /// Echoed from the request.
    pub round: u32,
    /// Whether the pre-vote is granted.
    pub granted: bool,
    /// Whether the sender itself could campaign now.
    pub ready: bool,
    /// Load of the sender.
    pub load: Load,
    /// Role of the sender. A leader outside its lease counts as a leader here.
    pub role: MemberRole,
    /// State of the sender's ballot.
    pub ballot: BallotReport,
    /// Leader whose heartbeats the sender itself hears.
    pub leader: Option<(NodeId, Term)>,
}

/// State of a node's ballot.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct BallotReport {
    /// Whether this process found no valid ballot when it started.
    pub missing_at_start: bool,
    /// Whether the ballot is known and on disk, so that the term is reliable.
    pub sound: bool,
    /// Term of the node.
    pub term: Term,
}

impl Message {
    /// The highest term in the message.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Self::PreVote { term, .. }
            | Self::Nominate { term }
            | Self::Vote { term, .. }
            | Self::VoteResp { term, .. }
            | Self::Heartbeat { term, .. }
            | Self::Ack { term, .. }
            | Self::StandNow { term }
            | Self::Resign { term } => *term,
            Self::PreVoteResp(response) => {
                response.leader.map_or(response.ballot.term, |(_, term)| term.max(response.ballot.term))
            }
        }
    }

    /// The node in the content of the message: the dead leader or the known leader.
    #[must_use]
    pub fn named_node(&self) -> Option<NodeId> {
        match self {
            Self::PreVote { dead_leader, .. } | Self::Vote { dead_leader, .. } => {
                dead_leader.map(|process| process.node)
            }
            Self::PreVoteResp(response) => response.leader.map(|(node, _)| node),
            Self::Nominate { .. }
            | Self::VoteResp { .. }
            | Self::Heartbeat { .. }
            | Self::Ack { .. }
            | Self::StandNow { .. }
            | Self::Resign { .. } => None,
        }
    }

    /// Name of the message for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PreVote { .. } => "PreVote",
            Self::PreVoteResp(_) => "PreVoteResp",
            Self::Nominate { .. } => "Nominate",
            Self::Vote { .. } => "Vote",
            Self::VoteResp { .. } => "VoteResp",
            Self::Heartbeat { .. } => "Heartbeat",
            Self::Ack { .. } => "Ack",
            Self::StandNow { .. } => "StandNow",
            Self::Resign { .. } => "Resign",
        }
    }
}
