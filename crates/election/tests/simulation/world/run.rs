//! Lets the world run: takes what is due, gives it to the machine, and does what the machine wants done.

use std::cmp::Reverse;

use rollcall_core::BootMs;
use rollcall_election::machine::{Action, Draw, Event};
use rollcall_election::{Ballot, Message, Process};

use super::disk::Fate;
use super::{Bug, Due, MS, Rule, SECOND, What, World};

/// A machine that is awake more often than this in a second does not rest.
const WAKES_A_SECOND: u32 = 300;

impl World {
    /// Lets `duration` pass.
    pub(crate) fn run(&mut self, duration: u64) {
        self.run_until(duration, |_| false);
    }

    /// Runs until `done`, looking after every step; how long that took, or `None` if not within `limit`.
    pub(crate) fn run_until(&mut self, limit: u64, mut done: impl FnMut(&Self) -> bool) -> Option<u64> {
        let (start, end) = (self.now, self.now + limit);
        loop {
            if done(self) {
                return Some(self.now - start);
            }
            let next = self.queue.peek().map_or(u64::MAX, |Reverse(due)| due.at);
            // A lease that runs out is no event, but somebody may wait for it.
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

    /// Runs until somebody serves; how long that took.
    pub(crate) fn until_served(&mut self, limit: u64) -> u64 {
        let took = self.run_until(limit, |world| world.serving().is_some());
        took.unwrap_or_else(|| panic!("nobody serves after {} ms", limit / MS))
    }

    fn step(&mut self, Due { process, what, .. }: Due) {
        let node = usize::from(process.node.0);
        if !self.hosts[node].is(process) {
            return;
        }
        self.steps += 1;
        if let What::Thaw { until } = what {
            if self.hosts[node].frozen_until == until {
                self.thaw(node);
            }
        } else if self.is_frozen(node) {
            self.hosts[node].waiting.push(what);
        } else {
            self.take(node, what);
        }
    }

    /// A process goes on: first what has reached it meanwhile, as the driver does, then its timers.
    fn thaw(&mut self, node: usize) {
        self.tell(|| format!("{node} goes on"));
        let waiting = std::mem::take(&mut self.hosts[node].waiting);
        let (timers, news): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|what| matches!(what, What::Wake { .. }));
        for what in news {
            self.take(node, what);
        }
        // Timers run on a clock that stands still while a host sleeps, so they can be late by a second.
        let late = self.between(0, SECOND);
        if let Some(process) = self.hosts[node].process() {
            for what in timers {
                self.later(late, process, what);
            }
        }
    }

    pub(super) fn take(&mut self, node: usize, what: What) {
        let Some(running) = &mut self.hosts[node].running else { return };
        match what {
            What::Hear { from, message } => self.hear(node, from, message),
            What::Written => self.written(node),
            What::Dial { to, attempt } => {
                let latest = running.attempts[usize::from(to.0)] == attempt;
                if latest && running.linked[usize::from(to.0)].is_none() {
                    self.dial(node, to);
                }
            }
            What::Linked(other) => {
                if self.hosts[usize::from(other.node.0)].is(other) {
                    let running = self.hosts[node].running.as_mut().expect("just seen");
                    running.linked[usize::from(other.node.0)] = Some(other.boot);
                    self.feed(node, Event::LinkedTo(other.node));
                } else {
                    self.dial_later(node, other.node, 100 * MS);
                }
            }
            What::Unlinked(other) => {
                let link = &mut running.linked[usize::from(other.node.0)];
                if *link == Some(other.boot) {
                    *link = None;
                    self.feed(node, Event::UnlinkedFrom(other.node));
                    self.dial_later(node, other.node, 100 * MS);
                }
            }
            What::Greeted(other) => {
                // Whoever starts anew leaves a link behind that leads nowhere, and may not have been able to say so.
                let link = running.linked[usize::from(other.node.0)];
                if let Some(boot) = link.filter(|boot| *boot != other.boot) {
                    self.take(node, What::Unlinked(Process { boot, ..other }));
                }
                self.feed(node, Event::Greeted(other));
                if link != Some(other.boot) {
                    self.dial_later(node, other.node, 0);
                }
            }
            What::Ended(other) => {
                let other = self.end_of(node, other);
                self.feed(node, Event::EndOfStream(other));
                self.after_end(node);
            }
            What::Drained => self.feed(node, Event::Drained),
            What::Wake { serial } => {
                if running.wakes.1 == serial || serial == u32::MAX {
                    running.wakes.0 = BootMs::NEVER;
                    self.woke(node);
                }
            }
            What::Thaw { .. } => {}
        }
    }

    fn woke(&mut self, node: usize) {
        let now = self.now;
        let running = self.hosts[node].running.as_mut().expect("whoever wakes runs");
        if now - running.restless.0 > SECOND {
            running.restless = (now, 0);
        }
        running.restless.1 += 1;
        if running.restless.1 > WAKES_A_SECOND {
            self.checks.broken(Rule::Rests, format!("node {node} wakes without end at {} ms", now / MS));
        }
        self.feed(node, Event::Woke);
    }

    fn hear(&mut self, node: usize, from: Process, message: Message) {
        // As in the driver: an answer counts only from the process at the other end of this node's own link.
        let answers = matches!(message, Message::PreVoteResp(_) | Message::VoteResp { .. } | Message::Ack { .. });
        let running = self.hosts[node].running.as_ref().expect("whoever hears runs");
        if answers && running.linked[usize::from(from.node.0)] != Some(from.boot) {
            return;
        }
        let message = self.distort(node, from, message);
        self.feed(node, Event::Heard { from, message });
    }

    fn written(&mut self, node: usize) {
        let fails = self.hosts[node].disk.fails;
        let fate = match (self.chance(fails), self.chance(500)) {
            (false, _) => Fate::Written,
            (true, false) => Fate::FailedAndOld,
            (true, true) => Fate::FailedAndNew,
        };
        let Some((ballot, more)) = self.hosts[node].disk.finish(fate) else { return };
        if more {
            self.begin_write(node);
        }
        let early = self.has(Bug::SavedTooEarly);
        match fate {
            Fate::Written if early => {}
            Fate::Written => self.feed(node, Event::Saved(ballot)),
            _ => self.feed(node, Event::SaveFailed(ballot)),
        }
    }

    fn begin_write(&mut self, node: usize) {
        let (latency, stalls) = (self.hosts[node].disk.latency, self.hosts[node].disk.stalls);
        let stall = if self.chance(stalls) { 5 * SECOND } else { 0 };
        let took = self.between(latency.0, latency.1) + stall;
        if let Some(process) = self.hosts[node].process() {
            self.later(took, process, What::Written);
        }
    }

    fn save(&mut self, node: usize, ballot: Ballot) {
        match self.hosts[node].disk.accept(ballot) {
            Some(idle) => {
                if idle {
                    self.begin_write(node);
                }
                if self.has(Bug::SavedTooEarly) {
                    self.feed(node, Event::Saved(ballot));
                }
            }
            None => self.feed(node, Event::SaveFailed(ballot)),
        }
    }

    pub(super) fn sample_load(&mut self, node: usize) {
        let load = self.hosts[node].load;
        self.feed(node, Event::LoadSampled(load));
    }

    /// One event through a machine, and what follows from it.
    pub(super) fn feed(&mut self, node: usize, event: Event) {
        let draw = Draw(u16::try_from(self.between(0, 999)).expect("below 1000"));
        let now = self.now;
        let host = &mut self.hosts[node];
        let clock = host.clock.read(now);
        let Some(running) = &mut host.running else { return };
        let process = running.process;
        let actions = running.machine.handle(event, clock, draw);
        self.tell(|| format!("{node} at {}: {event:?} -> {actions:?}", clock.0));
        self.look(node);
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    self.check_durable(node, to.0, message);
                    self.check_talk(node);
                    self.send(process, to, message);
                }
                Action::Save(ballot) => self.save(node, ballot),
                Action::Drain => {
                    if !self.chance(self.never_drains) {
                        let took = self.between(self.drain.0, self.drain.1);
                        self.later(took, process, What::Drained);
                    }
                }
                Action::Note(words) => self.notes.push((now, process.node, words)),
            }
        }
        self.set_alarm(node);
        self.exit_if_done(node);
    }

    fn set_alarm(&mut self, node: usize) {
        let jitter = self.between(1, 1500);
        let now = self.now;
        let host = &mut self.hosts[node];
        let Some(running) = &mut host.running else { return };
        let wake_at = running.machine.wake_at();
        if wake_at == running.wakes.0 {
            return;
        }
        running.wakes = (wake_at, running.wakes.1.wrapping_add(1) % u32::MAX);
        if wake_at < BootMs::NEVER {
            let (process, serial) = (running.process, running.wakes.1);
            let wait = host.clock.when(wake_at, now) - now;
            self.later(wait + jitter, process, What::Wake { serial });
        }
    }
}
