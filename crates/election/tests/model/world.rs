//! State of a run: three nodes with their disks, and the packets between them.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use rollcall_core::{MAX_NODES, MemberRole, Term};
use rollcall_election::machine::{Action, Entropy, Event, Machine};
use rollcall_election::{Ballot, BootId, Message, NodeId, NodeSet, Process};

use super::bounds::{Bounds, FIRST_BOOT, MAX_TERMS, NODES, NOW, SlowAnswers, UNREACHABLE_TERM};
use super::milestones::Milestone;
use super::packet::{Content, Packet, without_hint};

pub(super) const NO_TIME_PASSED: [u64; MAX_NODES] = [0; MAX_NODES];

/// A living node. Its hash is stored for speed: a step changes few nodes, but the checker hashes
/// all nodes of every state.
#[derive(Clone, Debug)]
pub(super) struct LiveNode {
    pub(super) machine: Arc<Machine>,
    hash: u64,
}

impl LiveNode {
    pub(super) fn new(machine: &Machine, passed: &[u64; MAX_NODES]) -> Self {
        let machine = machine.normalized(NOW, passed);
        Self { hash: hash_of(&machine), machine: Arc::new(machine) }
    }

    pub(super) fn term(&self) -> Term {
        self.machine.term()
    }

    pub(super) fn leads(&self) -> bool {
        self.machine.member_role() == MemberRole::Leader
    }
}

impl Hash for LiveNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl PartialEq for LiveNode {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    // The hash is the same in every run, so that traces stay the same.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The part of its bounds that a run has used.
#[derive(Clone, Debug, Default, Hash, PartialEq)]
pub(super) struct UsedBudget {
    pub(super) kills: u8,
    pub(super) wipes: u8,
    pub(super) stops: u8,
    pub(super) clock_skips: [u8; NODES as usize],
    pub(super) slow_writes: u8,
    /// Counted only with `SlowAnswers::ToRestarted`, which limits them.
    pub(super) slow_answers: u8,
    pub(super) absurd_messages: u8,
    /// Number of times that the seeded bug has happened, if it is a separate event.
    pub(super) bugs: u8,
}

#[derive(Clone, Debug, Hash, PartialEq)]
pub(super) enum Violation {
    /// Invariant I1.
    TwoLeadersInOneTerm,
    /// Invariant I2.
    TwoNodesServe,
    /// Invariant I3: a node sent a term or a vote that was not on disk, or the term on disk
    /// decreased.
    SentBeforeSaved,
    /// Invariant I4.
    ServingTermWentBack,
    /// Invariant I6: a message has raised the term so far that the terms can run out.
    TermsUsedUp,
}

#[derive(Clone, Debug, Hash, PartialEq)]
pub(super) struct World {
    pub(super) live_nodes: [Option<LiveNode>; NODES as usize],
    pub(super) disks: [Option<Ballot>; NODES as usize],
    /// Ballots that are being written.
    pub(super) writing: [Vec<Ballot>; NODES as usize],
    /// Number of each node's latest start.
    pub(super) boots: [u8; NODES as usize],
    /// Packets in flight. Sorted by hash, so that the order of sending makes no difference.
    pub(super) net: Vec<Packet>,
    pub(super) used: UsedBudget,
    /// The winner of each term.
    pub(super) won: [Option<Process>; MAX_TERMS + 1],
    /// The latest term in which a node served.
    pub(super) served: Term,
    pub(super) violation: Option<Violation>,
}

pub(super) fn others(node: u8) -> impl Iterator<Item = u8> {
    (0..NODES).filter(move |other| *other != node)
}

impl World {
    pub(super) fn empty(disk: Option<Ballot>) -> Self {
        Self {
            live_nodes: [None, None, None],
            disks: [disk; NODES as usize],
            writing: Default::default(),
            boots: [0; NODES as usize],
            net: Vec::new(),
            used: UsedBudget::default(),
            won: [None; MAX_TERMS + 1],
            served: Term(0),
            violation: None,
        }
    }

    pub(super) fn live_node(&self, node: u8) -> Option<&LiveNode> {
        self.live_nodes[usize::from(node)].as_ref()
    }

    pub(super) fn process(&self, node: u8) -> Process {
        Process { node: NodeId(node), boot: BootId(u64::from(self.boots[usize::from(node)])) }
    }

    pub(super) fn is_serving(&self, node: u8) -> bool {
        self.live_node(node).is_some_and(|live_node| live_node.machine.is_serving(NOW))
    }

    /// Passes an event to a node, and performs everything that takes no time in the model. A
    /// pre-vote request arrives only if its receiver or its sender is in `receivers`.
    pub(super) fn feed(&mut self, bounds: &Bounds, node: u8, event: Event, receivers: NodeSet) {
        let mut asked = Vec::new();
        let mut queue = VecDeque::from([(node, event)]);
        while let Some((node, event)) = queue.pop_front() {
            let Some(live_node) = &self.live_nodes[usize::from(node)] else { continue };
            let mut machine = Machine::clone(&live_node.machine);
            let round = machine.round();
            let actions = machine.handle(event, NOW, Entropy(0));
            if machine.round() != round {
                let process = self.process(node);
                self.net.iter_mut().for_each(|packet| packet.expire_round(process));
            }
            self.live_nodes[usize::from(node)] = Some(LiveNode::new(&machine, &NO_TIME_PASSED));
            for action in actions {
                match action {
                    Action::Send { to, message } => {
                        self.send(bounds, node, to, message, receivers, &mut asked, &mut queue);
                    }
                    Action::SaveBallot(ballot) if self.used.slow_writes < bounds.slow_writes => {
                        self.used.slow_writes += 1;
                        self.writing[usize::from(node)].push(ballot);
                    }
                    // Writes are performed one after the other.
                    Action::SaveBallot(ballot) if !self.writing[usize::from(node)].is_empty() => {
                        self.writing[usize::from(node)].push(ballot);
                    }
                    Action::SaveBallot(ballot) => {
                        self.write(node, ballot);
                        queue.push_back((node, Event::BallotSaved(ballot)));
                    }
                    Action::Log(log_event) => bounds.milestones.record(log_event),
                    Action::Drain => {}
                }
            }
            self.check_one_leader_per_term(node);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one step")]
    fn send(
        &mut self,
        bounds: &Bounds,
        from: u8,
        to: NodeId,
        message: Message,
        receivers: NodeSet,
        asked: &mut Vec<(u8, NodeId)>,
        queue: &mut VecDeque<(u8, Event)>,
    ) {
        self.check_durability(from, to, &message);
        let sender = self.process(from);
        match message {
            Message::PreVote { round: _, term, dead_leader } => {
                let Some(live_node) = self.live_node(from) else { return };
                // Use the round number that the machine has after `Machine::normalized`.
                let message = Message::PreVote { round: live_node.machine.round(), term, dead_leader };
                // In one step a node asks another node only once. The link keeps the order, so the
                // response would arrive before a second request.
                if (receivers.contains(to) || receivers.contains(sender.node)) && !asked.contains(&(from, to)) {
                    asked.push((from, to));
                    queue.push_back((to.0, Event::MessageReceived { from: sender, message }));
                }
            }
            Message::PreVoteResp(answer) => {
                let message = without_hint(answer);
                if bounds.is_slow_to_answer(self.process(to.0), self.used.slow_answers) {
                    if matches!(bounds.slow_answers, SlowAnswers::ToRestarted(_)) {
                        self.used.slow_answers += 1;
                    }
                    self.send_packet(from, to, Content::Message(message));
                } else {
                    queue.push_back((to.0, Event::MessageReceived { from: sender, message }));
                    queue.extend(self.forged_answers(bounds, sender, to.0, &message).map(|event| (to.0, event)));
                }
            }
            _ => {
                if matches!(message, Message::VoteResp { granted: true, .. }) && sender.boot > FIRST_BOOT {
                    bounds.milestones.reach(Milestone::RestartedNodeVoted);
                    // All killed nodes lost their ballots, so this one did too.
                    if self.used.wipes == self.used.kills {
                        bounds.milestones.reach(Milestone::WipedNodeVoted);
                    }
                }
                self.send_packet(from, to, Content::Message(message));
            }
        }
    }

    pub(super) fn send_packet(&mut self, from: u8, to: NodeId, content: Content) {
        let packet = Packet { from: self.process(from), to: self.process(to.0), content };
        if self.live_node(to.0).is_some() && !self.net.contains(&packet) {
            self.net.retain(|older| !older.is_superseded_by(&packet));
            self.net.push(packet);
        }
    }

    pub(super) fn write(&mut self, node: u8, ballot: Ballot) {
        let disk = &mut self.disks[usize::from(node)];
        if disk.is_some_and(|old| old.term > ballot.term) {
            self.violation = Some(Violation::SentBeforeSaved);
        }
        *disk = Some(ballot);
    }

    /// I3: every term and vote that a node sends is on disk, so no later process can forget it.
    fn check_durability(&mut self, from: u8, to: NodeId, message: &Message) {
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
            self.violation = Some(Violation::SentBeforeSaved);
        }
    }

    /// Invariant I1.
    fn check_one_leader_per_term(&mut self, node: u8) {
        let Some(term) = self.live_node(node).filter(|live_node| live_node.leads()).map(LiveNode::term) else { return };
        let process = self.process(node);
        let Some(winner) = usize::try_from(term.0).ok().and_then(|term| self.won.get_mut(term)) else { return };
        if *winner.get_or_insert(process) != process {
            self.violation = Some(Violation::TwoLeadersInOneTerm);
        }
    }

    /// Whether a node has a term that no run reaches.
    pub(super) fn check_terms(&mut self) {
        if self.live_nodes.iter().flatten().any(|live_node| live_node.term() >= UNREACHABLE_TERM) {
            self.violation = Some(Violation::TermsUsedUp);
        }
    }

    /// Invariants I2 and I4.
    pub(super) fn check_leases(&mut self, bounds: &Bounds) {
        let serving: Vec<_> = (0..NODES).filter(|node| self.is_serving(*node)).collect();
        if serving.len() > 1 {
            self.violation = Some(Violation::TwoNodesServe);
        }
        for node in serving {
            let term = self.live_node(node).map(LiveNode::term).unwrap_or_default();
            if term < self.served {
                self.violation = Some(Violation::ServingTermWentBack);
            }
            self.served = self.served.max(term);
            if self.process(node).boot > FIRST_BOOT {
                bounds.milestones.reach(Milestone::RestartedNodeServed);
            }
            if term > Term(1) && (0..NODES).any(|other| self.process(other).boot > FIRST_BOOT) {
                bounds.milestones.reach(Milestone::SuccessorServedAfterRestart);
            }
        }
    }

    /// Removes packets that can have no effect any more, and sorts the rest.
    pub(super) fn normalize_network(&mut self, bounds: &Bounds) {
        let mut net = std::mem::take(&mut self.net);
        net.retain(|packet| {
            let Some(live_node) =
                self.live_node(packet.to.node.0).filter(|_| self.process(packet.to.node.0) == packet.to)
            else {
                return false;
            };
            (bounds.stale_messages || !packet.is_stale(live_node.term(), bounds))
                && !(packet.stays_useless(bounds) && changes_nothing(live_node, packet))
        });
        net.sort_by_cached_key(hash_of);
        self.net = net;
    }
}

fn changes_nothing(live_node: &LiveNode, packet: &Packet) -> bool {
    let Content::Message(message) = packet.content else { return false };
    if live_node.machine.has_lost_its_ballot() && matches!(message, Message::PreVoteResp(_)) {
        // The node keeps only the latest report of each sender. A report that has no effect now may
        // have one after another report of the same sender.
        return false;
    }
    let mut machine = Machine::clone(&live_node.machine);
    let actions = machine.handle(Event::MessageReceived { from: packet.from, message }, NOW, Entropy(0));
    actions.is_empty() && machine.normalized(NOW, &NO_TIME_PASSED) == *live_node.machine
}
