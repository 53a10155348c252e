//! Owner process of each node's address. Pure: the caller dials.
//!
//! Two living processes may claim one address: after a machine was cloned, or in a second network
//! with the same addresses. The process that answers at the configured address owns it. After a
//! restart the address passes to the new process. The connection of the old process may still look
//! alive then, for example after its host was reset or a cable was pulled.

use std::collections::{HashMap, HashSet};

use crate::process::{BootId, NodeId, Process};

/// Table of the owner processes, one per node.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// The process that owns each node's address.
    known: HashMap<NodeId, BootId>,
    /// Nodes whose configured address is being dialled. Only one check runs per node.
    checking: HashSet<NodeId>,
}

/// Next step for a process that claims a node's address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum IdentityCheck {
    /// The process owns the address now. No other process owned it.
    Accepted,
    /// Another process owns the address so far. The caller dials the configured address and passes
    /// the answer to [`Identities::resolve`].
    DialFirst,
    /// Another check of this node is running.
    InProgress,
}

impl Identities {
    /// A connecting process claims a node's address.
    pub(crate) fn claim(&mut self, process: Process) -> IdentityCheck {
        match self.known.get(&process.node) {
            Some(known) if *known != process.boot => {
                if self.checking.insert(process.node) {
                    IdentityCheck::DialFirst
                } else {
                    IdentityCheck::InProgress
                }
            }
            Some(_) => IdentityCheck::Accepted,
            None => {
                self.known.insert(process.node, process.boot);
                IdentityCheck::Accepted
            }
        }
    }

    /// Stores the process that answered at the configured address. Returns whether the newcomer now
    /// owns the address. It does if it answered itself or if no process answered.
    pub(crate) fn resolve(&mut self, newcomer: Process, answered: Option<BootId>) -> bool {
        self.checking.remove(&newcomer.node);
        let holder = answered.unwrap_or(newcomer.boot);
        self.known.insert(newcomer.node, holder);
        holder == newcomer.boot
    }

    /// This process answered at the configured address, so it owns it.
    pub(crate) fn confirm(&mut self, process: Process) {
        self.known.insert(process.node, process.boot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(boot: u64) -> Process {
        Process { node: NodeId(1), boot: BootId(boot) }
    }

    #[test]
    fn the_first_process_is_accepted_and_another_is_checked_once_at_a_time() {
        let mut identities = Identities::default();
        assert_eq!(identities.claim(process(1)), IdentityCheck::Accepted);
        assert_eq!(identities.claim(process(1)), IdentityCheck::Accepted);
        assert_eq!(identities.claim(process(2)), IdentityCheck::DialFirst);
        assert_eq!(identities.claim(process(2)), IdentityCheck::InProgress);
        assert_eq!(identities.claim(process(3)), IdentityCheck::InProgress);
        assert_eq!(identities.claim(process(1)), IdentityCheck::Accepted, "the owner is accepted");
    }

    #[test]
    fn the_address_goes_to_the_process_that_answers_or_else_to_the_newcomer() {
        for (answered, newcomer_has_it) in [(None, true), (Some(2), true), (Some(1), false), (Some(3), false)] {
            let mut identities = Identities::default();
            identities.confirm(process(1));
            assert_eq!(identities.claim(process(2)), IdentityCheck::DialFirst);
            assert_eq!(identities.resolve(process(2), answered.map(BootId)), newcomer_has_it, "{answered:?}");
            let holder = process(answered.unwrap_or(2));
            assert_eq!(identities.claim(holder), IdentityCheck::Accepted);
            // The next claim is checked again.
            assert_eq!(identities.claim(process(9)), IdentityCheck::DialFirst);
        }
    }
}
