//! A small simulated cluster that runs the real machine. One seed determines all random delays and
//! faults.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// One simulated node: a machine while its process lives, and a disk that survives it.
pub(super) struct Node {
    pub(super) machine: Option<Machine>,
    pub(super) boots: u64,
    pub(super) disk: Option<Ballot>,
    /// Milliseconds of this node's clock per 1000 ms of the simulation.
    pub(super) rate: u64,
    pub(super) paused_until: u64,
    pub(super) disk_busy_until: u64,
    /// The highest term that this node has sent.
    pub(super) highest_term: Term,
}

#[derive(Clone, Debug)]
pub(super) enum Arrival {
    Message { from: Process, to: Process, message: Message },
    Written { at: Process, ballot: Ballot },
    Linked { at: Process, to: NodeId },
    Unlinked { at: Process, from: NodeId },
    Ended { at: Process, process: Process },
    Drained { at: Process },
    TimerFired { at: Process },
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) queue: BTreeMap<(u64, u64), Arrival>,
    pub(super) serial: u64,
    pub(super) rng: SmallRng,
    /// Probability that a message is lost, in thousandths.
    pub(super) loss: u32,
    /// Probability that a killed process ends a link in order, in thousandths.
    pub(super) orderly_ends: u32,
    /// Whether a disk write may take seconds.
    pub(super) stalls: bool,
    /// Pairs of a sender and a receiver whose messages are lost.
    pub(super) cut: Vec<(u8, u8)>,
    pub(super) leaders: BTreeMap<Term, NodeId>,
    pub(super) serving_term: Term,
    pub(super) sent: Vec<(Process, Message)>,
}

impl World {
    pub(super) fn new(nodes: usize, seed: u64) -> Self {
        let mut world = Self {
            now: 1000,
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            serial: 0,
            rng: SmallRng::seed_from_u64(seed),
            loss: 0,
            orderly_ends: 0,
            stalls: false,
            cut: Vec::new(),
            leaders: BTreeMap::new(),
            serving_term: Term(0),
            sent: Vec::new(),
        };
        for _ in 0..nodes {
            world.nodes.push(Node {
                machine: None,
                boots: 0,
                // A new node has written a blank ballot before its machine starts.
                disk: Some(Ballot::default()),
                rate: 1000,
                paused_until: 0,
                disk_busy_until: 0,
                highest_term: Term(0),
            });
        }
        world
    }

    pub(super) fn started(nodes: usize, seed: u64) -> Self {
        let mut world = Self::new(nodes, seed);
        for node in 0..nodes {
            world.start(node);
        }
        world
    }

    pub(super) fn process(&self, node: usize) -> Process {
        Process { node: NodeId(u8::try_from(node).unwrap()), boot: BootId(self.nodes[node].boots) }
    }

    pub(super) fn clock(&self, node: usize) -> BootMs {
        BootMs(self.now * self.nodes[node].rate / 1000)
    }

    pub(super) fn at(&mut self, delay: u64, arrival: Arrival) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), arrival);
    }

    pub(super) fn start(&mut self, node: usize) {
        assert!(self.nodes[node].machine.is_none());
        self.nodes[node].boots += 1;
        let rules = defaults(u8::try_from(node).unwrap(), self.nodes.len());
        let process = self.process(node);
        let (disk, clock) = (self.nodes[node].disk, self.clock(node));
        self.nodes[node].machine = Some(Machine::new(rules, process.boot, disk, clock));
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let delay = self.rng.random_range(1..20);
            self.at(delay, Arrival::Linked { at: process, to: self.process(other).node });
            if self.nodes[other].machine.is_some() {
                let delay = self.rng.random_range(1..20);
                self.at(delay, Arrival::Linked { at: self.process(other), to: process.node });
            }
        }
        self.at(0, Arrival::TimerFired { at: process });
    }

    /// Kills the process. A write in progress may still reach the disk until the next start.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].machine = None;
        let node_id = self.process(node).node;
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if self.nodes[other].machine.is_some() {
                let delay = self.rng.random_range(1..3);
                self.at(delay, Arrival::Unlinked { at: self.process(other), from: node_id });
                if self.rng.random_range(0..1000) < self.orderly_ends {
                    // Messages that the process sent earlier on the same link arrive first.
                    let process = self.process(node);
                    self.at(delay + 4, Arrival::Ended { at: self.process(other), process });
                }
            }
        }
    }

    pub(super) fn feed(&mut self, node: usize, event: Event) {
        let clock = self.clock(node);
        let entropy = Entropy(self.rng.random_range(0..1000));
        let process = self.process(node);
        let Some(machine) = &mut self.nodes[node].machine else { return };
        let actions = machine.handle(event, clock, entropy);
        let (next_timer_at, term, state) = (machine.next_timer_at(), machine.term(), machine.role_state());
        assert!(term >= self.nodes[node].highest_term, "I3: a node's term went back");
        if matches!(state, RoleState::Leader { .. }) {
            let leader = *self.leaders.entry(term).or_insert(process.node);
            assert_eq!(leader, process.node, "I1: two leaders of term {term}");
        }
        for action in actions {
            match action {
                Action::Send { to, message } => self.send(process, to, message),
                Action::SaveBallot(ballot) => {
                    // A disk writes in order. Sometimes a write stalls.
                    let stall = if self.stalls && self.rng.random_range(0..50) == 0 { 5000 } else { 0 };
                    let done = self.nodes[node].disk_busy_until.max(self.now) + self.rng.random_range(1..30) + stall;
                    self.nodes[node].disk_busy_until = done;
                    self.at(done - self.now, Arrival::Written { at: process, ballot });
                }
                Action::Drain => {
                    let delay = self.rng.random_range(1..250);
                    self.at(delay, Arrival::Drained { at: process });
                }
                Action::Log(_) => {}
            }
        }
        if next_timer_at < BootMs::NEVER {
            let wait = next_timer_at.since(clock) * 1000 / self.nodes[node].rate + 1;
            self.at(wait, Arrival::TimerFired { at: process });
        }
        self.check();
    }

    pub(super) fn send(&mut self, from: Process, to: NodeId, message: Message) {
        if let Message::Vote { term, .. } | Message::VoteResp { term, .. } | Message::Ack { term, .. } = message {
            let highest = &mut self.nodes[usize::from(from.node.0)].highest_term;
            *highest = (*highest).max(term);
        }
        self.sent.push((from, message));
        let lost = self.rng.random_range(0..1000) < self.loss || self.cut.contains(&(from.node.0, to.0));
        if !lost && self.nodes[usize::from(to.0)].machine.is_some() {
            let delay = self.rng.random_range(1..4) + if self.rng.random_range(0..50) == 0 { 40 } else { 0 };
            self.at(delay, Arrival::Message { from, to: self.process(usize::from(to.0)), message });
        }
    }

    pub(super) fn serving(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| {
                self.nodes[*node].machine.as_ref().is_some_and(|machine| machine.is_serving(self.clock(*node)))
            })
            .collect()
    }

    /// Checks I2 and I4. Paused nodes count too: when they resume, they answer from their current
    /// state.
    pub(super) fn check(&mut self) {
        let serving = self.serving();
        assert!(serving.len() <= 1, "I2: {serving:?} serve at once at {}", self.now);
        if let Some(node) = serving.first() {
            let term = self.nodes[*node].machine.as_ref().unwrap().term();
            assert!(term >= self.serving_term, "I4: the serving term went back");
            self.serving_term = term;
        }
    }

    /// Runs the simulation for `ms` milliseconds.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some((key, arrival)) = self.queue.pop_first() {
            if key.0 > end {
                self.queue.insert(key, arrival);
                break;
            }
            self.now = self.now.max(key.0);
            let at = match &arrival {
                Arrival::Message { to, .. } => *to,
                Arrival::Written { at, .. }
                | Arrival::Linked { at, .. }
                | Arrival::Unlinked { at, .. }
                | Arrival::Ended { at, .. }
                | Arrival::Drained { at }
                | Arrival::TimerFired { at } => *at,
            };
            let node = usize::from(at.node.0);
            if let Arrival::Written { ballot, .. } = &arrival {
                // A write that was passed to the disk may complete after its process has ended, but
                // not after the next process has read the file.
                if at == self.process(node) {
                    self.nodes[node].disk = Some(*ballot);
                }
            }
            if at != self.process(node) || self.nodes[node].machine.is_none() {
                continue;
            }
            if self.nodes[node].paused_until > self.now {
                let delay = self.nodes[node].paused_until - self.now;
                self.at(delay, arrival);
                continue;
            }
            let event = match arrival {
                Arrival::Message { from, message, .. } => Event::MessageReceived { from, message },
                Arrival::Written { ballot, .. } => Event::BallotSaved(ballot),
                Arrival::Linked { to, .. } => Event::LinkUp(to),
                Arrival::Unlinked { from, .. } => Event::LinkDown(from),
                Arrival::Ended { process, .. } => Event::EndOfStream(process),
                Arrival::Drained { .. } => Event::Drained,
                Arrival::TimerFired { .. } => Event::TimerFired,
            };
            self.feed(node, event);
        }
        self.now = end;
        self.check();
    }

    /// Runs until a node serves. Returns how long that took.
    pub(super) fn run_until_served(&mut self, limit_ms: u64) -> u64 {
        let start = self.now;
        while self.serving().is_empty() {
            assert!(self.now - start < limit_ms, "no node serves after {limit_ms} ms");
            self.run(5);
        }
        self.now - start
    }

    /// Runs until a stopping leader has a successor, or has sent Resign to all nodes.
    pub(super) fn run_until_over(&mut self, node: usize) {
        while self.nodes[node].machine.as_ref().is_some_and(Machine::awaits_successor) {
            self.run(1);
        }
    }

    pub(super) fn leader(&self) -> usize {
        self.serving()[0]
    }

    pub(super) fn isolate(&mut self, node: u8) {
        for other in 0..u8::try_from(self.nodes.len()).unwrap() {
            self.cut.push((node, other));
            self.cut.push((other, node));
        }
    }

    pub(super) fn set_load(&mut self, node: usize, permille: u16) {
        self.feed(node, Event::LoadSampled(Load::from_permille(permille)));
    }
}
