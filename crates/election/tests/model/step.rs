//! Steps that are possible in a state, and their effects.

use rollcall_core::{MAX_NODES, Term};
use rollcall_election::machine::{Event, Machine};
use rollcall_election::{Ballot, NodeId, NodeSet, RoleState};
use stateright::{Model, Property};

use super::bounds::{Bounds, Bug, NODES, NOW, SlowAnswers, Start, TICK_MS};
use super::milestones::Milestone;
use super::packet::{Content, Packet};
use super::world::{LiveNode, NO_TIME_PASSED, Violation, World, others};

/// One step of a run. `receivers` are the nodes that receive the pre-vote requests of the step.
/// Their responses arrive at once, or later if responses are slow.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A tick passes on every clock, except on that of `except`.
    Tick { except: Option<u8> },
    /// A packet arrives.
    Deliver(Packet),
    /// The timer of a node fires.
    Wake { node: u8, receivers: NodeSet },
    /// The ballot that is being written is on disk.
    Write { node: u8 },
    /// The process dies. `written` tells whether the ballot that is being written reaches the disk.
    Kill { node: u8, written: bool },
    /// A killed node starts again. `wiped` tells whether it has lost its ballot.
    Boot { node: u8, wiped: bool, receivers: NodeSet },
    /// A leader is asked to stop.
    Stop { node: u8 },
    /// The requests in progress at a handover are answered.
    Drained { node: u8 },
    /// A faulty member has sent a message that no member sends. It arrives.
    Absurd(Packet),
    /// The seeded bug happens, if it is a separate event.
    Bug { leader: u8 },
}

impl Bounds {
    fn boot(&self, world: &mut World, node: u8, wiped: bool, receivers: NodeSet) {
        let index = usize::from(node);
        let ballot = world.ballot_at_start(self, node, wiped);
        world.disks[index] = ballot;
        world.boots[index] += 1;
        let machine = Machine::new(self.rules(node), world.process(node).boot, ballot, NOW);
        world.live_nodes[index] = Some(LiveNode::new(&machine, &NO_TIME_PASSED));
        let process = world.process(node);
        for other in others(node).filter(|other| world.live_node(*other).is_some()).collect::<Vec<_>>() {
            world.feed(self, other, Event::LinkDown(process.node), NodeSet::default());
            world.feed(self, other, Event::ProcessConnected(process), NodeSet::default());
            world.feed(self, other, Event::LinkUp(process.node), receivers);
            world.feed(self, node, Event::LinkUp(NodeId(other)), receivers);
        }
        world.started(self, node);
    }

    /// All three nodes have started and reported to each other that they do not lead.
    fn idle(&self) -> World {
        let mut world = World::empty(Some(Ballot::default()));
        // Two bugs change the timings, which a machine has from its creation. They have no effect
        // during the start. All other bugs are off until the run begins.
        let bug = self.bug.filter(|bug| matches!(bug, Bug::LeaseAsLongAsPromise | Bug::DifferentTimings));
        let without_bug = Self { bug, slow_answers: SlowAnswers::Never, slow_writes: 0, ..self.clone() };
        for node in 0..NODES {
            without_bug.boot(&mut world, node, false, all_nodes());
        }
        world
    }

    /// Node 0 wins the first election, and both other nodes acknowledge it.
    fn serving(&self) -> World {
        let mut world = self.idle();
        let without_bug = Self { bug: None, slow_answers: SlowAnswers::Never, slow_writes: 0, ..self.clone() };
        for _ in 0..2 {
            world.feed(&without_bug, 0, Event::TimerFired, all_nodes());
            while let Some(packet) = world.net.pop() {
                without_bug.deliver(&mut world, packet);
            }
        }
        world.check_leases(self);
        assert!(world.is_serving(0) && world.served == Term(1), "{world:#?}");
        world
    }

    fn deliver(&self, world: &mut World, packet: Packet) {
        match packet.content {
            Content::Message(message) => {
                if world.live_node(packet.to.node.0).is_some_and(|live_node| message.term() < live_node.term()) {
                    self.milestones.reach(Milestone::StaleMessageArrived);
                }
                world.deliver_message(self, packet.from, packet.to.node.0, message);
            }
            Content::EndOfStream => world.deliver_end_of_stream(self, packet.from, packet.to.node.0),
        }
    }

    fn tick(&self, world: &mut World, except: Option<u8>) {
        let mut passed = [TICK_MS; MAX_NODES];
        if let Some(node) = except {
            passed[usize::from(node)] = 0;
            world.used.clock_skips[usize::from(node)] += 1;
        }
        for live_node in world.live_nodes.iter_mut().flatten() {
            *live_node = LiveNode::new(&live_node.machine, &passed);
        }
        let net = std::mem::take(&mut world.net);
        for packet in net.into_iter().map(|packet| packet.normalized(&passed, self)) {
            if !world.net.contains(&packet) {
                world.net.push(packet);
            }
        }
    }

    fn kill(&self, world: &mut World, node: u8, written: bool) {
        let index = usize::from(node);
        world.used.kills += 1;
        let writing = std::mem::take(&mut world.writing[index]);
        if let Some(ballot) = writing.first().filter(|_| written) {
            world.write(node, *ballot);
        }
        for other in others(node).filter(|_| self.orderly_ends) {
            world.send_packet(node, NodeId(other), Content::EndOfStream);
        }
        world.live_nodes[index] = None;
    }

    fn steps_of(&self, world: &World, node: u8, live_node: &LiveNode, steps: &mut Vec<Step>) {
        let index = usize::from(node);
        if live_node.machine.next_timer_at() <= NOW {
            let receivers = if live_node.leads() { vec![all_nodes()] } else { possible_receivers(world, node, false) };
            steps.extend(receivers.into_iter().map(|receivers| Step::Wake { node, receivers }));
        }
        if !world.writing[index].is_empty() {
            steps.push(Step::Write { node });
        }
        if world.used.kills < self.kills && self.may_fail(node) {
            steps.push(Step::Kill { node, written: false });
            if !world.writing[index].is_empty() {
                steps.push(Step::Kill { node, written: true });
            }
        }
        if let RoleState::Leader { handing_over, .. } = live_node.machine.role_state() {
            if handing_over {
                steps.push(Step::Drained { node });
            } else if world.used.stops < self.stops {
                steps.push(Step::Stop { node });
            }
            if matches!(self.bug, Some(Bug::HandoverKeepsLease | Bug::ClosesWithoutBye)) && world.used.bugs == 0 {
                steps.push(Step::Bug { leader: node });
            }
        }
    }
}

fn all_nodes() -> NodeSet {
    (0..NODES).fold(NodeSet::default(), |mut set, node| {
        set.insert(NodeId(node));
        set
    })
}

/// Every set of living nodes that may receive `node`'s requests. The empty set is included only
/// with `allow_empty`, or if no other node lives.
fn possible_receivers(world: &World, node: u8, allow_empty: bool) -> Vec<NodeSet> {
    let mut sets = vec![NodeSet::default()];
    for other in others(node).filter(|other| world.live_node(*other).is_some()) {
        for index in 0..sets.len() {
            let mut set = sets[index];
            set.insert(NodeId(other));
            sets.push(set);
        }
    }
    if !allow_empty && sets.len() > 1 {
        sets.remove(0);
    }
    sets
}

impl Model for Bounds {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut world = match self.start {
            Start::Serving => self.serving(),
            Start::Idle => self.idle(),
            Start::Cold => {
                let mut world = World::empty(Some(Ballot::default()));
                for node in 0..NODES {
                    self.boot(&mut world, node, false, NodeSet::default());
                }
                world
            }
        };
        world.normalize_network(self);
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        self.milestones.count_expanded_state();
        if world.violation.is_some() {
            return;
        }
        if self.time_passes {
            steps.push(Step::Tick { except: None });
        }
        steps.extend(world.net.iter().map(|packet| Step::Deliver(*packet)));
        if world.used.absurd_messages < self.absurd_messages {
            steps.extend(world.absurd_packets(self).into_iter().map(Step::Absurd));
        }
        for node in 0..NODES {
            if let Some(live_node) = world.live_node(node) {
                self.steps_of(world, node, live_node, steps);
                if self.time_passes
                    && self.may_fail(node)
                    && world.used.clock_skips[usize::from(node)] < self.clock_skips
                {
                    steps.push(Step::Tick { except: Some(node) });
                }
            } else if self.restarts {
                for receivers in possible_receivers(world, node, true) {
                    steps.push(Step::Boot { node, wiped: false, receivers });
                    if world.used.wipes < self.wipes {
                        steps.push(Step::Boot { node, wiped: true, receivers });
                    }
                }
            }
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Tick { except } => self.tick(&mut world, except),
            Step::Deliver(packet) => {
                world.net.retain(|other| *other != packet);
                self.deliver(&mut world, packet);
            }
            Step::Wake { node, receivers } => {
                world.feed(self, node, Event::TimerFired, receivers);
                // If responses arrive at once or never, a step whose requests have no effect is
                // left out. The node may send them again at any later time.
                let (before, after) = (last.live_node(node)?, world.live_node(node)?);
                let waits = after.machine.role_state() == RoleState::Candidate && after.term() == before.term();
                let slow = self.is_slow_to_answer(world.process(node), last.used.slow_answers);
                if waits && !slow && !after.machine.has_learned_since(&before.machine) {
                    return None;
                }
            }
            Step::Write { node } => {
                let ballot = world.writing[usize::from(node)].remove(0);
                world.write(node, ballot);
                world.feed(self, node, Event::BallotSaved(ballot), NodeSet::default());
            }
            Step::Kill { node, written } => self.kill(&mut world, node, written),
            Step::Boot { node, wiped, receivers } => {
                world.used.wipes += u8::from(wiped);
                self.boot(&mut world, node, wiped, receivers);
            }
            Step::Stop { node } => {
                world.used.stops += 1;
                world.feed(self, node, Event::StopRequested, NodeSet::default());
            }
            Step::Drained { node } => world.feed(self, node, Event::Drained, NodeSet::default()),
            Step::Absurd(packet) => {
                world.used.absurd_messages += 1;
                self.deliver(&mut world, packet);
            }
            Step::Bug { leader } => {
                world.used.bugs += 1;
                world.inject_bug(self.bug?, leader);
            }
        }
        world.check_terms();
        let is_too_high = |live_node: &LiveNode| live_node.term() > Term(self.terms);
        if world.violation.is_none() && world.live_nodes.iter().flatten().any(is_too_high) {
            return None;
        }
        world.check_leases(self);
        world.normalize_network(self);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1: one leader a term", |_, world: &World| {
                world.violation != Some(Violation::TwoLeadersInOneTerm)
            }),
            Property::always("I2: one node serves", |_, world: &World| {
                world.violation != Some(Violation::TwoNodesServe)
            }),
            Property::always("I3: every sent term is on disk and never goes back", |_, world: &World| {
                world.violation != Some(Violation::SentBeforeSaved)
            }),
            Property::always("I4: the serving term only grows", |_, world: &World| {
                world.violation != Some(Violation::ServingTermWentBack)
            }),
            Property::always("I6: no message uses up the terms", |_, world: &World| {
                world.violation != Some(Violation::TermsUsedUp)
            }),
            Property::sometimes("serving in term 1", |_, world: &World| world.served == Term(1)),
            Property::sometimes("serving in term 2", |_, world: &World| world.served == Term(2)),
            Property::sometimes("serving in term 3", |_, world: &World| world.served == Term(3)),
        ]
    }
}
