//! What nodes say to each other. The codec is in `frame.rs`.

use serde::{Deserialize, Serialize};

use crate::process::{BootId, NodeId, Process};
use rollcall_core::{BootMs, Load, MemberRole, Term};

/// What one node's machine says to another's. Times are of the asker's boot clock and only ever echoed back to it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Message {
    /// "Would you vote for me in `term`?" Changes nothing at the node that is asked.
    PreVote {
        /// Tells the asker's rounds apart.
        round: u32,
        /// The term the asker would stand in.
        term: Term,
        /// The process whose death the asker saw, if that is why it asks (rule 5).
        #[serde(rename = "dead")]
        dead_leader: Option<Process>,
    },
    /// The answer to [`Message::PreVote`].
    PreVoteResp(PreVoteResp),
    /// "You are lighter: stand."
    Nominate {
        /// The term to stand in.
        term: Term,
    },
    /// "Vote for me."
    Vote {
        /// The term the candidate stands in.
        term: Term,
        /// When it asked.
        asked_at: BootMs,
        /// The term whose leader told the candidate to stand: it was given up for good (rule 7).
        #[serde(rename = "voids")]
        released_term: Option<Term>,
        /// The process whose death the candidate saw (rule 5).
        #[serde(rename = "dead")]
        dead_leader: Option<Process>,
    },
    /// The answer to [`Message::Vote`].
    VoteResp {
        /// The voter's term.
        term: Term,
        /// Echoed from the request.
        asked_at: BootMs,
        /// Whether it is a vote.
        granted: bool,
    },
    /// "I lead; do not elect another for a while."
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// When it was made; the lease counts from here.
        sent_at: BootMs,
    },
    /// The answer to [`Message::Heartbeat`]: a promise. With a higher term than the leader's it is none, but tells the
    /// leader that its time is over.
    Ack {
        /// The follower's term.
        term: Term,
        /// Echoed from the heartbeat.
        sent_at: BootMs,
        /// The follower's load.
        load: Load,
        /// Whether it could stand if it were told to.
        ready: bool,
    },
    /// "I gave `term` up for good; stand now."
    StandNow {
        /// The term that was given up.
        term: Term,
    },
    /// "I led `term` and gave it up for good."
    Resign {
        /// The term that was given up.
        term: Term,
    },
}

/// What a node answers to "would you vote for me?". The facts in it help the asker whatever the answer is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct PreVoteResp {
    /// The process that asked; an answer that reaches a later start of the same node says nothing to it.
    pub asker: BootId,
    /// Echoed from the request.
    pub round: u32,
    /// The answer.
    pub granted: bool,
    /// Whether the one who answers could stand itself right now.
    pub ready: bool,
    /// Its load.
    pub load: Load,
    /// What it is: a leader outside its lease is a leader here.
    pub role: MemberRole,
    /// What it knows of its own past.
    pub ballot: BallotReport,
    /// The leader whose heartbeats it hears itself.
    pub leader: Option<(NodeId, Term)>,
}

/// What a node knows of its own past.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct BallotReport {
    /// Whether this process found no sound ballot when it started.
    pub missing_at_start: bool,
    /// Whether its term can be relied on now: it has a ballot on disk.
    pub sound: bool,
    /// Its term.
    pub term: Term,
}

impl Message {
    /// The highest term that the message speaks of.
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
            Self::PreVoteResp(answer) => {
                answer.leader.map_or(answer.ballot.term, |(_, term)| term.max(answer.ballot.term))
            }
        }
    }

    /// Another node that the message names.
    #[must_use]
    pub fn named_node(&self) -> Option<NodeId> {
        match self {
            Self::PreVote { dead_leader, .. } | Self::Vote { dead_leader, .. } => {
                dead_leader.map(|process| process.node)
            }
            Self::PreVoteResp(answer) => answer.leader.map(|(node, _)| node),
            Self::Nominate { .. }
            | Self::VoteResp { .. }
            | Self::Heartbeat { .. }
            | Self::Ack { .. }
            | Self::StandNow { .. }
            | Self::Resign { .. } => None,
        }
    }

    /// The message's name in logs.
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
