//! Rule 5, proof of death: the processes that count as dead.

use crate::process::{BootId, Process};
use rollcall_core::MAX_NODES;

/// The latest dead process of each node. This node or another one saw the orderly end of its link.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct DeadProcesses {
    /// Boot id of the latest dead process, per node.
    pub(super) boots: [Option<BootId>; MAX_NODES],
    /// This node's last leader, if it is dead. Pre-vote and vote requests name it. `None` again
    /// when this node has a leader.
    pub(super) leader: Option<Process>,
    /// Whether the end of a stream still counts as proof of death.
    pub(super) trusts_end_of_stream: bool,
}

impl DeadProcesses {
    pub(super) fn new(trusts_end_of_stream: bool) -> Self {
        Self { boots: [None; MAX_NODES], leader: None, trusts_end_of_stream }
    }

    pub(super) fn contains(&self, process: Process) -> bool {
        self.boots[usize::from(process.node.0)] == Some(process.boot)
    }

    pub(super) fn insert(&mut self, process: Process) {
        self.boots[usize::from(process.node.0)] = Some(process.boot);
    }

    /// The process has connected, so it is alive.
    pub(super) fn remove(&mut self, process: Process) {
        self.boots[usize::from(process.node.0)] = None;
    }

    /// A death was disproved: no end of a stream counts as proof until this node restarts.
    pub(super) fn distrust(&mut self) {
        self.trusts_end_of_stream = false;
        self.leader = None;
    }
}
