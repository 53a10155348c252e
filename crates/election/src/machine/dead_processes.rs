//! Rule 5: the processes that are known to have died.

use crate::process::{BootId, Process};
use rollcall_core::MAX_NODES;

/// The latest process of each node whose death was proved by the end of its link.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct DeadProcesses {
    pub(super) boots: [Option<BootId>; MAX_NODES],
    /// The leader whose death made this node ask, until it hears another leader.
    pub(super) leader: Option<Process>,
    /// Whether ends of streams are still believed.
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

    /// The process lives after all.
    pub(super) fn remove(&mut self, process: Process) {
        self.boots[usize::from(process.node.0)] = None;
    }

    /// A death proved false, so no end of a stream is believed until the restart.
    pub(super) fn distrust(&mut self) {
        self.trusts_end_of_stream = false;
        self.leader = None;
    }
}
