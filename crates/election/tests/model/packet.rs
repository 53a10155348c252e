//! Packets between two processes.

use rollcall_core::{BootMs, MAX_NODES, MemberRole, Term};
use rollcall_election::{Message, NodeId, PreVoteResp, Process};

use super::bounds::{Bounds, Bug};

/// Packet between two processes. It arrives at any later time, in any order, or never.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Packet {
    pub(super) from: Process,
    /// Process at the other end of the link. If it dies, the packet is lost.
    pub(super) to: Process,
    pub(super) content: Content,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Content {
    Message(Message),
    /// The sender's link ended in order, without a Bye.
    EndOfStream,
}

impl Packet {
    /// The same packet after `passed` milliseconds on each node's clock, see `Machine::normalized`.
    pub(super) fn normalized(mut self, passed: &[u64; MAX_NODES], bounds: &Bounds) -> Self {
        let (from, to) = (self.from.node, self.to.node);
        let moved = |clock: NodeId, time: BootMs| BootMs(time.0.saturating_sub(passed[usize::from(clock.0)]));
        if let Content::Message(message) = &mut self.content {
            match message {
                Message::Vote { asked_at, .. } => *asked_at = moved(from, *asked_at).max(bounds.oldest_asked()),
                Message::VoteResp { asked_at, .. } => *asked_at = moved(to, *asked_at).max(bounds.oldest_asked()),
                Message::Heartbeat { sent_at, .. } => *sent_at = moved(from, *sent_at).max(bounds.oldest_heartbeat()),
                Message::Ack { sent_at, .. } => *sent_at = moved(to, *sent_at).max(bounds.oldest_heartbeat()),
                Message::PreVote { .. }
                | Message::PreVoteResp(_)
                | Message::Nominate { .. }
                | Message::StandNow { .. }
                | Message::Resign { .. } => {}
            }
        }
        self
    }

    /// Whether this packet is lost because of `newer` on the same link: a later heartbeat or
    /// acknowledgement of the same term. The newer packet takes the same promise from the voter and
    /// gives the leader a longer lease. So every violation with the older packet is also possible
    /// with the newer packet.
    pub(super) fn is_superseded_by(&self, newer: &Self) -> bool {
        let (Content::Message(old), Content::Message(new)) = (self.content, newer.content) else { return false };
        let same_kind = match (old, new) {
            (Message::Heartbeat { term: old, .. }, Message::Heartbeat { term: new, .. })
            | (Message::Ack { term: old, .. }, Message::Ack { term: new, .. }) => old == new,
            _ => false,
        };
        same_kind && self.from == newer.from && self.to == newer.to
    }

    /// Marks a response to an earlier pre-vote round with an even number. `Machine::normalized`
    /// gives the latest round an odd number.
    pub(super) fn expire_round(&mut self, requester: Process) {
        if let Content::Message(Message::PreVoteResp(answer)) = &mut self.content
            && self.to == requester
        {
            answer.round -= answer.round % 2;
        }
    }

    /// Whether the packet is outdated for a receiver in `term`: it belongs to a past term, only
    /// reports a term, or no node waits for its effect.
    pub(super) fn is_stale(&self, term: Term, bounds: &Bounds) -> bool {
        if self.never_expires(bounds) {
            return false;
        }
        let Content::Message(message) = self.content else { return false };
        match message {
            Message::VoteResp { granted: false, .. } => true,
            Message::Vote { asked_at, .. } if asked_at == bounds.oldest_asked() => true,
            Message::Heartbeat { sent_at, .. } | Message::Ack { sent_at, .. }
                if sent_at == bounds.oldest_heartbeat() =>
            {
                true
            }
            Message::Ack { term: acked, .. } => acked != term,
            Message::Vote { term: sent_term, .. }
            | Message::VoteResp { term: sent_term, .. }
            | Message::Heartbeat { term: sent_term, .. }
            | Message::StandNow { term: sent_term }
            | Message::Nominate { term: sent_term }
            | Message::Resign { term: sent_term } => sent_term < term,
            Message::PreVote { .. } | Message::PreVoteResp(_) => false,
        }
    }

    /// With a lease that counts from the receipt, an acknowledgement never gets too old.
    fn never_expires(&self, bounds: &Bounds) -> bool {
        bounds.bug == Some(Bug::LeaseFromReceipt) && matches!(self.content, Content::Message(Message::Ack { .. }))
    }

    /// Whether a packet that has no effect at its receiver now will never have one.
    pub(super) fn stays_useless(&self, bounds: &Bounds) -> bool {
        match self.content {
            _ if self.never_expires(bounds) => false,
            Content::Message(Message::VoteResp { .. } | Message::Ack { .. }) => true,
            // A response of a past round is useless for a node that does not ask, has no boot
            // window and has its ballot. A leader's response never ends a boot window.
            Content::Message(Message::PreVoteResp(answer)) => {
                answer.round % 2 == 0 || answer.role == MemberRole::Leader
            }
            _ => false,
        }
    }
}

/// The response without the leader's name. No rule uses the name. It is only for clients.
pub(super) fn without_hint(answer: PreVoteResp) -> Message {
    Message::PreVoteResp(PreVoteResp { leader: None, ..answer })
}
