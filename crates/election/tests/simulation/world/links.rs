//! Network: one-way paths between hosts, and the links that processes dial over them.

use rand::RngExt;
use rollcall_election::{Message, NodeId, Process};

use super::{Bug, MS, SimEvent, World};

/// Condition of the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkConditions {
    /// Shortest and longest delay of a message, in microseconds.
    pub(crate) delay: (u64, u64),
    /// Probability of a long extra delay, in thousandths, and the maximum of that delay, in
    /// microseconds.
    pub(crate) late: (u64, u64),
    /// Probability of a loss, in thousandths.
    pub(crate) loss: u64,
    /// Probability of a duplicate, in thousandths.
    pub(crate) twice: u64,
    /// Probability that an old message is delivered again together with a new one, in thousandths.
    pub(crate) repeat: u64,
    /// Whether messages keep their order, as on a link that never breaks.
    pub(crate) in_order: bool,
}

impl Default for NetworkConditions {
    fn default() -> Self {
        Self { delay: (100, 1500), late: (10, 30 * MS), loss: 0, twice: 0, repeat: 0, in_order: true }
    }
}

/// One-way path between two hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    pub(crate) cut: Option<Cut>,
    held: Vec<(Process, SimEvent)>,
    last_arrival: u64,
}

/// Effect of a cut path on its messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// Messages are lost.
    Loses,
    /// Messages are retransmitted until the path is repaired, as in TCP.
    Holds,
}

/// Number of old messages that are kept for repetition.
const MAX_KEPT_MESSAGES: usize = 64;

impl World {
    pub(super) fn path(&mut self, from: usize, to: usize) -> &mut Path {
        let nodes = self.hosts.len();
        &mut self.paths[from * nodes + to]
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize, cut: Cut) {
        self.path(from, to).cut = Some(cut);
    }

    pub(crate) fn cut_both(&mut self, a: usize, b: usize, cut: Cut) {
        self.cut(a, b, cut);
        self.cut(b, a, cut);
    }

    pub(crate) fn isolate(&mut self, node: usize, cut: Cut) {
        for other in self.others(node) {
            self.cut_both(node, other, cut);
        }
    }

    /// Repairs a path. Held messages arrive in their order.
    pub(crate) fn heal(&mut self, from: usize, to: usize) {
        let path = self.path(from, to);
        path.cut = None;
        let held = std::mem::take(&mut path.held);
        // TCP does not retransmit at once.
        let mut delay = self.between(MS, 500 * MS);
        for (process, event) in held {
            delay += 1;
            self.schedule(delay, process, event);
        }
    }

    pub(crate) fn heal_all(&mut self) {
        for from in 0..self.hosts.len() {
            for to in self.others(from) {
                self.heal(from, to);
            }
        }
    }

    /// Sends `event` from one host to a process on another.
    pub(super) fn transmit(&mut self, from: usize, to: Process, event: SimEvent) {
        let network = self.network;
        let (low, high) = network.delay;
        let mut delay = self.between(low, high);
        if self.chance(network.late.0) {
            delay += self.between(0, network.late.1);
        }
        let now = self.now;
        let path = self.path(from, usize::from(to.node.0));
        match path.cut {
            Some(Cut::Loses) if matches!(event, SimEvent::Message { .. }) => return,
            Some(_) => return path.held.push((to, event)),
            None => {}
        }
        if network.in_order {
            let at = (now + delay).max(path.last_arrival + 1);
            path.last_arrival = at;
            delay = at - now;
        }
        self.schedule(delay, to, event);
    }

    pub(super) fn send(&mut self, from: Process, to: NodeId, message: Message) {
        let sender = usize::from(from.node.0);
        let Some(running) = &self.hosts[sender].running else { return };
        let Some(boot) = running.linked[usize::from(to.0)] else { return };
        let to = Process { node: to, boot };
        self.trace(|| format!("{} -> {}: {message:?}", from.node.0, to.node.0));
        if self.network.repeat > 0 {
            self.keep_and_repeat(from, to, message);
        }
        if self.chance(self.network.loss) {
            return;
        }
        let event = SimEvent::Message { from, message };
        self.transmit(sender, to, event);
        if self.chance(self.network.twice) {
            self.transmit(sender, to, event);
        }
    }

    /// Keeps this message or drops it, and sometimes delivers a kept message again.
    fn keep_and_repeat(&mut self, from: Process, to: Process, message: Message) {
        let is_release = matches!(message, Message::StandNow { .. } | Message::Resign { .. });
        let kept = if is_release { &mut self.term_releases } else { &mut self.kept_messages };
        if kept.len() < MAX_KEPT_MESSAGES {
            kept.push((from, to, message));
        } else if self.rng.random_range(0..1000) < 200 {
            kept[self.rng.random_range(0..MAX_KEPT_MESSAGES)] = (from, to, message);
        }
        if self.chance(self.network.repeat) {
            let is_release = !self.term_releases.is_empty() && self.chance(300);
            let index = self.pick(if is_release { self.term_releases.len() } else { self.kept_messages.len().max(1) });
            let kept = if is_release { &self.term_releases } else { &self.kept_messages };
            let Some((from, to, message)) = kept.get(index).copied() else { return };
            self.repeated_releases += u64::from(is_release && self.hosts[usize::from(to.node.0)].is(to));
            self.transmit(usize::from(from.node.0), to, SimEvent::Message { from, message });
        }
    }

    /// Dials again after a pause, unless another attempt is made first.
    pub(super) fn dial_later(&mut self, node: usize, to: NodeId, pause: u64) {
        let Some(running) = &mut self.hosts[node].running else { return };
        let attempt = &mut running.attempts[usize::from(to.0)];
        *attempt += 1;
        let (attempt, process) = (*attempt, running.process);
        self.schedule(pause, process, SimEvent::Dial { to, attempt });
    }

    /// Attempts to connect. That needs open paths in both directions, and a process that is not
    /// frozen.
    pub(super) fn dial(&mut self, node: usize, to: NodeId) {
        let other = usize::from(to.0);
        let (me, them) = (self.hosts[node].process(), self.hosts[other].process());
        let open = self.path(node, other).cut.is_none() && self.path(other, node).cut.is_none();
        if let (Some(me), Some(them)) = (me, them)
            && open
            && !self.is_frozen(other)
        {
            // The Hello arrives after one delay, and its answer after a round trip.
            self.transmit(node, them, SimEvent::Greeted(me));
            let (low, high) = self.network.delay;
            let round_trip = self.between(2 * low, 2 * high);
            self.schedule(round_trip, me, SimEvent::Linked(them));
        } else {
            let pause = self.between(100 * MS, 1000 * MS);
            self.dial_later(node, to, pause);
        }
    }

    /// A link of a living process breaks. The other end receives a reset, which proves no death.
    pub(crate) fn reset_link(&mut self, from: usize, to: usize) {
        let (Some(me), Some(other)) = (self.hosts[from].process(), self.hosts[to].process()) else { return };
        self.trace(|| format!("the link {from} -> {to} is reset"));
        self.schedule(0, me, SimEvent::Unlinked(other));
        if self.bug == Some(Bug::ClosesInOrder) {
            self.transmit(from, other, SimEvent::Ended(me));
        }
    }
}
