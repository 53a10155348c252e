//! Context of one event: the time, a random number, and the actions so far.

use super::event::{Action, LogEvent};
use super::rules::{Entropy, Rules};
use crate::process::{Ballot, NodeId, all_ids};
use crate::wire::message::Message;
use rollcall_core::BootMs;

/// Input and output of the rules besides the node's state. The driver performs the actions in the
/// order in which the rules added them.
#[derive(Debug)]
pub(super) struct EventContext {
    pub(super) now: BootMs,
    pub(super) entropy: Entropy,
    actions: Vec<Action>,
}

impl EventContext {
    pub(super) fn new(now: BootMs, entropy: Entropy) -> Self {
        Self { now, entropy, actions: Vec::new() }
    }

    pub(super) fn into_actions(self) -> Vec<Action> {
        self.actions
    }

    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.actions.push(Action::Send { to, message });
    }

    pub(super) fn broadcast(&mut self, rules: &Rules, message: Message) {
        let others = all_ids(rules.nodes).filter(|node| *node != rules.me);
        self.actions.extend(others.map(|to| Action::Send { to, message }));
    }

    pub(super) fn save(&mut self, ballot: Ballot) {
        self.actions.push(Action::SaveBallot(ballot));
    }

    pub(super) fn drain(&mut self) {
        self.actions.push(Action::Drain);
    }

    pub(super) fn log(&mut self, event: LogEvent) {
        self.actions.push(Action::Log(event));
    }
}
