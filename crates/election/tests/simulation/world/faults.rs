//! Faults of hosts and processes.

use rollcall_core::{BootMs, MAX_NODES};
use rollcall_election::machine::{Event, Machine};
use rollcall_election::{BootId, Process};

use super::host::Running;
use super::{MS, SimEvent, World};

impl World {
    pub(crate) fn start_all(&mut self) {
        for node in 0..self.hosts.len() {
            if !self.is_up(node) {
                self.start(node);
            }
        }
    }

    /// Starts a process on a host without one.
    pub(crate) fn start(&mut self, node: usize) {
        assert!(!self.is_up(node), "node {node} runs already");
        let (ballot, clock) = self.ballot_and_clock_at_start(node);
        let host = &mut self.hosts[node];
        host.boots += 1;
        let boot = BootId(u64::from(host.node.0) * 1_000_000 + host.boots);
        let process = Process { node: host.node, boot };
        host.running = Some(Running {
            process,
            machine: Machine::new(host.rules.clone(), boot, ballot, clock),
            linked: [None; MAX_NODES],
            attempts: [0; MAX_NODES],
            serves_until: 0,
            kept_lease: 0,
            next_timer: (BootMs::NEVER, 0),
            timer_rate: (self.now, 0),
            message_rate: (self.now, 0),
            stopping: false,
        });
        self.trace(|| format!("{node} starts with {ballot:?}"));
        self.sample_load(node);
        self.feed(node, Event::TimerFired);
        for other in self.others(node) {
            let pause = self.between(MS, 20 * MS);
            self.dial_later(node, Self::id(other), pause);
        }
    }

    /// Kills the process. The kernel of the host ends its links, so the connected nodes are
    /// informed.
    pub(crate) fn kill(&mut self, node: usize) {
        self.trace(|| format!("{node} is killed"));
        self.end(node, true);
    }

    /// The host loses power, and with it everything that was not synced. No other node is informed.
    pub(crate) fn lose_power(&mut self, node: usize) {
        self.trace(|| format!("{node} loses power"));
        let host = &mut self.hosts[node];
        host.running = None;
        let renamed = self.chance(500);
        let host = &mut self.hosts[node];
        host.disk.abandon(renamed);
        host.disk.lose_power();
        host.clock.restart(self.now);
        host.waiting.clear();
        host.frozen_until = 0;
    }

    /// Ends a process. Only if it was `killed`, its links may end without a Bye.
    fn end(&mut self, node: usize, killed: bool) {
        let renamed = self.chance(500);
        let host = &mut self.hosts[node];
        let Some(ended) = host.running.take() else { return };
        host.disk.abandon(renamed);
        host.waiting.clear();
        host.frozen_until = 0;
        for other in self.others(node) {
            let link = ended.linked[other];
            let Some(connected) = self.hosts[other].process() else { continue };
            self.transmit(node, connected, SimEvent::Unlinked(ended.process));
            if killed && link == Some(connected.boot) && self.chance(self.orderly_ends) {
                self.transmit(node, connected, SimEvent::Ended(ended.process));
            }
        }
    }

    /// Asks the process to stop. It exits when its term has a successor, or after it has resigned.
    pub(crate) fn stop(&mut self, node: usize) {
        self.trace(|| format!("{node} is asked to stop"));
        if let Some(running) = &mut self.hosts[node].running {
            running.stopping = true;
        }
        self.feed(node, Event::StopRequested);
    }

    pub(super) fn exit_if_done(&mut self, node: usize) {
        let running = self.hosts[node].running.as_ref();
        if running.is_some_and(|running| running.stopping && !running.machine.awaits_successor()) {
            self.trace(|| format!("{node} sends Bye and exits"));
            self.end(node, false);
        }
    }

    /// Nothing runs on the host for `duration`: the process is stopped, or the host is suspended.
    /// Clocks continue.
    pub(crate) fn freeze(&mut self, node: usize, duration: u64) {
        let Some(process) = self.hosts[node].process() else { return };
        self.trace(|| format!("{node} is frozen for {} ms", duration / MS));
        let until = self.now + duration;
        self.hosts[node].frozen_until = until;
        self.schedule(duration, process, SimEvent::Thaw { until });
    }

    /// Deletes or truncates the ballot file.
    pub(crate) fn damage(&mut self, node: usize) {
        let keeps = if self.chance(500) { Some(self.pick(60)) } else { None };
        self.trace(|| format!("the ballot of {node} is damaged: {keeps:?} bytes are left"));
        self.hosts[node].disk.damage(keeps);
        self.hosts[node].highest_sent_term = rollcall_core::Term(0);
    }

    /// Whether one more node may lose its ballot. The rules tolerate a lost ballot while fewer than
    /// half of the nodes have lost their ballots, because the other nodes can report their terms.
    /// They tolerate no lost ballot in a cluster of one.
    pub(crate) fn can_lose_a_ballot(&self) -> bool {
        let lost = self.hosts.iter().filter(|host| host.disk.durable().is_none()).count();
        let nodes = self.hosts.len();
        nodes > 1 && lost < ((nodes - 1) / 2).max(1)
    }

    pub(crate) fn set_rate(&mut self, node: usize, rate: u64) {
        let now = self.now;
        self.hosts[node].clock.set_rate(now, rate);
        self.check_invariants(node);
        if let Some(running) = &mut self.hosts[node].running {
            // The timer was set with the old rate.
            running.next_timer.0 = BootMs(0);
        }
        self.feed(node, Event::TimerFired);
    }
}
