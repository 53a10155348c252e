//! Messages that no member sends, from a faulty member.

use rollcall_core::{Load, MemberRole, Term};
use rollcall_election::{BallotReport, Message, NodeId, PreVoteResp, Process};

use super::bounds::{Bounds, Bug, NODES, NOW, UNREACHABLE_TERM};
use super::packet::{Content, Packet};
use super::world::{LiveNode, World, others};

/// A node that does not exist.
const NO_NODE: NodeId = NodeId(200);

impl World {
    /// The absurd messages that can arrive now: each kind, from each living node to each other one.
    pub(super) fn absurd_packets(&self, bounds: &Bounds) -> Vec<Packet> {
        // With the bug, a node accepts each term. A term that every node accepts stands for all.
        let term = if bounds.bug == Some(Bug::NoTermBound) { UNREACHABLE_TERM } else { Term(u64::MAX) };
        let mut packets = Vec::new();
        for to in 0..NODES {
            let Some(live_node) = self.live_node(to) else { continue };
            for from in others(to).filter(|from| self.live_node(*from).is_some()) {
                let (from, to) = (self.process(from), self.process(to));
                let messages = absurd_messages(live_node, to, term);
                packets.extend(messages.map(|message| Packet { from, to, content: Content::Message(message) }));
            }
        }
        packets
    }
}

/// A message of each way in which a node learns a term, and one with a node that does not exist.
fn absurd_messages(live_node: &LiveNode, to: Process, term: Term) -> [Message; 6] {
    let response = |ballot_term, leader| {
        Message::PreVoteResp(PreVoteResp {
            requester: to.boot,
            round: live_node.machine.round(),
            granted: true,
            ready: true,
            load: Load::NEUTRAL,
            role: MemberRole::Follower,
            ballot: BallotReport { missing_at_start: false, sound: true, term: ballot_term },
            leader,
        })
    };
    [
        Message::Heartbeat { term, sent_at: NOW },
        Message::Vote { term, asked_at: NOW, released_term: None, dead_leader: None },
        Message::Ack { term, sent_at: NOW, load: Load::NEUTRAL, ready: true },
        Message::Resign { term },
        response(term, None),
        response(live_node.term(), Some((NO_NODE, live_node.term()))),
    ]
}
