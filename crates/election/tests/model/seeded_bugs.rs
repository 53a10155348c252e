//! Injects the seeded bugs around the machine: the machine gets the events that a buggy machine
//! would cause.

use rollcall_core::{Load, MemberRole, Term};
use rollcall_election::machine::{Event, Machine};
use rollcall_election::{Ballot, BallotReport, Message, NodeId, NodeSet, PreVoteResp, Process};

use super::bounds::{Bounds, Bug, NOW};
use super::packet::Content;
use super::world::{LiveNode, NO_TIME_PASSED, World, others};

impl World {
    /// A forged pre-vote response of the node `of`, which reports that it does not lead.
    fn forged_answer(&self, of: u8, to: u8) -> Event {
        let answer = PreVoteResp {
            requester: self.process(to).boot,
            round: 0,
            granted: false,
            ready: false,
            load: Load::NEUTRAL,
            role: MemberRole::Follower,
            ballot: BallotReport { missing_at_start: false, sound: false, term: Term(0) },
            leader: None,
        };
        Event::MessageReceived { from: self.process(of), message: Message::PreVoteResp(answer) }
    }

    /// Ends the boot window of `node` with forged reports of all other nodes.
    fn end_window(&mut self, bounds: &Bounds, node: u8) {
        for other in others(node) {
            let event = self.forged_answer(other, node);
            self.feed(bounds, node, event, NodeSet::default());
        }
    }

    /// The forged events that follow `message`, if it is a pre-vote response.
    pub(super) fn forged_answers(
        &self,
        bounds: &Bounds,
        from: Process,
        to: u8,
        message: &Message,
    ) -> impl Iterator<Item = Event> + use<> {
        let ends_window = bounds.bug == Some(Bug::OnePeerEndsWindow)
            && matches!(message, Message::PreVoteResp(answer) if answer.role != MemberRole::Leader);
        let third = others(to).find(|node| *node != from.node.0).filter(|_| ends_window);
        third.map(|third| self.forged_answer(third, to)).into_iter()
    }

    /// The ballot that a node finds when it starts.
    pub(super) fn ballot_at_start(&self, bounds: &Bounds, node: u8, wiped: bool) -> Option<Ballot> {
        let disk = self.disks[usize::from(node)].filter(|_| !wiped);
        match bounds.bug {
            Some(Bug::WipedNodeVotes) => disk.or(Some(Ballot::default())),
            Some(Bug::VolatileVote) => disk.map(|ballot| Ballot { voted_for: None, ..ballot }),
            _ => disk,
        }
    }

    /// Applies the bug that happens when a node starts.
    pub(super) fn started(&mut self, bounds: &Bounds, node: u8) {
        if bounds.bug == Some(Bug::NoBootWindow) {
            self.end_window(bounds, node);
        }
    }

    pub(super) fn deliver_message(&mut self, bounds: &Bounds, from: Process, to: u8, mut message: Message) {
        if let (Some(Bug::LeaseFromReceipt), Message::Ack { sent_at, .. }) = (bounds.bug, &mut message) {
            *sent_at = NOW;
        }
        let with_bug = self.forged_answers(bounds, from, to, &message);
        self.feed(bounds, to, Event::MessageReceived { from, message }, NodeSet::default());
        for event in with_bug {
            self.feed(bounds, to, event, NodeSet::default());
        }
    }

    /// Delivers the end of a stream of the process `of` to `node`.
    pub(super) fn deliver_end_of_stream(&mut self, bounds: &Bounds, of: Process, node: u8) {
        let leader = self
            .live_node(node)
            .and_then(|live_node| live_node.machine.leader())
            .map(|(leader, _)| self.process(leader.0));
        let reported = match bounds.bug {
            Some(Bug::EndReleasesAnyPromise) => leader.unwrap_or(of),
            Some(Bug::EndByAddress) => self.process(of.node.0),
            _ => of,
        };
        self.feed(bounds, node, Event::EndOfStream(reported), NodeSet::default());
        if bounds.bug == Some(Bug::EndClearsVote) && leader == Some(of) {
            self.clear_vote(bounds, node);
        }
    }

    fn clear_vote(&mut self, bounds: &Bounds, node: u8) {
        let Some(term) = self.live_node(node).map(LiveNode::term) else { return };
        let ballot = Some(Ballot { term, voted_for: None });
        self.disks[usize::from(node)] = ballot;
        let machine = Machine::new(bounds.rules(node), self.process(node).boot, ballot, NOW);
        self.live_nodes[usize::from(node)] = Some(LiveNode::new(&machine, &NO_TIME_PASSED));
        self.end_window(bounds, node);
    }

    /// Injects a bug that is a separate event.
    pub(super) fn inject_bug(&mut self, bug: Bug, leader: u8) {
        let term = self.live_node(leader).map(LiveNode::term).unwrap_or_default();
        for other in others(leader) {
            match bug {
                Bug::HandoverKeepsLease => {
                    self.send_packet(leader, NodeId(other), Content::Message(Message::StandNow { term }));
                }
                Bug::ClosesWithoutBye => self.send_packet(leader, NodeId(other), Content::EndOfStream),
                _ => {}
            }
        }
    }
}
