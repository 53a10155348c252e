//! Simulated cluster that runs the election's state machine on hosts with clocks and disks, and on
//! a network. One seed determines all faults. Times are in microseconds.

mod absurd;
mod checks;
mod clock;
mod disk;
mod faults;
mod host;
mod invariants;
mod links;
mod run;
mod seeded_bugs;
pub(crate) mod storm;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rollcall_core::Timings;
use rollcall_election::machine::{LogEvent, Rules};
use rollcall_election::{Message, NodeId, Peers, Process};

pub(crate) use checks::{Checks, Rule, Violation};
pub(crate) use clock::TRUE_RATE;
pub(crate) use host::Host;
use links::Path;
pub(crate) use links::{Cut, NetworkConditions};
pub(crate) use seeded_bugs::Bug;

pub(crate) const MS: u64 = 1000;
pub(crate) const SECOND: u64 = 1000 * MS;

/// Event at a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SimEvent {
    Message {
        from: Process,
        message: Message,
    },
    /// The disk has finished the oldest write in its queue.
    Written,
    /// The outbound link dials a node. Only the latest attempt counts.
    Dial {
        to: NodeId,
        attempt: u32,
    },
    Linked(Process),
    Unlinked(Process),
    /// Another process has connected to this node and sent its Hello.
    Greeted(Process),
    /// End of the stream of a dead process.
    Ended(Process),
    Drained,
    Timer {
        serial: u32,
    },
    /// A frozen node resumes.
    Thaw {
        until: u64,
    },
}

/// Entry of the event queue. `serial` orders entries of the same time.
#[derive(Clone, Copy, Debug)]
struct Scheduled {
    at: u64,
    serial: u64,
    process: Process,
    event: SimEvent,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// The whole simulation.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: NetworkConditions,
    pub(crate) checks: Checks,
    /// Log events of the nodes, with their times.
    pub(crate) notes: Vec<(u64, NodeId, LogEvent)>,
    /// The seeded bug that must be found.
    pub(crate) bug: Option<Bug>,
    /// Probability that a killed process ends a link in order, in thousandths.
    pub(crate) orderly_ends: u64,
    /// Probability that the requests in progress at a handover are never finished, in thousandths.
    pub(crate) never_drains: u64,
    /// Shortest and longest time that these requests take otherwise.
    pub(crate) drain: (u64, u64),
    /// Number of events so far.
    pub(crate) steps: u64,
    /// Readable trace. `None` if it is not recorded.
    pub(crate) trace: Option<Vec<String>>,
    paths: Vec<Path>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    serial: u64,
    rng: SmallRng,
    /// Messages that the network may deliver again much later.
    kept_messages: Vec<(Process, Process, Message)>,
    /// Kept `StandNow` and `Resign` messages. They are rare, so they have a list of their own.
    term_releases: Vec<(Process, Process, Message)>,
    /// Number of times that a message of `term_releases` was delivered again to a living process.
    pub(crate) repeated_releases: u64,
}

impl World {
    /// A cluster of `nodes` hosts with the default settings. No node runs yet.
    pub(crate) fn new(nodes: usize, seed: u64) -> Self {
        let addrs: Vec<_> = (0..nodes).map(|node| format!("10.0.0.{}:8080", node + 1).parse().unwrap()).collect();
        let hosts = (0..nodes)
            .map(|node| {
                let peers = Peers::new(addrs.clone(), addrs[node]).expect("it is in the list");
                Host::new(rules(peers.me(), nodes), peers)
            })
            .collect();
        Self {
            now: SECOND,
            hosts,
            network: NetworkConditions::default(),
            checks: Checks::default(),
            notes: Vec::new(),
            bug: None,
            orderly_ends: 1000,
            never_drains: 0,
            drain: (MS, 20 * MS),
            steps: 0,
            trace: None,
            paths: vec![Path::default(); nodes * nodes],
            queue: BinaryHeap::new(),
            serial: 0,
            rng: SmallRng::seed_from_u64(seed),
            kept_messages: Vec::new(),
            term_releases: Vec::new(),
            repeated_releases: 0,
        }
    }

    /// A new cluster in which all nodes start at once.
    pub(crate) fn started(nodes: usize, seed: u64) -> Self {
        let mut world = Self::new(nodes, seed);
        world.start_all();
        world
    }

    /// A cluster that has had a leader for longer than any boot window.
    pub(crate) fn settled(nodes: usize, seed: u64) -> Self {
        let mut world = Self::started(nodes, seed);
        world.run_until_served(10 * SECOND);
        // The pause is not a multiple of the heartbeat interval.
        let more = world.between(8 * SECOND, 9 * SECOND);
        world.run(more);
        world
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..=high)
    }

    pub(crate) fn pick(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    /// Returns true with this probability, in thousandths.
    pub(crate) fn chance(&mut self, permille: u64) -> bool {
        self.rng.random_range(0..1000) < permille
    }

    pub(crate) fn id(node: usize) -> NodeId {
        NodeId(u8::try_from(node).expect("at most eight nodes"))
    }

    pub(crate) fn others(&self, node: usize) -> Vec<usize> {
        (0..self.hosts.len()).filter(|other| *other != node).collect()
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10}.{:03} {}", now / MS, now % MS, line()));
        }
    }

    /// Adds an event to the queue.
    pub(crate) fn schedule(&mut self, delay: u64, process: Process, event: SimEvent) {
        self.serial += 1;
        self.queue.push(Reverse(Scheduled { at: self.now + delay, serial: self.serial, process, event }));
    }
}

/// The documented defaults.
fn rules(me: NodeId, nodes: usize) -> Rules {
    Rules {
        me,
        nodes,
        timings: Timings {
            heartbeat_interval_ms: 1000,
            election_timeout_min_ms: 3000,
            election_timeout_max_ms: 5000,
            leader_term_ms: 10_000,
            net_timeout_ms: 2000,
            election_retry_ms: 100,
        },
        trust_end_of_stream: true,
    }
}
