//! The state of a run: three nodes with their disks, and what is on its way between them.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use rollcall_core::{MAX_NODES, MemberRole, Term};
use rollcall_election::machine::{Action, Draw, Event, Machine};
use rollcall_election::{Ballot, BootId, Message, NodeId, NodeSet, Process};

use super::bounds::{Bounds, FIRST_BOOT, MOST_TERMS, NODES, NOW, SlowAnswers};
use super::packet::{Packet, What, without_hint};
use super::seen::Sight;

pub(super) const NO_TIME: [u64; MAX_NODES] = [0; MAX_NODES];

/// A living node. Its hash is kept, because one step changes one node and the checker hashes every state.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) machine: Arc<Machine>,
    print: u64,
}

impl Seat {
    pub(super) fn new(machine: &Machine, passed: &[u64; MAX_NODES]) -> Self {
        let machine = machine.rebased(NOW, passed);
        Self { print: print_of(&machine), machine: Arc::new(machine) }
    }

    pub(super) fn term(&self) -> Term {
        self.machine.term()
    }

    pub(super) fn leads(&self) -> bool {
        self.machine.member_role() == MemberRole::Leader
    }
}

impl Hash for Seat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

impl PartialEq for Seat {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

fn print_of(value: &impl Hash) -> u64 {
    // The same in every run, so that traces stay the same.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What a run has used up of its bounds.
#[derive(Clone, Debug, Default, Hash, PartialEq)]
pub(super) struct Spent {
    pub(super) kills: u8,
    pub(super) wipes: u8,
    pub(super) stops: u8,
    pub(super) skips: [u8; NODES as usize],
    pub(super) slow_writes: u8,
    /// Where there is a bound to them.
    pub(super) slow_answers: u8,
    /// How often the planted bug has struck, where it is an event of its own.
    pub(super) bugs: u8,
}

#[derive(Clone, Debug, Hash, PartialEq)]
pub(super) enum Broken {
    /// I1.
    TwoLeadersOfATerm,
    /// I2.
    TwoServe,
    /// I3: a term or a vote was told that was not on disk, or what is on disk went back.
    ToldWhatWasNotSaved,
    /// I4.
    ServingTermWentBack,
}

#[derive(Clone, Debug, Hash, PartialEq)]
pub(super) struct World {
    pub(super) seats: [Option<Seat>; NODES as usize],
    pub(super) disks: [Option<Ballot>; NODES as usize],
    /// Ballots on their way to the disk.
    pub(super) writing: [Vec<Ballot>; NODES as usize],
    /// The number of each node's latest start.
    pub(super) boots: [u8; NODES as usize],
    /// Sorted by hash, so that the order of sending makes no difference.
    pub(super) net: Vec<Packet>,
    pub(super) spent: Spent,
    /// Who won each term.
    pub(super) won: [Option<Process>; MOST_TERMS + 1],
    /// The latest term that was served in.
    pub(super) served: Term,
    pub(super) broken: Option<Broken>,
}

pub(super) fn others(node: u8) -> impl Iterator<Item = u8> {
    (0..NODES).filter(move |other| *other != node)
}

impl World {
    pub(super) fn empty(disk: Option<Ballot>) -> Self {
        Self {
            seats: [None, None, None],
            disks: [disk; NODES as usize],
            writing: Default::default(),
            boots: [0; NODES as usize],
            net: Vec::new(),
            spent: Spent::default(),
            won: [None; MOST_TERMS + 1],
            served: Term(0),
            broken: None,
        }
    }

    pub(super) fn seat(&self, node: u8) -> Option<&Seat> {
        self.seats[usize::from(node)].as_ref()
    }

    pub(super) fn process(&self, node: u8) -> Process {
        Process { node: NodeId(node), boot: BootId(u64::from(self.boots[usize::from(node)])) }
    }

    pub(super) fn is_serving(&self, node: u8) -> bool {
        self.seat(node).is_some_and(|seat| seat.machine.is_serving(NOW))
    }

    /// Lets a node take in an event, and whoever is talked to at once what follows. `reach`: who hears questions.
    pub(super) fn feed(&mut self, bounds: &Bounds, node: u8, event: Event, reach: NodeSet) {
        let mut asked = Vec::new();
        let mut queue = VecDeque::from([(node, event)]);
        while let Some((node, event)) = queue.pop_front() {
            let Some(seat) = &self.seats[usize::from(node)] else { continue };
            let mut machine = Machine::clone(&seat.machine);
            let round = machine.round();
            let actions = machine.handle(event, NOW, Draw(0));
            if machine.round() != round {
                let process = self.process(node);
                self.net.iter_mut().for_each(|packet| packet.round_passed(process));
            }
            self.seats[usize::from(node)] = Some(Seat::new(&machine, &NO_TIME));
            for action in actions {
                match action {
                    Action::Send { to, message } => self.send(bounds, node, to, message, reach, &mut asked, &mut queue),
                    Action::Save(ballot) if self.spent.slow_writes < bounds.slow_writes => {
                        self.spent.slow_writes += 1;
                        self.writing[usize::from(node)].push(ballot);
                    }
                    // One after the other.
                    Action::Save(ballot) if !self.writing[usize::from(node)].is_empty() => {
                        self.writing[usize::from(node)].push(ballot);
                    }
                    Action::Save(ballot) => {
                        self.write(node, ballot);
                        queue.push_back((node, Event::Saved(ballot)));
                    }
                    Action::Note(said) => bounds.seen.read(said),
                    Action::Drain => {}
                }
            }
            self.watch_winner(node);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one step")]
    fn send(
        &mut self,
        bounds: &Bounds,
        from: u8,
        to: NodeId,
        message: Message,
        reach: NodeSet,
        asked: &mut Vec<(u8, NodeId)>,
        queue: &mut VecDeque<(u8, Event)>,
    ) {
        self.check_told(from, to, &message);
        let sender = self.process(from);
        match message {
            Message::PreVote { round: _, term, dead } => {
                let Some(seat) = self.seat(from) else { return };
                // As the machine's own number is after `Machine::rebased`.
                let message = Message::PreVote { round: seat.machine.round(), term, dead };
                // Each asks another once in a step: the link keeps the order, so the answer would be there before the
                // question came back.
                if (reach.contains(to) || reach.contains(sender.node)) && !asked.contains(&(from, to)) {
                    asked.push((from, to));
                    queue.push_back((to.0, Event::Heard { from: sender, message }));
                }
            }
            Message::PreVoteResp(answer) => {
                let message = without_hint(answer);
                if bounds.is_slow_to_answer(self.process(to.0), self.spent.slow_answers) {
                    if matches!(bounds.slow_answers, SlowAnswers::ToReturned(_)) {
                        self.spent.slow_answers += 1;
                    }
                    self.put(from, to, What::Says(message));
                } else {
                    queue.push_back((to.0, Event::Heard { from: sender, message }));
                    queue.extend(self.planted_answers(bounds, sender, to.0, &message).map(|event| (to.0, event)));
                }
            }
            _ => {
                if matches!(message, Message::VoteResp { granted: true, .. }) && sender.boot > FIRST_BOOT {
                    bounds.seen.see(Sight::ReturnedNodeVoted);
                    // As many as were killed: so this one, too.
                    if self.spent.wipes == self.spent.kills {
                        bounds.seen.see(Sight::WipedNodeVoted);
                    }
                }
                self.put(from, to, What::Says(message));
            }
        }
    }

    pub(super) fn put(&mut self, from: u8, to: NodeId, what: What) {
        let packet = Packet { from: self.process(from), to: self.process(to.0), what };
        if self.seat(to.0).is_some() && !self.net.contains(&packet) {
            self.net.retain(|older| !older.is_outdone_by(&packet));
            self.net.push(packet);
        }
    }

    pub(super) fn write(&mut self, node: u8, ballot: Ballot) {
        let disk = &mut self.disks[usize::from(node)];
        if disk.is_some_and(|old| old.term > ballot.term) {
            self.broken = Some(Broken::ToldWhatWasNotSaved);
        }
        *disk = Some(ballot);
    }

    /// I3: whatever a node says of its term and its vote is on disk, so no later start can say less.
    fn check_told(&mut self, from: u8, to: NodeId, message: &Message) {
        let disk = self.disks[usize::from(from)].unwrap_or_default();
        let holds = match message {
            Message::Vote { term, .. } => disk == Ballot { term: *term, voted_for: Some(NodeId(from)) },
            Message::VoteResp { term, granted: true, .. } => disk == Ballot { term: *term, voted_for: Some(to) },
            Message::VoteResp { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::Ack { term, .. }
            | Message::StandNow { term }
            | Message::Resign { term } => *term <= disk.term,
            Message::PreVoteResp(answer) => !answer.ballot.sound || answer.ballot.term <= disk.term,
            Message::PreVote { .. } | Message::Nominate { .. } => true,
        };
        if !holds {
            self.broken = Some(Broken::ToldWhatWasNotSaved);
        }
    }

    /// I1.
    fn watch_winner(&mut self, node: u8) {
        let Some(term) = self.seat(node).filter(|seat| seat.leads()).map(Seat::term) else { return };
        let process = self.process(node);
        let Some(winner) = usize::try_from(term.0).ok().and_then(|term| self.won.get_mut(term)) else { return };
        if *winner.get_or_insert(process) != process {
            self.broken = Some(Broken::TwoLeadersOfATerm);
        }
    }

    /// I2 and I4.
    pub(super) fn watch_leases(&mut self, bounds: &Bounds) {
        let serving: Vec<_> = (0..NODES).filter(|node| self.is_serving(*node)).collect();
        if serving.len() > 1 {
            self.broken = Some(Broken::TwoServe);
        }
        for node in serving {
            let term = self.seat(node).map(Seat::term).unwrap_or_default();
            if term < self.served {
                self.broken = Some(Broken::ServingTermWentBack);
            }
            self.served = self.served.max(term);
            if self.process(node).boot > FIRST_BOOT {
                bounds.seen.see(Sight::ReturnedNodeServed);
            }
            if term > Term(1) && (0..NODES).any(|other| self.process(other).boot > FIRST_BOOT) {
                bounds.seen.see(Sight::SuccessorServedAfterReturn);
            }
        }
    }

    /// Loses what cannot do anything any more, and sorts the rest.
    pub(super) fn tidy(&mut self, bounds: &Bounds) {
        let mut net = std::mem::take(&mut self.net);
        net.retain(|packet| {
            let Some(seat) = self.seat(packet.to.node.0).filter(|_| self.process(packet.to.node.0) == packet.to) else {
                return false;
            };
            (bounds.stale || !packet.is_stale(seat.term(), bounds))
                && !(packet.is_spent_for_good(bounds) && changes_nothing(seat, packet))
        });
        net.sort_by_cached_key(print_of);
        self.net = net;
    }
}

fn changes_nothing(seat: &Seat, packet: &Packet) -> bool {
    let What::Says(message) = packet.what else { return false };
    if seat.machine.has_lost_its_ballot() && matches!(message, Message::PreVoteResp(_)) {
        // It heeds the latest word, and what is the latest may change.
        return false;
    }
    let mut machine = Machine::clone(&seat.machine);
    let actions = machine.handle(Event::Heard { from: packet.from, message }, NOW, Draw(0));
    actions.is_empty() && machine.rebased(NOW, &NO_TIME) == *seat.machine
}
