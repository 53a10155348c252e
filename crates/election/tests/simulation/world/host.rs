//! Host of one node: its disk, its clock, and its process if one runs.

use rollcall_core::{BootMs, Load, MAX_NODES, Term};
use rollcall_election::machine::{Machine, Rules};
use rollcall_election::{BootId, NodeId, Peers, Process};

use super::clock::Clock;
use super::disk::Disk;
use super::{SimEvent, World};

/// State that survives a process.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) node: NodeId,
    pub(crate) rules: Rules,
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    pub(crate) load: Load,
    pub(crate) running: Option<Running>,
    /// Number of processes started on this host.
    pub(crate) boots: u64,
    /// Until when the host is frozen. Earlier events wait until then.
    pub(crate) frozen_until: u64,
    pub(crate) waiting: Vec<SimEvent>,
    /// The highest term that this node has sent. Reset when the disk is damaged.
    pub(crate) highest_sent_term: Term,
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) machine: Machine,
    /// The boot id of the process at the other end of each link that this process dialled.
    pub(crate) linked: [Option<BootId>; MAX_NODES],
    /// Number of the latest attempt to dial each node.
    pub(crate) attempts: [u32; MAX_NODES],
    /// Until when the process serves if no event changes that, in the time of the simulation.
    pub(crate) serves_until: u64,
    /// A lease that it gave up, for a seeded bug.
    pub(crate) kept_lease: u64,
    /// The next timer and its number.
    pub(crate) next_timer: (BootMs, u32),
    /// Start of the present measuring period, and the number of timers in it.
    pub(crate) timer_rate: (u64, u32),
    /// Start of the present measuring period, and the number of messages in it.
    pub(crate) message_rate: (u64, u32),
    pub(crate) stopping: bool,
}

impl Host {
    pub(crate) fn new(rules: Rules, peers: Peers) -> Self {
        Self {
            node: rules.me,
            rules,
            disk: Disk::new(peers),
            clock: Clock::new(0, 100_000_000),
            load: Load::from_permille(200),
            running: None,
            boots: 0,
            frozen_until: 0,
            waiting: Vec::new(),
            highest_sent_term: Term(0),
        }
    }

    pub(crate) fn process(&self) -> Option<Process> {
        self.running.as_ref().map(|running| running.process)
    }

    pub(crate) fn is(&self, process: Process) -> bool {
        self.process() == Some(process)
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.running.as_ref().expect("the node runs").machine
    }
}

impl World {
    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.hosts[node].running.is_some()
    }

    pub(crate) fn is_frozen(&self, node: usize) -> bool {
        self.hosts[node].frozen_until > self.now
    }

    /// The serving node. Frozen nodes count too: when they resume, they answer from their current
    /// state.
    pub(crate) fn serving(&self) -> Option<usize> {
        (0..self.hosts.len()).find(|node| self.serves(*node))
    }

    pub(crate) fn serves(&self, node: usize) -> bool {
        self.hosts[node].running.as_ref().is_some_and(|running| running.serves_until > self.now)
    }

    /// The serving node. There must be one.
    pub(crate) fn leader(&self) -> usize {
        self.serving().expect("a node serves")
    }

    /// Asserts that no rule has been violated so far.
    pub(crate) fn assert_no_violation(&self) {
        assert_eq!(self.checks.violation, None);
    }

    pub(crate) fn set_load(&mut self, node: usize, permille: u16) {
        self.hosts[node].load = Load::from_permille(permille);
        self.sample_load(node);
    }
}
