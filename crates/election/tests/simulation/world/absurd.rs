//! Messages that no member sends, from a faulty member.

use rollcall_core::{BootMs, Load, MemberRole, Term};
use rollcall_election::{BallotReport, BootId, Message, NodeId, PreVoteResp, Process};

use super::{Bug, SimEvent, World};

/// A node that does not exist.
const NO_NODE: NodeId = NodeId(200);

/// A term that no storm reaches, and that the nodes would accept. It is the term of an absurd
/// message for a node without the bound on terms.
pub(super) const UNREACHABLE_TERM: Term = Term(1 << 31);

/// Terms of absurd messages. The nodes are never far above term 0.
const ABSURD_TERMS: [u64; 4] = [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 33];

impl World {
    /// `from` sends a few absurd messages to `to`, as a faulty member could.
    pub(super) fn send_absurd_messages(&mut self, from: usize, to: usize) {
        let (Some(sender), Some(receiver)) = (self.hosts[from].process(), self.hosts[to].process()) else { return };
        for _ in 0..3 {
            let message = self.absurd_message(to, receiver);
            self.trace(|| format!("{from} -> {to}: {message:?}, which is absurd"));
            self.transmit(from, receiver, SimEvent::Message { from: sender, message });
        }
    }

    fn absurd_message(&mut self, to: usize, receiver: Process) -> Message {
        // With the bug, a node accepts each term. A term that every node accepts stands for all.
        let term = Term(ABSURD_TERMS[self.pick(ABSURD_TERMS.len())]);
        let term = if self.has(Bug::NoTermBound) { UNREACHABLE_TERM } else { term };
        let now = self.hosts[to].clock.read(self.now);
        let machine = self.hosts[to].machine();
        let (known, round) = (machine.term(), machine.round());
        let no_process = Some(Process { node: NO_NODE, boot: BootId(1) });
        let response = |ballot_term, leader| {
            Message::PreVoteResp(PreVoteResp {
                requester: receiver.boot,
                round,
                granted: true,
                ready: true,
                load: Load::from_permille(0),
                role: MemberRole::Follower,
                ballot: BallotReport { missing_at_start: false, sound: true, term: ballot_term },
                leader,
            })
        };
        let vote = |term, dead_leader| Message::Vote { term, asked_at: BootMs(1), released_term: None, dead_leader };
        match self.pick(12) {
            0 => Message::PreVote { round, term, dead_leader: None },
            1 => response(term, None),
            2 => response(known, Some((NodeId(0), term))),
            3 => Message::Nominate { term },
            4 => vote(term, None),
            5 => Message::VoteResp { term, asked_at: now, granted: true },
            6 => Message::Heartbeat { term, sent_at: now },
            7 => Message::Ack { term, sent_at: now, load: Load::from_permille(0), ready: true },
            8 => Message::Resign { term },
            9 => Message::PreVote { round, term: known, dead_leader: no_process },
            10 => vote(known.next(), no_process),
            _ => response(known, Some((NO_NODE, known))),
        }
    }
}
