//! What may happen next.

use rollcall_core::{MAX_NODES, Term};
use rollcall_election::machine::{Event, Machine};
use rollcall_election::{Ballot, NodeId, NodeSet, Standing};
use stateright::{Model, Property};

use super::bounds::{Bounds, Bug, NODES, NOW, SlowAnswers, Start, TICK_MS};
use super::packet::{Packet, What};
use super::seen::Sight;
use super::world::{Broken, NO_TIME, Seat, World, others};

/// One step of a run. `asks`: who hears the questions that follow from it; their answers come back at once, or when
/// answers are slow, later.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A tick passes on every clock but one.
    Tick {
        but_for: Option<u8>,
    },
    Deliver(Packet),
    Wake {
        node: u8,
        asks: NodeSet,
    },
    /// What was being written is on disk.
    Write {
        node: u8,
    },
    /// `written`: whether what was being written gets there.
    Kill {
        node: u8,
        written: bool,
    },
    Boot {
        node: u8,
        wiped: bool,
        asks: NodeSet,
    },
    Stop {
        node: u8,
    },
    Drained {
        node: u8,
    },
    Bug {
        leader: u8,
    },
}

impl Bounds {
    fn boot(&self, world: &mut World, node: u8, wiped: bool, asks: NodeSet) {
        let place = usize::from(node);
        let ballot = world.ballot_at_start(self, node, wiped);
        world.disks[place] = ballot;
        world.boots[place] += 1;
        let machine = Machine::new(self.rules(node), world.process(node).boot, ballot, NOW);
        world.seats[place] = Some(Seat::new(&machine, &NO_TIME));
        let process = world.process(node);
        for other in others(node).filter(|other| world.seat(*other).is_some()).collect::<Vec<_>>() {
            world.feed(self, other, Event::UnlinkedFrom(process.node), NodeSet::default());
            world.feed(self, other, Event::Greeted(process), NodeSet::default());
            world.feed(self, other, Event::LinkedTo(process.node), asks);
            world.feed(self, node, Event::LinkedTo(NodeId(other)), asks);
        }
        world.started(self, node);
    }

    /// All three have started and told each other that they do not lead.
    fn idle(&self) -> World {
        let mut world = World::empty(Some(Ballot::default()));
        // Different timings are no matter of what happens at the start.
        let bug = self.bug.filter(|bug| matches!(bug, Bug::LeaseAsLongAsPromise | Bug::DifferentTimings));
        let honest = Self { bug, slow_answers: SlowAnswers::Never, slow_writes: 0, ..self.clone() };
        for node in 0..NODES {
            honest.boot(&mut world, node, false, all());
        }
        world
    }

    /// Node 0 wins the first election and is acknowledged by both others, without a hitch.
    fn serving(&self) -> World {
        let mut world = self.idle();
        let honest = Self { bug: None, slow_answers: SlowAnswers::Never, slow_writes: 0, ..self.clone() };
        for _ in 0..2 {
            world.feed(&honest, 0, Event::Woke, all());
            while let Some(packet) = world.net.pop() {
                honest.deliver(&mut world, packet);
            }
        }
        world.watch_leases(self);
        assert!(world.is_serving(0) && world.served == Term(1), "{world:#?}");
        world
    }

    fn deliver(&self, world: &mut World, packet: Packet) {
        match packet.what {
            What::Says(message) => {
                if world.seat(packet.to.node.0).is_some_and(|seat| message.term() < seat.term()) {
                    self.seen.see(Sight::StaleArrived);
                }
                world.hear(self, packet.from, packet.to.node.0, message);
            }
            What::Ended => world.see_end(self, packet.from, packet.to.node.0),
        }
    }

    fn tick(&self, world: &mut World, but_for: Option<u8>) {
        let mut passed = [TICK_MS; MAX_NODES];
        if let Some(node) = but_for {
            passed[usize::from(node)] = 0;
            world.spent.skips[usize::from(node)] += 1;
        }
        for seat in world.seats.iter_mut().flatten() {
            *seat = Seat::new(&seat.machine, &passed);
        }
        let net = std::mem::take(&mut world.net);
        for packet in net.into_iter().map(|packet| packet.rebased(&passed, self)) {
            if !world.net.contains(&packet) {
                world.net.push(packet);
            }
        }
    }

    fn kill(&self, world: &mut World, node: u8, written: bool) {
        let place = usize::from(node);
        world.spent.kills += 1;
        let writing = std::mem::take(&mut world.writing[place]);
        if let Some(ballot) = writing.first().filter(|_| written) {
            world.write(node, *ballot);
        }
        for other in others(node).filter(|_| self.ends) {
            world.put(node, NodeId(other), What::Ended);
        }
        world.seats[place] = None;
    }

    fn steps_of(&self, world: &World, node: u8, seat: &Seat, steps: &mut Vec<Step>) {
        let place = usize::from(node);
        if seat.machine.wake_at() <= NOW {
            let asks = if seat.leads() { vec![all()] } else { reaches(world, node, false) };
            steps.extend(asks.into_iter().map(|asks| Step::Wake { node, asks }));
        }
        if !world.writing[place].is_empty() {
            steps.push(Step::Write { node });
        }
        if world.spent.kills < self.kills && self.afflicts(node) {
            steps.push(Step::Kill { node, written: false });
            if !world.writing[place].is_empty() {
                steps.push(Step::Kill { node, written: true });
            }
        }
        if let Standing::Leader { handing_over, .. } = seat.machine.standing() {
            if handing_over {
                steps.push(Step::Drained { node });
            } else if world.spent.stops < self.stops {
                steps.push(Step::Stop { node });
            }
            if matches!(self.bug, Some(Bug::HandoverKeepsLease | Bug::ClosesWithoutBye)) && world.spent.bugs == 0 {
                steps.push(Step::Bug { leader: node });
            }
        }
    }
}

fn all() -> NodeSet {
    (0..NODES).fold(NodeSet::default(), |mut set, node| {
        set.insert(NodeId(node));
        set
    })
}

/// Every set of living nodes that may hear `node`'s questions; the empty one only where `or_none`, or if nobody lives.
fn reaches(world: &World, node: u8, or_none: bool) -> Vec<NodeSet> {
    let mut sets = vec![NodeSet::default()];
    for other in others(node).filter(|other| world.seat(*other).is_some()) {
        for place in 0..sets.len() {
            let mut set = sets[place];
            set.insert(NodeId(other));
            sets.push(set);
        }
    }
    if !or_none && sets.len() > 1 {
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
        world.tidy(self);
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        self.seen.look_into();
        if world.broken.is_some() {
            return;
        }
        if self.time_passes {
            steps.push(Step::Tick { but_for: None });
        }
        steps.extend(world.net.iter().map(|packet| Step::Deliver(*packet)));
        for node in 0..NODES {
            if let Some(seat) = world.seat(node) {
                self.steps_of(world, node, seat, steps);
                if self.time_passes && self.afflicts(node) && world.spent.skips[usize::from(node)] < self.skips {
                    steps.push(Step::Tick { but_for: Some(node) });
                }
            } else if self.restarts {
                for asks in reaches(world, node, true) {
                    steps.push(Step::Boot { node, wiped: false, asks });
                    if world.spent.wipes < self.wipes {
                        steps.push(Step::Boot { node, wiped: true, asks });
                    }
                }
            }
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Tick { but_for } => self.tick(&mut world, but_for),
            Step::Deliver(packet) => {
                world.net.retain(|other| *other != packet);
                self.deliver(&mut world, packet);
            }
            Step::Wake { node, asks } => {
                world.feed(self, node, Event::Woke, asks);
                // Where answers come at once or never, a question that came to nothing is left out: it may be asked
                // again at any later time.
                let (before, after) = (last.seat(node)?, world.seat(node)?);
                let waits = after.machine.standing() == Standing::Candidate && after.term() == before.term();
                let slow = self.is_slow_to_answer(world.process(node), last.spent.slow_answers);
                if waits && !slow && !after.machine.has_learnt_since(&before.machine) {
                    return None;
                }
            }
            Step::Write { node } => {
                let ballot = world.writing[usize::from(node)].remove(0);
                world.write(node, ballot);
                world.feed(self, node, Event::Saved(ballot), NodeSet::default());
            }
            Step::Kill { node, written } => self.kill(&mut world, node, written),
            Step::Boot { node, wiped, asks } => {
                world.spent.wipes += u8::from(wiped);
                self.boot(&mut world, node, wiped, asks);
            }
            Step::Stop { node } => {
                world.spent.stops += 1;
                world.feed(self, node, Event::Stopping, NodeSet::default());
            }
            Step::Drained { node } => world.feed(self, node, Event::Drained, NodeSet::default()),
            Step::Bug { leader } => {
                world.spent.bugs += 1;
                world.plant(self.bug?, leader);
            }
        }
        if world.seats.iter().flatten().any(|seat| seat.term() > Term(self.terms)) {
            return None;
        }
        world.watch_leases(self);
        world.tidy(self);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1: one leader a term", |_, world: &World| {
                world.broken != Some(Broken::TwoLeadersOfATerm)
            }),
            Property::always("I2: one node serves", |_, world: &World| world.broken != Some(Broken::TwoServe)),
            Property::always("I3: what was told of a term is on disk and never goes back", |_, world: &World| {
                world.broken != Some(Broken::ToldWhatWasNotSaved)
            }),
            Property::always("I4: the serving term only grows", |_, world: &World| {
                world.broken != Some(Broken::ServingTermWentBack)
            }),
            Property::sometimes("serving in term 1", |_, world: &World| world.served == Term(1)),
            Property::sometimes("serving in term 2", |_, world: &World| world.served == Term(2)),
            Property::sometimes("serving in term 3", |_, world: &World| world.served == Term(3)),
        ]
    }
}
