//! Runs the simulation: takes due events, passes them to the machine, and performs its actions.

use std::cmp::Reverse;

use rollcall_core::BootMs;
use rollcall_election::machine::{Action, Entropy, Event};
use rollcall_election::{Ballot, Message, Process};

use super::disk::WriteOutcome;
use super::{Bug, MS, Rule, SECOND, Scheduled, SimEvent, World};

/// Timers per second above which a machine counts as being in a busy loop.
const MAX_TIMERS_PER_SECOND: u32 = 300;

impl World {
    /// Runs for `duration`.
    pub(crate) fn run(&mut self, duration: u64) {
        self.run_until(duration, |_| false);
    }

    /// Runs until `done` returns true; it is called after every step. Returns the elapsed time, or
    /// `None` if `limit` passed first.
    pub(crate) fn run_until(&mut self, limit: u64, mut done: impl FnMut(&Self) -> bool) -> Option<u64> {
        let (start, end) = (self.now, self.now + limit);
        loop {
            if done(self) {
                return Some(self.now - start);
            }
            let next = self.queue.peek().map_or(u64::MAX, |Reverse(due)| due.at);
            // The end of a lease is not an event, but a caller may wait for it.
            let lease = self.hosts.iter().filter_map(|host| host.running.as_ref());
            let lease = lease.map(|running| running.serves_until).filter(|at| *at > self.now).min();
            let lease = lease.unwrap_or(u64::MAX);
            if next.min(lease) > end {
                self.now = end;
                return done(self).then_some(limit);
            }
            if lease < next {
                self.now = lease;
                continue;
            }
            let Some(Reverse(due)) = self.queue.pop() else { continue };
            self.now = self.now.max(due.at);
            self.step(due);
        }
    }

    /// Runs until a node serves. Returns the elapsed time.
    pub(crate) fn run_until_served(&mut self, limit: u64) -> u64 {
        let took = self.run_until(limit, |world| world.serving().is_some());
        took.unwrap_or_else(|| panic!("no node serves after {} ms", limit / MS))
    }

    fn step(&mut self, Scheduled { process, event, .. }: Scheduled) {
        let node = usize::from(process.node.0);
        if !self.hosts[node].is(process) {
            return;
        }
        self.steps += 1;
        if let SimEvent::Thaw { until } = event {
            if self.hosts[node].frozen_until == until {
                self.thaw(node);
            }
        } else if self.is_frozen(node) {
            self.hosts[node].waiting.push(event);
        } else {
            self.deliver(node, event);
        }
    }

    /// A process resumes. It handles the waiting events first, as the driver does, and then its
    /// timers.
    fn thaw(&mut self, node: usize) {
        self.trace(|| format!("{node} resumes"));
        let waiting = std::mem::take(&mut self.hosts[node].waiting);
        let (timers, events): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|event| matches!(event, SimEvent::Timer { .. }));
        for event in events {
            self.deliver(node, event);
        }
        // Timers use a clock that pauses while a host sleeps, so they can be late by a second.
        let late = self.between(0, SECOND);
        if let Some(process) = self.hosts[node].process() {
            for event in timers {
                self.schedule(late, process, event);
            }
        }
    }

    pub(super) fn deliver(&mut self, node: usize, event: SimEvent) {
        let Some(running) = &mut self.hosts[node].running else { return };
        match event {
            SimEvent::Message { from, message } => self.handle_message(node, from, message),
            SimEvent::Written => self.written(node),
            SimEvent::Dial { to, attempt } => {
                let latest = running.attempts[usize::from(to.0)] == attempt;
                if latest && running.linked[usize::from(to.0)].is_none() {
                    self.dial(node, to);
                }
            }
            SimEvent::Linked(other) => {
                if self.hosts[usize::from(other.node.0)].is(other) {
                    let running = self.hosts[node].running.as_mut().expect("checked above");
                    running.linked[usize::from(other.node.0)] = Some(other.boot);
                    self.feed(node, Event::LinkUp(other.node));
                } else {
                    self.dial_later(node, other.node, 100 * MS);
                }
            }
            SimEvent::Unlinked(other) => {
                let link = &mut running.linked[usize::from(other.node.0)];
                if *link == Some(other.boot) {
                    *link = None;
                    self.feed(node, Event::LinkDown(other.node));
                    self.dial_later(node, other.node, 100 * MS);
                }
            }
            SimEvent::Greeted(other) => {
                // `other` has restarted. This node may still have the link to the earlier process,
                // because it did not see the end of that link.
                let link = running.linked[usize::from(other.node.0)];
                if let Some(boot) = link.filter(|boot| *boot != other.boot) {
                    self.deliver(node, SimEvent::Unlinked(Process { boot, ..other }));
                }
                self.feed(node, Event::ProcessConnected(other));
                if link != Some(other.boot) {
                    self.dial_later(node, other.node, 0);
                }
            }
            SimEvent::Ended(other) => {
                let other = self.reported_dead_process(node, other);
                self.feed(node, Event::EndOfStream(other));
                self.apply_bug_after_end(node);
            }
            SimEvent::Drained => self.feed(node, Event::Drained),
            SimEvent::Timer { serial } => {
                if running.next_timer.1 == serial || serial == u32::MAX {
                    running.next_timer.0 = BootMs::NEVER;
                    self.handle_timer(node);
                }
            }
            SimEvent::Thaw { .. } => {}
        }
    }

    fn handle_timer(&mut self, node: usize) {
        let now = self.now;
        let running = self.hosts[node].running.as_mut().expect("only a running node has timers");
        if now - running.timer_rate.0 > SECOND {
            running.timer_rate = (now, 0);
        }
        running.timer_rate.1 += 1;
        if running.timer_rate.1 > MAX_TIMERS_PER_SECOND {
            self.checks.broken(Rule::NoBusyLoop, format!("node {node} is in a busy loop of timers at {} ms", now / MS));
        }
        self.feed(node, Event::TimerFired);
    }

    fn handle_message(&mut self, node: usize, from: Process, message: Message) {
        // As in the driver: a response counts only from the process at the other end of this node's
        // own link.
        let answers = matches!(message, Message::PreVoteResp(_) | Message::VoteResp { .. } | Message::Ack { .. });
        let running = self.hosts[node].running.as_ref().expect("only a running node receives messages");
        if answers && running.linked[usize::from(from.node.0)] != Some(from.boot) {
            return;
        }
        let message = self.apply_bug_to_message(node, from, message);
        self.feed(node, Event::MessageReceived { from, message });
    }

    fn written(&mut self, node: usize) {
        let fails = self.hosts[node].disk.fails;
        let outcome = match (self.chance(fails), self.chance(500)) {
            (false, _) => WriteOutcome::Written,
            (true, false) => WriteOutcome::FailedAndOld,
            (true, true) => WriteOutcome::FailedAndNew,
        };
        let Some((ballot, more)) = self.hosts[node].disk.finish(outcome) else { return };
        if more {
            self.begin_write(node);
        }
        let early = self.has(Bug::ReportedSavedTooEarly);
        match outcome {
            WriteOutcome::Written if early => {}
            WriteOutcome::Written => self.feed(node, Event::BallotSaved(ballot)),
            _ => self.feed(node, Event::BallotSaveFailed(ballot)),
        }
    }

    fn begin_write(&mut self, node: usize) {
        let (latency, stalls) = (self.hosts[node].disk.latency, self.hosts[node].disk.stalls);
        let stall = if self.chance(stalls) { 5 * SECOND } else { 0 };
        let took = self.between(latency.0, latency.1) + stall;
        if let Some(process) = self.hosts[node].process() {
            self.schedule(took, process, SimEvent::Written);
        }
    }

    fn save(&mut self, node: usize, ballot: Ballot) {
        match self.hosts[node].disk.accept(ballot) {
            Some(idle) => {
                if idle {
                    self.begin_write(node);
                }
                if self.has(Bug::ReportedSavedTooEarly) {
                    self.feed(node, Event::BallotSaved(ballot));
                }
            }
            None => self.feed(node, Event::BallotSaveFailed(ballot)),
        }
    }

    pub(super) fn sample_load(&mut self, node: usize) {
        let load = self.hosts[node].load;
        self.feed(node, Event::LoadSampled(load));
    }

    /// Passes an event to a machine and performs its actions.
    pub(super) fn feed(&mut self, node: usize, event: Event) {
        let entropy = Entropy(u16::try_from(self.between(0, 999)).expect("below 1000"));
        let now = self.now;
        let host = &mut self.hosts[node];
        let clock = host.clock.read(now);
        let Some(running) = &mut host.running else { return };
        let process = running.process;
        let actions = running.machine.handle(event, clock, entropy);
        self.trace(|| format!("{node} at {}: {event:?} -> {actions:?}", clock.0));
        self.check_invariants(node);
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    self.check_durable(node, to.0, message);
                    self.check_message_rate(node);
                    self.send(process, to, message);
                }
                Action::SaveBallot(ballot) => self.save(node, ballot),
                Action::Drain => {
                    if !self.chance(self.never_drains) {
                        let took = self.between(self.drain.0, self.drain.1);
                        self.schedule(took, process, SimEvent::Drained);
                    }
                }
                Action::Log(log_event) => self.notes.push((now, process.node, log_event)),
            }
        }
        self.schedule_timer(node);
        self.exit_if_done(node);
    }

    fn schedule_timer(&mut self, node: usize) {
        let jitter = self.between(1, 1500);
        let now = self.now;
        let host = &mut self.hosts[node];
        let Some(running) = &mut host.running else { return };
        let next_timer_at = running.machine.next_timer_at();
        if next_timer_at == running.next_timer.0 {
            return;
        }
        running.next_timer = (next_timer_at, running.next_timer.1.wrapping_add(1) % u32::MAX);
        if next_timer_at < BootMs::NEVER {
            let (process, serial) = (running.process, running.next_timer.1);
            let wait = host.clock.when(next_timer_at, now) - now;
            self.schedule(wait + jitter, process, SimEvent::Timer { serial });
        }
    }
}
