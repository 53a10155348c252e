//! Which process a node's name stands for. Pure: whoever asks does the dialling.
//!
//! Two living processes may claim one name: a cloned machine, a second network with the same addresses. The one that
//! answers at the configured address has it. A name also passes from a process to its successor when the node restarts,
//! and the old one's connection may still look alive then: its host was reset, or a cable was pulled.

use std::collections::{HashMap, HashSet};

use crate::process::{BootId, NodeId, Process};

/// One process a name.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    known: HashMap<NodeId, BootId>,
    /// Names whose address is being dialled to see who answers; one look at a time.
    checking: HashSet<NodeId>,
}

/// What is to be done with a process that greets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum IdentityCheck {
    /// The name is its own, or nobody's so far.
    Accepted,
    /// Another process had the name: dial the configured address and say who answered, by [`Identities::checked`].
    DialFirst,
    /// That is being done already.
    InProgress,
}

impl Identities {
    /// A process greets and claims a name.
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

    /// What answered at the address of the newcomer's name. Returns whether the newcomer has the name from now on: not
    /// if another process answered, whether or not it is the one that had it before.
    pub(crate) fn resolve(&mut self, newcomer: Process, answered: Option<BootId>) -> bool {
        self.checking.remove(&newcomer.node);
        let holder = answered.unwrap_or(newcomer.boot);
        self.known.insert(newcomer.node, holder);
        holder == newcomer.boot
    }

    /// This process answers at the configured address, so the name is its own.
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
    fn the_first_is_let_in_and_another_is_checked_once_at_a_time() {
        let mut identities = Identities::default();
        assert_eq!(identities.claim(process(1)), IdentityCheck::Accepted);
        assert_eq!(identities.claim(process(1)), IdentityCheck::Accepted);
        assert_eq!(identities.claim(process(2)), IdentityCheck::DialFirst);
        assert_eq!(identities.claim(process(2)), IdentityCheck::InProgress);
        assert_eq!(identities.claim(process(3)), IdentityCheck::InProgress);
        assert_eq!(identities.claim(process(1)), IdentityCheck::Accepted, "the one that has the name is not disturbed");
    }

    #[test]
    fn the_name_goes_to_the_one_that_answers_and_by_default_to_the_newcomer() {
        for (answered, newcomer_has_it) in [(None, true), (Some(2), true), (Some(1), false), (Some(3), false)] {
            let mut identities = Identities::default();
            identities.confirm(process(1));
            assert_eq!(identities.claim(process(2)), IdentityCheck::DialFirst);
            assert_eq!(identities.resolve(process(2), answered.map(BootId)), newcomer_has_it, "{answered:?}");
            let holder = process(answered.unwrap_or(2));
            assert_eq!(identities.claim(holder), IdentityCheck::Accepted);
            // And the next one is checked anew.
            assert_eq!(identities.claim(process(9)), IdentityCheck::DialFirst);
        }
    }
}
