//! How bugs are planted around the machine: it is told what a buggy one would have told itself.

use rollcall_core::{Load, MemberRole, Term};
use rollcall_election::machine::{Event, Machine};
use rollcall_election::{Ballot, BallotReport, Message, NodeId, NodeSet, PreVoteResp, Process};

use super::bounds::{Bounds, Bug, NOW};
use super::packet::What;
use super::world::{NO_TIME, Seat, World, others};

impl World {
    /// The word of `of` that it does not lead, which it never gave.
    fn forged_answer(&self, of: u8, to: u8) -> Event {
        let answer = PreVoteResp {
            asker: self.process(to).boot,
            round: 0,
            granted: false,
            ready: false,
            load: Load::NEUTRAL,
            role: MemberRole::Follower,
            ballot: BallotReport { missing_at_start: false, sound: false, term: Term(0) },
            leader: None,
        };
        Event::Heard { from: self.process(of), message: Message::PreVoteResp(answer) }
    }

    fn end_window(&mut self, bounds: &Bounds, node: u8) {
        for other in others(node) {
            let event = self.forged_answer(other, node);
            self.feed(bounds, node, event, NodeSet::default());
        }
    }

    /// What follows an answer that `message` may be.
    pub(super) fn planted_answers(
        &self,
        bounds: &Bounds,
        from: Process,
        to: u8,
        message: &Message,
    ) -> impl Iterator<Item = Event> + use<> {
        let ends = bounds.bug == Some(Bug::OneEndsWindow)
            && matches!(message, Message::PreVoteResp(answer) if answer.role != MemberRole::Leader);
        let third = others(to).find(|node| *node != from.node.0).filter(|_| ends);
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

    pub(super) fn started(&mut self, bounds: &Bounds, node: u8) {
        if bounds.bug == Some(Bug::NoBootWindow) {
            self.end_window(bounds, node);
        }
    }

    pub(super) fn hear(&mut self, bounds: &Bounds, from: Process, to: u8, mut message: Message) {
        if let (Some(Bug::LeaseFromReceipt), Message::Ack { sent_at, .. }) = (bounds.bug, &mut message) {
            *sent_at = NOW;
        }
        let planted = self.planted_answers(bounds, from, to, &message);
        self.feed(bounds, to, Event::Heard { from, message }, NodeSet::default());
        for event in planted {
            self.feed(bounds, to, event, NodeSet::default());
        }
    }

    /// A node sees the end of a link.
    pub(super) fn see_end(&mut self, bounds: &Bounds, of: Process, node: u8) {
        let leader = self.seat(node).and_then(|seat| seat.machine.leader()).map(|(leader, _)| self.process(leader.0));
        let taken_for = match bounds.bug {
            Some(Bug::EndVoidsAnyPromise) => leader.unwrap_or(of),
            Some(Bug::EndByAddress) => self.process(of.node.0),
            _ => of,
        };
        self.feed(bounds, node, Event::EndOfStream(taken_for), NodeSet::default());
        if bounds.bug == Some(Bug::EndClearsVote) && leader == Some(of) {
            self.clear_vote(bounds, node);
        }
    }

    fn clear_vote(&mut self, bounds: &Bounds, node: u8) {
        let Some(term) = self.seat(node).map(Seat::term) else { return };
        let ballot = Some(Ballot { term, voted_for: None });
        self.disks[usize::from(node)] = ballot;
        let machine = Machine::new(bounds.rules(node), self.process(node).boot, ballot, NOW);
        self.seats[usize::from(node)] = Some(Seat::new(&machine, &NO_TIME));
        self.end_window(bounds, node);
    }

    /// Bugs that are an event of their own.
    pub(super) fn plant(&mut self, bug: Bug, leader: u8) {
        let term = self.seat(leader).map(Seat::term).unwrap_or_default();
        for other in others(leader) {
            match bug {
                Bug::HandoverKeepsLease => self.put(leader, NodeId(other), What::Says(Message::StandNow { term })),
                Bug::ClosesWithoutBye => self.put(leader, NodeId(other), What::Ended),
                _ => {}
            }
        }
    }
}
