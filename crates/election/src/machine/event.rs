//! Events and actions of the election state machine.

use crate::process::{Ballot, NodeId, Process};
use crate::wire::message::Message;
use rollcall_core::{Load, Term};

/// Input of the machine.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// Messages can be sent to this node from now on.
    LinkUp(NodeId),
    /// Messages to this node are lost from now on.
    LinkDown(NodeId),
    /// A message arrived. The driver has authenticated its sender.
    MessageReceived {
        /// The process that sent it.
        from: Process,
        /// The message.
        message: Message,
    },
    /// The time of [`next_timer_at`](super::Machine::next_timer_at) has come. The event may be a
    /// little early or late.
    TimerFired,
    /// This ballot is on disk.
    BallotSaved(Ballot),
    /// The write of this ballot failed. The ballot may or may not be on disk.
    BallotSaveFailed(Ballot),
    /// A process completed the handshake on a new link.
    ProcessConnected(Process),
    /// The link that the given process dialled to this node ended in order and without a Bye. This
    /// node did not end it. Both ends reported the same two socket addresses, so no device between
    /// them ended it (rule 5).
    EndOfStream(Process),
    /// All requests that were in progress at [`Action::Drain`] have been answered.
    Drained,
    /// The CPU load was measured.
    LoadSampled(Load),
    /// The process is stopping. The machine hands the leadership over or gives it up, and never
    /// campaigns again. It still votes.
    StopRequested,
}

/// Output of the machine.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Send a message to another node. It may be lost.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Write the ballot to disk and report [`Event::BallotSaved`] or [`Event::BallotSaveFailed`].
    /// Ballots are written in the order of the actions.
    SaveBallot(Ballot),
    /// Hold new requests, and report [`Event::Drained`] when the requests in progress are answered.
    /// The handover continues after a short time even without that event.
    Drain,
    /// Write an event to the operator log.
    Log(LogEvent),
}

/// Event for the operator log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LogEvent {
    /// This node became a candidate.
    CampaignStarted {
        /// The term of the campaign.
        term: Term,
    },
    /// This node won an election.
    ElectionWon {
        /// The term that it won.
        term: Term,
    },
    /// This node follows a new leader or a new term.
    LeaderChanged {
        /// The new leader.
        leader: NodeId,
        /// Its term.
        term: Term,
    },
    /// The leader was silent for longer than the election timeout.
    LeaderTimedOut {
        /// The leader.
        leader: NodeId,
    },
    /// The leader gave up its term.
    LeaderResigned {
        /// The leader.
        leader: NodeId,
        /// The term that it gave up.
        term: Term,
    },
    /// The leader's process ended (rule 5).
    LeaderDied {
        /// The leader.
        leader: NodeId,
    },
    /// A process that counted as dead is alive. From now on this node takes no end of stream as
    /// proof of death.
    DeathDisproved {
        /// The node of that process: this node, or another node that connected again.
        node: NodeId,
    },
    /// This node began a planned handover of its leadership.
    HandoverStarted {
        /// The successor.
        to: NodeId,
        /// The term that is handed over.
        term: Term,
    },
    /// This node stopped leading.
    SteppedDown {
        /// The term that it led.
        term: Term,
        /// The reason.
        reason: StepDownReason,
    },
    /// This node asked a less loaded node to campaign.
    Nominated {
        /// The nominated node.
        node: NodeId,
    },
    /// The boot window is over (rule 4).
    BootWindowEnded {
        /// Whether it ended early because all other nodes reported that they do not lead.
        early: bool,
    },
    /// The lost ballot was recovered from the reports of the other nodes.
    BallotRecovered {
        /// This node abstains in all terms up to and including this one. 0 in a new cluster.
        abstains_through: Term,
    },
    /// The ballot could not be written, so this node neither votes nor campaigns.
    BallotSaveFailed,
    /// A message was ignored, because no correct member sends it.
    MessageIgnored {
        /// The sender.
        from: NodeId,
        /// Reason why it was ignored.
        fault: MessageFault,
    },
}

/// Fault of a message that no correct member sends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MessageFault {
    /// Its term is too far above the terms on this node's disk.
    ImpossibleTerm {
        /// The term.
        term: Term,
        /// The highest term that this node accepts now.
        limit: Term,
    },
    /// It names a node that does not exist.
    UnknownNode(NodeId),
}

/// Reason why a leader stepped down.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StepDownReason {
    /// For V, no majority acknowledged a heartbeat.
    LostMajority,
    /// A message contained this higher term.
    HigherTerm(Term),
    /// The process is stopping.
    Stopping,
    /// A less loaded node takes over.
    HandedOver,
}
