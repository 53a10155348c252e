//! Storm: one or two minutes of random faults, and then a calm period in which a leader must serve
//! again.

use super::links::Cut;
use super::{Bug, MS, NetworkConditions, Rule, SECOND, TRUE_RATE, Violation, World};

/// Parameters of a storm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) bug: Option<Bug>,
}

/// Result of a storm.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    /// Time from the end of the storm until a leader served, in microseconds.
    pub(crate) recovered: u64,
    pub(crate) steps: u64,
    /// How often another node began to serve.
    pub(crate) changes: u64,
    /// Readable trace. Empty unless the storm is replayed.
    pub(crate) trace: Vec<String>,
}

/// Longest time after a storm until a leader serves permanently. It covers a stall or delay of five
/// seconds, a boot window, an election timeout and the longest pause after a lost round.
const RECOVERY: u64 = 20 * SECOND;

/// Number of faults in a storm.
const FAULTS: usize = 40;

impl Storm {
    pub(crate) fn run(self) -> Outcome {
        self.simulate(false)
    }

    /// Runs the same storm again, with a trace.
    pub(crate) fn replay(self) -> Outcome {
        self.simulate(true)
    }

    fn simulate(self, traced: bool) -> Outcome {
        let mut world = World::new(self.nodes, self.seed);
        world.bug = self.bug;
        world.trace = traced.then(Vec::new);
        world.set_conditions();
        for _ in 0..FAULTS {
            world.inject_fault();
            let longest_pause = if world.chance(300) { SECOND / 10 } else { 4 * SECOND };
            let pause = world.between(MS, longest_pause);
            world.run_until(pause, |world| world.checks.violation.is_some());
        }
        let recovered = world.recover();
        Outcome {
            violation: world.checks.violation,
            recovered,
            steps: world.steps,
            changes: world.checks.changes,
            trace: world.trace.unwrap_or_default(),
        }
    }
}

impl World {
    /// Sets random conditions of the storm: clocks, network, disks, and how often a death ends
    /// links in order.
    fn set_conditions(&mut self) {
        let nodes = self.hosts.len();
        if self.bug == Some(Bug::DifferentTimings) {
            self.hosts[0].rules.timings.election_timeout_min_ms = 4500;
            self.hosts[0].rules.timings.election_timeout_max_ms = 6500;
        }
        let drift = [0, 10_000, 50_000][self.pick(3)];
        for node in 0..nodes {
            let rate = self.between(TRUE_RATE - drift, TRUE_RATE + drift);
            self.hosts[node].clock.set_rate(0, rate);
            let load = self.between(0, 1000);
            self.hosts[node].load = u16::try_from(load).expect("at most 1000").into();
            self.start(node);
        }
        self.network = self.random_network();
        self.orderly_ends = [0, 500, 1000][self.pick(3)];
        if matches!(self.bug, Some(Bug::EndReleasesAnyPromise | Bug::EndMatchedByAddress | Bug::EndClearsVote)) {
            self.orderly_ends = 1000;
        }
        self.never_drains = [0, 300][self.pick(2)];
        self.drain = (MS, 250 * MS);
        let (slow, stalls, fails) = (self.pick(3), [0, 0, 20][self.pick(3)], [0, 0, 50][self.pick(3)]);
        for host in &mut self.hosts {
            host.disk.latency = [(1000, 8000), (1000, 8000), (5 * MS, 100 * MS)][slow];
            host.disk.stalls = stalls;
            host.disk.fails = fails;
        }
    }

    fn random_network(&mut self) -> NetworkConditions {
        NetworkConditions {
            delay: [(100, 1500), (100, 1500), (MS, 50 * MS), (MS, 300 * MS)][self.pick(4)],
            late: [(10, 30 * MS), (10, 300 * MS), (50, 5 * SECOND)][self.pick(3)],
            loss: [0, 0, 20, 100][self.pick(4)],
            twice: [0, 30][self.pick(2)],
            repeat: [0, 30][self.pick(2)],
            in_order: self.chance(500),
        }
    }

    /// Injects one fault, or ends one.
    fn inject_fault(&mut self) {
        let nodes = self.hosts.len();
        // Faults of the leader are the most informative.
        let leader = self.serving().filter(|_| self.chance(400));
        let node = leader.unwrap_or_else(|| self.pick(nodes));
        let other = self.pick(nodes);
        let kind = [Cut::Loses, Cut::Holds][self.pick(2)];
        let up = self.is_up(node);
        match self.pick(24) {
            0 | 1 if up => self.kill(node),
            2 if up => self.lose_power(node),
            0..=4 if !up => self.start(node),
            5 if up => {
                self.kill(node);
                self.run_at_most(20 * MS);
                self.start(node);
            }
            6 if up => {
                let duration = self.between(50 * MS, 9 * SECOND);
                self.freeze(node, duration);
            }
            7 if up => self.stop(node),
            8 => self.isolate(node, kind),
            9 => self.cut(node, other, kind),
            10 if node != other => self.cut_both(node, other, kind),
            11 if node != other => self.heal(node, other),
            12 | 13 => self.heal_all(),
            14 => {
                let load = self.between(0, 1000);
                self.set_load(node, u16::try_from(load).expect("at most 1000"));
            }
            15 if !up && self.can_lose_a_ballot() => self.damage(node),
            16 if up && self.can_lose_a_ballot() => {
                self.kill(node);
                self.damage(node);
                self.run_at_most(50 * MS);
                self.start(node);
            }
            17 | 18 if node != other => self.reset_link(node, other),
            19 => self.network = self.random_network(),
            20 => {
                let rate = self.between(TRUE_RATE - 50_000, TRUE_RATE + 50_000);
                self.set_rate(node, rate);
            }
            21 => self.crash_all_nodes(),
            22 => self.freeze_some_nodes(),
            23 if node != other => self.send_absurd_messages(node, other),
            _ => {}
        }
    }

    /// Runs for a random time of at most `longest`.
    fn run_at_most(&mut self, longest: u64) {
        let pause = self.between(0, longest);
        self.run(pause);
    }

    fn crash_all_nodes(&mut self) {
        for node in 0..self.hosts.len() {
            if self.is_up(node) && self.chance(700) {
                self.kill(node);
            } else if self.is_up(node) {
                self.lose_power(node);
            }
        }
        self.run_at_most(20 * MS);
        self.start_all();
    }

    /// Freezes some nodes at the same moment. They resume at the same moment.
    fn freeze_some_nodes(&mut self) {
        let duration = self.between(500 * MS, 5 * SECOND);
        for node in 0..self.hosts.len() {
            if self.chance(600) {
                self.freeze(node, duration);
            }
        }
    }

    /// Ends the storm and checks I6: a majority is connected, so a leader serves within a bounded
    /// time and continues to serve.
    fn recover(&mut self) -> u64 {
        self.network = NetworkConditions::default();
        self.heal_all();
        for node in 0..self.hosts.len() {
            self.hosts[node].disk.stalls = 0;
            self.hosts[node].disk.fails = 0;
        }
        for node in 0..self.hosts.len() {
            let left = self.hosts[node].frozen_until.saturating_sub(self.now).min(SECOND);
            if left > 0 {
                self.freeze(node, left);
            }
        }
        let stopped = self.stop_a_minority();
        let broken = |world: &Self| world.checks.violation.is_some();
        // The node that serves at the end of the storm may still lose its lease, because of
        // messages in flight.
        let mut recovery = 0;
        let mut calm = 0;
        while calm < 8 * SECOND && recovery < RECOVERY && !broken(self) {
            // A node that was asked to stop during the storm may still be stopping.
            for node in 0..self.hosts.len() {
                if !self.is_up(node) && !stopped.contains(&node) {
                    self.start(node);
                }
            }
            self.run_until(10 * MS, broken);
            if self.serving().is_some() {
                calm += 10 * MS;
            } else {
                (recovery, calm) = (recovery + calm + 10 * MS, 0);
            }
        }
        if recovery >= RECOVERY {
            let text = format!("no node serves {} ms after the storm, without {stopped:?}", RECOVERY / MS);
            self.checks.broken(Rule::Liveness, text);
        }
        recovery
    }

    /// With probability one half, kills a minority of the nodes for good. Kills none if a node has
    /// lost its ballot: it may need the reports of all other nodes.
    fn stop_a_minority(&mut self) -> Vec<usize> {
        let nodes = self.hosts.len();
        let all_have_ballots = self.hosts.iter().all(|host| host.disk.durable().is_some());
        if !all_have_ballots || self.chance(500) {
            return Vec::new();
        }
        let first = self.pick(nodes);
        let stopped: Vec<_> = (0..(nodes - 1) / 2).map(|offset| (first + offset) % nodes).collect();
        for node in &stopped {
            self.kill(*node);
        }
        stopped
    }
}
