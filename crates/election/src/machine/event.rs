//! What goes into the machine and what comes out.

use crate::process::{Ballot, NodeId, Process};
use crate::wire::message::Message;
use rollcall_core::{Load, Term};

/// What happened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// Messages to this node can be sent from now on.
    LinkUp(NodeId),
    /// Messages to this node are lost from now on.
    LinkDown(NodeId),
    /// A message came in. The driver vouches for the sender.
    MessageReceived {
        /// Who sent it.
        from: Process,
        /// What it said.
        message: Message,
    },
    /// The moment of [`wake_at`](super::Machine::wake_at) has come, or nearly.
    TimerFired,
    /// This ballot is on disk.
    BallotSaved(Ballot),
    /// This ballot may or may not be on disk.
    BallotSaveFailed(Ballot),
    /// A process greeted on a new link.
    ProcessConnected(Process),
    /// The link that this process had dialled to us ended in order, without a Bye, and not by our doing, and both ends
    /// had named the same two addresses (rule 5).
    EndOfStream(Process),
    /// What was under way when [`Action::Drain`] came has been answered.
    Drained,
    /// The processors were measured.
    LoadSampled(Load),
    /// The process is asked to end: hand over or give up the lease, never stand again, go on voting.
    StopRequested,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Tell another node; may be lost.
    Send {
        /// Whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Write the ballot to disk and say [`Event::BallotSaved`] or [`Event::BallotSaveFailed`]; in the order of the actions.
    SaveBallot(Ballot),
    /// Hold what is new and say [`Event::Drained`] when what is under way has been answered; it is not waited for long.
    Drain,
    /// For the log.
    Log(LogEvent),
}

/// What an operator should read in the log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LogEvent {
    /// This node stands for election.
    CampaignStarted {
        /// In which term.
        term: Term,
    },
    /// This node won.
    ElectionWon {
        /// Which term.
        term: Term,
    },
    /// This node follows another leader than before.
    LeaderChanged {
        /// Whom.
        leader: NodeId,
        /// In which term.
        term: Term,
    },
    /// The leader was not heard for too long.
    LeaderTimedOut {
        /// Which leader.
        leader: NodeId,
    },
    /// The leader gave its term up.
    LeaderResigned {
        /// Which leader.
        leader: NodeId,
        /// Which term.
        term: Term,
    },
    /// The leader's process ended (rule 5).
    LeaderDied {
        /// Which leader.
        leader: NodeId,
    },
    /// A process that was taken for dead lives, so ends of streams are not trusted any more.
    DeathDisproved {
        /// Which node: this one, or another that greeted again.
        node: NodeId,
    },
    /// This node told another to take its place.
    HandoverStarted {
        /// Whom.
        to: NodeId,
        /// In which term.
        term: Term,
    },
    /// This node led and does not any more.
    SteppedDown {
        /// The term it led.
        term: Term,
        /// Why.
        reason: StepDownReason,
    },
    /// This node asked a lighter one to stand.
    Nominated {
        /// Whom.
        node: NodeId,
    },
    /// The time after boot in which this node holds still is over.
    BootWindowEnded {
        /// Whether all others had said that they do not lead.
        early: bool,
    },
    /// The ballot file was missing or torn, and the others' word has settled what this node may do.
    BallotRecovered {
        /// It abstains up to this term; 0 in a new cluster.
        abstains_through: Term,
    },
    /// The ballot could not be written: no vote, no candidacy.
    BallotSaveFailed,
}

/// Why a leader stepped down.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StepDownReason {
    /// A majority was not heard for too long.
    LostMajority,
    /// Another term was heard of.
    HigherTerm(Term),
    /// The process is ending.
    Stopping,
    /// A lighter node takes over.
    HandedOver,
}
