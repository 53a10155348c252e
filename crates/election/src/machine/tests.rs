//! A small simulated cluster over the real machine: a queue of messages, disks and clocks, all drawn from one seed.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::message::{BallotReport, PreVoteResp};
use super::rules::tests::defaults;
use super::*;

/// One node of the simulation: a machine while its process lives, and a disk that outlives it.
struct Node {
    machine: Option<Machine>,
    boots: u64,
    disk: Option<Ballot>,
    /// Milliseconds of this node's clock for 1000 of the world's.
    rate: u64,
    paused_until: u64,
    disk_busy_until: u64,
    /// The highest term that others were told of.
    highest_term: Term,
}

#[derive(Clone, Debug)]
enum Arrival {
    Message { from: Process, to: Process, message: Message },
    Written { at: Process, ballot: Ballot },
    Linked { at: Process, to: NodeId },
    Unlinked { at: Process, from: NodeId },
    Ended { at: Process, process: Process },
    Drained { at: Process },
    Woke { at: Process },
}

struct World {
    now: u64,
    nodes: Vec<Node>,
    queue: BTreeMap<(u64, u64), Arrival>,
    serial: u64,
    rng: SmallRng,
    /// Messages lost, in thousandths.
    loss: u32,
    /// How often, in thousandths, the death of a process is seen as an orderly end of its link.
    orderly_ends: u32,
    /// Whether a disk write may take seconds.
    stalls: bool,
    cut: Vec<(u8, u8)>,
    leaders: BTreeMap<Term, NodeId>,
    serving_term: Term,
    sent: Vec<(Process, Message)>,
}

impl World {
    fn new(nodes: usize, seed: u64) -> Self {
        let mut world = Self {
            now: 1000,
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            serial: 0,
            rng: SmallRng::seed_from_u64(seed),
            loss: 0,
            orderly_ends: 0,
            stalls: false,
            cut: Vec::new(),
            leaders: BTreeMap::new(),
            serving_term: Term(0),
            sent: Vec::new(),
        };
        for _ in 0..nodes {
            world.nodes.push(Node {
                machine: None,
                boots: 0,
                // A new node has written a blank ballot before its machine starts.
                disk: Some(Ballot::default()),
                rate: 1000,
                paused_until: 0,
                disk_busy_until: 0,
                highest_term: Term(0),
            });
        }
        world
    }

    fn started(nodes: usize, seed: u64) -> Self {
        let mut world = Self::new(nodes, seed);
        for node in 0..nodes {
            world.start(node);
        }
        world
    }

    fn process(&self, node: usize) -> Process {
        Process { node: NodeId(u8::try_from(node).unwrap()), boot: BootId(self.nodes[node].boots) }
    }

    fn clock(&self, node: usize) -> BootMs {
        BootMs(self.now * self.nodes[node].rate / 1000)
    }

    fn at(&mut self, delay: u64, arrival: Arrival) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), arrival);
    }

    fn start(&mut self, node: usize) {
        assert!(self.nodes[node].machine.is_none());
        self.nodes[node].boots += 1;
        let rules = defaults(u8::try_from(node).unwrap(), self.nodes.len());
        let process = self.process(node);
        let (disk, clock) = (self.nodes[node].disk, self.clock(node));
        self.nodes[node].machine = Some(Machine::new(rules, process.boot, disk, clock));
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let delay = self.rng.random_range(1..20);
            self.at(delay, Arrival::Linked { at: process, to: self.process(other).node });
            if self.nodes[other].machine.is_some() {
                let delay = self.rng.random_range(1..20);
                self.at(delay, Arrival::Linked { at: self.process(other), to: process.node });
            }
        }
        self.at(0, Arrival::Woke { at: process });
    }

    /// Kills the process. Writes that were under way may reach the disk or not.
    fn kill(&mut self, node: usize) {
        self.nodes[node].machine = None;
        let gone = self.process(node).node;
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if self.nodes[other].machine.is_some() {
                let delay = self.rng.random_range(1..3);
                self.at(delay, Arrival::Unlinked { at: self.process(other), from: gone });
                if self.rng.random_range(0..1000) < self.orderly_ends {
                    // What it had sent comes first on the same link.
                    let process = self.process(node);
                    self.at(delay + 4, Arrival::Ended { at: self.process(other), process });
                }
            }
        }
    }

    fn feed(&mut self, node: usize, event: Event) {
        let clock = self.clock(node);
        let draw = Draw(self.rng.random_range(0..1000));
        let process = self.process(node);
        let Some(machine) = &mut self.nodes[node].machine else { return };
        let actions = machine.handle(event, clock, draw);
        let (wake_at, term, standing) = (machine.wake_at(), machine.term(), machine.standing());
        assert!(term >= self.nodes[node].highest_term, "I3: a node's term went back");
        if matches!(standing, Standing::Leader { .. }) {
            let leader = *self.leaders.entry(term).or_insert(process.node);
            assert_eq!(leader, process.node, "I1: two leaders of term {term}");
        }
        for action in actions {
            match action {
                Action::Send { to, message } => self.send(process, to, message),
                Action::Save(ballot) => {
                    // A disk writes in order; sometimes it stalls.
                    let stall = if self.stalls && self.rng.random_range(0..50) == 0 { 5000 } else { 0 };
                    let done = self.nodes[node].disk_busy_until.max(self.now) + self.rng.random_range(1..30) + stall;
                    self.nodes[node].disk_busy_until = done;
                    self.at(done - self.now, Arrival::Written { at: process, ballot });
                }
                Action::Drain => {
                    let delay = self.rng.random_range(1..250);
                    self.at(delay, Arrival::Drained { at: process });
                }
                Action::Note(_) => {}
            }
        }
        if wake_at < BootMs::NEVER {
            let wait = wake_at.since(clock) * 1000 / self.nodes[node].rate + 1;
            self.at(wait, Arrival::Woke { at: process });
        }
        self.check();
    }

    fn send(&mut self, from: Process, to: NodeId, message: Message) {
        if let Message::Vote { term, .. } | Message::VoteResp { term, .. } | Message::Ack { term, .. } = message {
            let highest = &mut self.nodes[usize::from(from.node.0)].highest_term;
            *highest = (*highest).max(term);
        }
        self.sent.push((from, message));
        let lost = self.rng.random_range(0..1000) < self.loss || self.cut.contains(&(from.node.0, to.0));
        if !lost && self.nodes[usize::from(to.0)].machine.is_some() {
            let delay = self.rng.random_range(1..4) + if self.rng.random_range(0..50) == 0 { 40 } else { 0 };
            self.at(delay, Arrival::Message { from, to: self.process(usize::from(to.0)), message });
        }
    }

    fn serving(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| {
                self.nodes[*node].machine.as_ref().is_some_and(|machine| machine.is_serving(self.clock(*node)))
            })
            .collect()
    }

    /// I2 and I4. Paused nodes count: what they think of themselves is what they would answer on waking.
    fn check(&mut self) {
        let serving = self.serving();
        assert!(serving.len() <= 1, "I2: {serving:?} serve at once at {}", self.now);
        if let Some(node) = serving.first() {
            let term = self.nodes[*node].machine.as_ref().unwrap().term();
            assert!(term >= self.serving_term, "I4: the serving term went back");
            self.serving_term = term;
        }
    }

    /// Lets the world run for `ms` milliseconds.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some((key, arrival)) = self.queue.pop_first() {
            if key.0 > end {
                self.queue.insert(key, arrival);
                break;
            }
            self.now = self.now.max(key.0);
            let at = match &arrival {
                Arrival::Message { to, .. } => *to,
                Arrival::Written { at, .. }
                | Arrival::Linked { at, .. }
                | Arrival::Unlinked { at, .. }
                | Arrival::Ended { at, .. }
                | Arrival::Drained { at }
                | Arrival::Woke { at } => *at,
            };
            let node = usize::from(at.node.0);
            if let Arrival::Written { ballot, .. } = &arrival {
                // A write that was handed to the disk may land although its process is gone, but not after the next
                // start has read the file.
                if at == self.process(node) {
                    self.nodes[node].disk = Some(*ballot);
                }
            }
            if at != self.process(node) || self.nodes[node].machine.is_none() {
                continue;
            }
            if self.nodes[node].paused_until > self.now {
                let delay = self.nodes[node].paused_until - self.now;
                self.at(delay, arrival);
                continue;
            }
            let event = match arrival {
                Arrival::Message { from, message, .. } => Event::Heard { from, message },
                Arrival::Written { ballot, .. } => Event::Saved(ballot),
                Arrival::Linked { to, .. } => Event::LinkedTo(to),
                Arrival::Unlinked { from, .. } => Event::UnlinkedFrom(from),
                Arrival::Ended { process, .. } => Event::EndOfStream(process),
                Arrival::Drained { .. } => Event::Drained,
                Arrival::Woke { .. } => Event::Woke,
            };
            self.feed(node, event);
        }
        self.now = end;
        self.check();
    }

    /// Runs until somebody serves; how long that took.
    fn run_until_served(&mut self, limit_ms: u64) -> u64 {
        let start = self.now;
        while self.serving().is_empty() {
            assert!(self.now - start < limit_ms, "nobody serves after {limit_ms} ms");
            self.run(5);
        }
        self.now - start
    }

    /// Runs until a leader that is stopping has a successor, or has told everybody that there is none.
    fn run_until_over(&mut self, node: usize) {
        while self.nodes[node].machine.as_ref().is_some_and(Machine::awaits_successor) {
            self.run(1);
        }
    }

    fn leader(&self) -> usize {
        self.serving()[0]
    }

    fn isolate(&mut self, node: u8) {
        for other in 0..u8::try_from(self.nodes.len()).unwrap() {
            self.cut.push((node, other));
            self.cut.push((other, node));
        }
    }

    fn set_load(&mut self, node: usize, permille: u16) {
        self.feed(node, Event::LoadSampled(Load::from_permille(permille)));
    }
}

#[test]
fn a_single_node_leads_at_once_and_for_ever() {
    let mut world = World::started(1, 1);
    assert!(world.run_until_served(100) < 100);
    assert_eq!(world.nodes[0].machine.as_ref().unwrap().serves_until(), BootMs::NEVER);
}

#[test]
fn a_new_cluster_elects_without_waiting_for_the_boot_window() {
    for nodes in [2, 3, 5, 7] {
        let mut took: Vec<u64> = (0..300).map(|seed| World::started(nodes, seed).run_until_served(6000)).collect();
        took.sort_unstable();
        // The boot window alone takes 3000.
        assert!(took[299] < 1500, "{nodes} nodes: {took:?}");
    }
}

#[test]
fn a_cluster_that_lost_power_elects_at_once_too() {
    let mut world = World::started(3, 7);
    world.run_until_served(3000);
    world.run(5000);
    (0..3).for_each(|node| world.kill(node));
    world.run(10);
    (0..3).for_each(|node| world.start(node));
    assert!(world.run_until_served(3000) < 2500);
    assert!(world.serving_term > Term(1));
}

#[test]
fn two_of_three_elect_after_the_boot_window() {
    let mut world = World::new(3, 3);
    world.start(0);
    world.start(1);
    world.run(2990);
    assert!(world.serving().is_empty(), "the third could be leading");
    assert!(world.run_until_served(2000) < 1000);
}

#[test]
fn one_of_three_never_serves() {
    let mut world = World::new(3, 4);
    world.start(1);
    world.run(120_000);
    assert!(world.leaders.is_empty());
    assert_eq!(world.nodes[1].highest_term, Term(0), "rule 2: asking does not raise the term");
}

#[test]
fn a_killed_leader_is_replaced_after_the_promises_are_over() {
    for seed in 0..100 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        world.kill(old);
        let took = world.run_until_served(8000);
        assert!((1900..5500).contains(&took), "seed {seed}: {took} ms");
    }
}

#[test]
fn a_leader_that_resigns_is_replaced_at_once() {
    let mut took = Vec::new();
    for seed in 0..300 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        world.feed(old, Event::Stopping);
        world.run_until_over(old);
        took.push(world.run_until_served(3000));
        world.run(5000);
        assert_ne!(world.leader(), old, "a stopping node never stands again");
    }
    took.sort_unstable();
    assert!(took[299] < 1000, "{took:?}");
}

#[test]
fn a_leader_that_lost_its_majority_says_that_its_term_is_free() {
    let mut machine = leader();
    let due = leader::steps_down_at(&machine.node);
    assert!(!machine.is_serving(due), "its lease is over by then");
    let resigns = |message: &Message| matches!(message, Message::Resign { .. });
    let early = machine.handle(Event::Woke, BootMs(due.0 - 1), Draw(0));
    assert!(!sends(&early, resigns));
    let mut woken = machine.clone();
    let actions = woken.handle(Event::Woke, due, Draw(0));
    assert!(sends(&actions, |message| *message == Message::Resign { term: Term(1) }));
    assert_eq!(woken.standing(), Standing::Follower);
    // Neither an acknowledgement nor a vote that comes late makes it a leader of that term again.
    let granted = Message::VoteResp { term: Term(1), asked_at: BootMs(4900), granted: true };
    for late in [ack(Term(1), BootMs(5000)), granted] {
        machine.handle(heard(1, late), due, Draw(0));
        machine.handle(heard(2, late), due, Draw(0));
        assert_eq!((machine.standing(), machine.serves_until()), (Standing::Follower, BootMs(0)));
    }
}

#[test]
fn an_isolated_leader_stops_serving_before_another_can_start() {
    for seed in 0..100 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        world.isolate(u8::try_from(old).unwrap());
        world.run(2600);
        assert!(world.serving().is_empty());
        world.run_until_served(5000);
        assert_ne!(world.leader(), old);
        // Back again, it follows and disturbs nobody.
        world.cut.clear();
        let term = world.serving_term;
        world.run(20_000);
        assert_eq!(world.serving_term, term, "seed {seed}");
    }
}

#[test]
fn a_follower_that_comes_and_goes_does_not_move_the_term() {
    let mut world = World::started(3, 11);
    world.run_until_served(3000);
    world.run(5000);
    let term = world.serving_term;
    let follower = u8::try_from((world.leader() + 1) % 3).unwrap();
    for _ in 0..6 {
        world.isolate(follower);
        world.run(6000);
        world.cut.clear();
        world.run(4000);
    }
    assert_eq!(world.serving_term, term);
}

#[test]
fn the_far_end_of_a_chain_learns_who_leads() {
    let mut world = World::started(3, 12);
    world.run_until_served(3000);
    world.run(5000);
    let leader = world.leader();
    let far = (leader + 1) % 3;
    let (a, b) = (u8::try_from(leader).unwrap(), u8::try_from(far).unwrap());
    world.cut = vec![(a, b), (b, a)];
    let term = world.serving_term;
    world.run(30_000);
    assert_eq!(world.serving_term, term);
    let told = world.nodes[far].machine.as_ref().unwrap().leader();
    assert_eq!(told, Some((NodeId(a), term)));
}

#[test]
fn the_lightest_node_wins_nearly_always() {
    let (mut lightest, runs) = (0, 100);
    for seed in 0..runs {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        let (light, heavy) = ((old + 1) % 3, (old + 2) % 3);
        world.set_load(light, 100);
        world.set_load(heavy, 700);
        world.run(5000);
        world.kill(old);
        world.run_until_served(8000);
        lightest += u32::from(world.leader() == light);
    }
    assert!(lightest >= 98, "{lightest} of {runs}");
}

#[test]
fn no_vote_and_no_candidacy_leaves_before_it_is_on_disk() {
    let mut world = World::started(3, 5);
    for _ in 0..2000 {
        world.run(1);
        for (from, message) in std::mem::take(&mut world.sent) {
            let node = &world.nodes[usize::from(from.node.0)];
            match message {
                Message::Vote { term, .. } | Message::VoteResp { term, granted: true, .. } => {
                    assert!(node.disk.is_some_and(|ballot| ballot.term >= term), "{from:?} {message:?}");
                }
                Message::Ack { term, .. } => assert!(node.disk.is_some_and(|ballot| ballot.term >= term)),
                _ => {}
            }
        }
    }
    assert_eq!(world.serving().len(), 1);
}

#[test]
fn a_failed_write_means_no_vote_and_is_tried_again() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let asks =
        Event::Heard { from: Process { node: NodeId(1), boot: BootId(9) }, message: request(Term(1), BootMs(77)) };
    let after_window = BootMs(4000);
    let ballot = Ballot { term: Term(1), voted_for: Some(NodeId(1)) };
    let actions = machine.handle(asks, after_window, Draw(0));
    assert!(actions.contains(&Action::Save(ballot)));
    let actions = machine.handle(Event::SaveFailed(ballot), after_window, Draw(0));
    assert!(!actions.iter().any(|action| matches!(action, Action::Send { .. })), "{actions:?}");
    // Asked again, it tries to write again, and only then votes.
    let actions = machine.handle(asks, after_window, Draw(0));
    assert!(actions.contains(&Action::Save(ballot)));
    let actions = machine.handle(Event::Saved(ballot), after_window, Draw(0));
    let granted = Message::VoteResp { term: Term(1), asked_at: BootMs(77), granted: true };
    assert_eq!(actions, vec![Action::Send { to: NodeId(1), message: granted }]);
    // The vote of a term is given once.
    let rival =
        Event::Heard { from: Process { node: NodeId(2), boot: BootId(9) }, message: request(Term(1), BootMs(78)) };
    let actions = machine.handle(rival, after_window, Draw(0));
    assert!(matches!(
        &actions[..],
        [Action::Send { to: NodeId(2), message: Message::VoteResp { granted: false, .. } }]
    ));
}

#[test]
fn a_promise_is_kept_to_its_last_millisecond() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let leader = Process { node: NodeId(1), boot: BootId(9) };
    let beat = Event::Heard { from: leader, message: Message::Heartbeat { term: Term(1), sent_at: BootMs(5) } };
    machine.handle(beat, BootMs(10_000), Draw(0));
    machine.handle(Event::Saved(Ballot { term: Term(1), voted_for: Some(NodeId(1)) }), BootMs(10_000), Draw(0));
    let vote = |asked_at| Event::Heard {
        from: Process { node: NodeId(2), boot: BootId(9) },
        message: request(Term(2), BootMs(asked_at)),
    };
    let refused = machine.handle(vote(1), BootMs(13_000), Draw(0));
    assert!(!refused.iter().any(|action| matches!(action, Action::Save(_))));
    let granted = machine.handle(vote(2), BootMs(13_001), Draw(0));
    assert!(granted.iter().any(|action| matches!(action, Action::Save(_))));
}

#[test]
fn a_wiped_node_cannot_help_elect_a_second_leader_of_a_term() {
    for seed in 0..50 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(5000);
        let leader = world.leader();
        let (wiped, down) = ((leader + 1) % 3, (leader + 2) % 3);
        world.kill(down);
        world.kill(leader);
        world.kill(wiped);
        world.nodes[wiped].disk = None;
        world.nodes[wiped].highest_term = Term(0);
        world.run(10);
        world.start(wiped);
        world.start(down);
        world.run(30_000);
        assert!(world.serving().is_empty(), "it abstains while it does not know what it voted for");
        world.start(leader);
        world.run_until_served(10_000);
    }
}

fn peer(node: u8) -> Process {
    Process { node: NodeId(node), boot: BootId(9) }
}

fn heard(node: u8, message: Message) -> Event {
    Event::Heard { from: peer(node), message }
}

fn request(term: Term, asked_at: BootMs) -> Message {
    Message::Vote { term, asked_at, voids: None, dead: None }
}

fn ack(term: Term, sent_at: BootMs) -> Message {
    Message::Ack { term, sent_at, load: Load::NEUTRAL, ready: true }
}

fn sends(actions: &[Action], wanted: impl Fn(&Message) -> bool) -> bool {
    actions.iter().any(|action| matches!(action, Action::Send { message, .. } if wanted(message)))
}

/// A machine of three that won term 1 at `BootMs(5000)`.
fn leader() -> Machine {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    machine.handle(Event::Woke, BootMs(4000), Draw(0));
    machine.handle(Event::Woke, BootMs(4100), Draw(0));
    let answer = PreVoteResp {
        asker: BootId(1),
        round: 1,
        granted: true,
        ready: false,
        load: Load::NEUTRAL,
        role: MemberRole::Follower,
        ballot: BallotReport { missing_at_start: false, sound: true, term: Term(0) },
        leader: None,
    };
    machine.handle(heard(1, Message::PreVoteResp(answer)), BootMs(4110), Draw(0));
    machine.handle(Event::Saved(Ballot { term: Term(1), voted_for: Some(NodeId(0)) }), BootMs(4900), Draw(0));
    let granted = |asked_at| Message::VoteResp { term: Term(1), asked_at: BootMs(asked_at), granted: true };
    machine.handle(heard(1, granted(4899)), BootMs(4990), Draw(0));
    assert!(matches!(machine.standing(), Standing::Candidate), "an answer to another request is no vote");
    machine.handle(heard(1, granted(4900)), BootMs(5000), Draw(0));
    assert!(matches!(machine.standing(), Standing::Leader { .. }));
    machine
}

#[test]
fn the_lease_counts_from_the_send_time_of_an_acknowledged_heartbeat() {
    let mut machine = leader();
    assert!(!machine.is_serving(BootMs(5001)), "a new leader serves only after its first majority acknowledgement");
    machine.handle(heard(1, ack(Term(1), BootMs(5000))), BootMs(6500), Draw(0));
    assert_eq!(machine.serves_until(), BootMs(7500));
    assert!(machine.is_serving(BootMs(7499)));
    assert!(!machine.is_serving(BootMs(7500)));
    // An acknowledgement of something that was never sent extends nothing.
    machine.handle(heard(2, ack(Term(1), BootMs(99_000))), BootMs(6600), Draw(0));
    assert_eq!(machine.serves_until(), BootMs(7500));
}

#[test]
fn a_leader_that_is_not_acknowledged_steps_down_v_after_the_last_heartbeat_that_was() {
    let mut machine = leader();
    machine.handle(heard(1, ack(Term(1), BootMs(5000))), BootMs(5003), Draw(0));
    machine.handle(Event::Woke, BootMs(7999), Draw(0));
    assert!(matches!(machine.standing(), Standing::Leader { .. }));
    machine.handle(Event::Woke, BootMs(8000), Draw(0));
    assert!(matches!(machine.standing(), Standing::Follower));
}

#[test]
fn votes_that_come_too_late_do_not_count() {
    let mut machine = leader();
    // Deposed, it stands again; the answer takes longer than the network timeout.
    machine.handle(heard(1, ack(Term(2), BootMs(0))), BootMs(6000), Draw(0));
    assert!(matches!(machine.standing(), Standing::Follower));
    machine.handle(heard(2, Message::Nominate { term: Term(3) }), BootMs(7000), Draw(0));
    machine.handle(Event::Saved(Ballot { term: Term(3), voted_for: Some(NodeId(0)) }), BootMs(7000), Draw(0));
    let granted = Message::VoteResp { term: Term(3), asked_at: BootMs(7000), granted: true };
    machine.handle(heard(1, granted), BootMs(9001), Draw(0));
    assert!(!matches!(machine.standing(), Standing::Leader { .. }));
    machine.handle(heard(1, granted), BootMs(9000), Draw(0));
    assert!(matches!(machine.standing(), Standing::Leader { .. }));
}

/// What node `node` answers to question `round` of the first boot, telling this of its past.
fn tells(node: u8, round: u32, ballot: BallotReport) -> Event {
    heard(
        node,
        Message::PreVoteResp(PreVoteResp {
            asker: BootId(1),
            round,
            granted: false,
            ready: false,
            load: Load::NEUTRAL,
            role: MemberRole::Follower,
            ballot,
            leader: None,
        }),
    )
}

const SOUND: BallotReport = BallotReport { missing_at_start: false, sound: true, term: Term(9) };

#[test]
fn a_node_without_a_ballot_votes_for_nobody_until_it_knows_what_it_may_have_voted() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), None, BootMs(0));
    let vote = |term| heard(1, request(Term(term), BootMs(1)));
    let later = BootMs(60_000);
    let granted = |message: &Message| matches!(message, Message::VoteResp { granted: true, .. });
    machine.handle(Event::Woke, BootMs(59_000), Draw(0));
    machine.handle(Event::Woke, later, Draw(0));
    assert!(!machine.handle(vote(9), later, Draw(0)).iter().any(|action| matches!(action, Action::Save(_))));
    machine.handle(tells(1, 1, SOUND), later, Draw(0));
    let actions = machine.handle(tells(2, 1, SOUND), later, Draw(0));
    let abstains = Ballot { term: Term(9), voted_for: Some(NodeId(0)) };
    assert!(actions.contains(&Action::Save(abstains)), "{actions:?}");
    machine.handle(Event::Saved(abstains), later, Draw(0));
    // In the highest term it heard of it abstains, in the next it votes.
    assert!(!sends(&machine.handle(vote(9), later, Draw(0)), granted));
    machine.handle(vote(10), later, Draw(0));
    let votes = Ballot { term: Term(10), voted_for: Some(NodeId(1)) };
    assert!(sends(&machine.handle(Event::Saved(votes), later, Draw(0)), granted));
}

/// A grant that was given before the ballot was lost may still elect somebody, so the others may not know its term yet.
#[test]
fn what_is_told_right_after_the_start_does_not_settle_a_lost_ballot() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), None, BootMs(0));
    let saves = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Save(_)));
    machine.handle(Event::Woke, BootMs(2499), Draw(0));
    machine.handle(tells(1, 1, SOUND), BootMs(2510), Draw(0));
    assert!(!saves(&machine.handle(tells(2, 1, SOUND), BootMs(9000), Draw(0))), "asked too early");
    machine.handle(Event::Woke, BootMs(9100), Draw(0));
    machine.handle(tells(1, 2, SOUND), BootMs(9101), Draw(0));
    assert!(!saves(&machine.handle(tells(2, 1, SOUND), BootMs(9101), Draw(0))), "an answer to the early question");
    assert!(saves(&machine.handle(tells(2, 2, SOUND), BootMs(9102), Draw(0))));
}

#[test]
fn two_nodes_that_lost_their_ballots_do_not_ask_each_other_without_end() {
    let mut world = World::new(3, 1);
    for node in 0..2 {
        world.nodes[node].disk = None;
        world.start(node);
    }
    world.run(6000);
    let questions = world.sent.iter().filter(|(_, message)| matches!(message, Message::PreVote { .. })).count();
    assert!(questions < 200, "{questions} questions in six seconds");
}

#[test]
fn a_node_whose_ballot_is_settled_says_yes_only_when_it_is_on_disk() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), None, BootMs(0));
    let later = BootMs(4000);
    machine.handle(Event::Woke, BootMs(3500), Draw(0));
    machine.handle(Event::Woke, later, Draw(0));
    let wiped = BallotReport { missing_at_start: true, sound: false, term: Term(0) };
    machine.handle(tells(1, 1, wiped), later, Draw(0));
    let actions = machine.handle(tells(2, 1, wiped), later, Draw(0));
    assert!(actions.contains(&Action::Save(Ballot::default())), "{actions:?}");
    let asks = || heard(2, Message::PreVote { round: 4, term: Term(1), dead: None });
    let yes = |message: &Message| matches!(message, Message::PreVoteResp(PreVoteResp { granted: true, .. }));
    assert!(!sends(&machine.handle(asks(), later, Draw(0)), yes));
    machine.handle(Event::Saved(Ballot::default()), later, Draw(0));
    assert!(sends(&machine.handle(asks(), later, Draw(0)), yes));
}

#[test]
fn a_wiped_node_that_follows_a_leader_is_of_use_again() {
    for seed in 0..50 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(5000);
        let leader = world.leader();
        let (wiped, other) = ((leader + 1) % 3, (leader + 2) % 3);
        world.kill(wiped);
        world.nodes[wiped].disk = None;
        world.nodes[wiped].highest_term = Term(0);
        world.run(10);
        world.start(wiped);
        world.run(6000);
        // Without the third, the lease depends on the acknowledgements of the one that lost its ballot.
        world.kill(other);
        world.run(10_000);
        assert_eq!(world.serving(), [leader], "seed {seed}");
    }
}

#[test]
fn a_cluster_whose_ballots_are_all_gone_elects_again() {
    for seed in 0..50 {
        let mut world = World::new(3, seed);
        for node in 0..3 {
            world.nodes[node].disk = None;
            world.start(node);
        }
        assert!(world.run_until_served(20_000) > 2500);
    }
}

#[test]
fn a_node_that_lost_the_vote_of_the_first_election_and_one_that_is_new_do_not_elect_again() {
    let mut world = World::new(3, 1);
    world.start(0);
    world.start(2);
    world.run_until_served(6000);
    let leader = world.leader();
    let voter = 2 - leader;
    world.isolate(u8::try_from(leader).unwrap());
    world.kill(voter);
    world.nodes[voter].disk = None;
    world.nodes[voter].highest_term = Term(0);
    world.run(10);
    world.start(voter);
    world.start(1);
    world.run(60_000);
    assert_eq!(world.leaders.len(), 1, "only the first term has a leader");
}

#[test]
fn a_term_far_beyond_all_others_and_a_node_that_is_no_member_are_ignored() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let far = Term(u64::MAX);
    let no_member = Process { node: NodeId(200), boot: BootId(1) };
    let answer = PreVoteResp {
        asker: BootId(1),
        round: 0,
        granted: false,
        ready: false,
        load: Load::NEUTRAL,
        role: MemberRole::Follower,
        ballot: SOUND,
        leader: Some((NodeId(200), Term(9))),
    };
    for message in [
        Message::Heartbeat { term: far, sent_at: BootMs(1) },
        request(far, BootMs(1)),
        Message::Nominate { term: far },
        Message::PreVoteResp(PreVoteResp { ballot: BallotReport { term: far, ..SOUND }, leader: None, ..answer }),
        Message::PreVoteResp(answer),
        Message::PreVote { round: 1, term: Term(1), dead: Some(no_member) },
        Message::Vote { term: Term(1), asked_at: BootMs(1), voids: None, dead: Some(no_member) },
    ] {
        let before = machine.clone();
        assert_eq!(machine.handle(heard(1, message), BootMs(5000), Draw(0)).len(), 1, "only the window's end is noted");
        assert_eq!(machine.term(), before.term());
        assert_eq!(machine.leader(), None);
        machine = before;
    }
}

#[test]
fn an_answer_to_an_earlier_start_of_this_node_says_nothing() {
    let mut machine = Machine::new(defaults(0, 3), BootId(2), Some(Ballot::default()), BootMs(0));
    for node in [1, 2] {
        let answer = PreVoteResp {
            asker: BootId(1),
            round: 0,
            granted: false,
            ready: false,
            load: Load::NEUTRAL,
            role: MemberRole::Follower,
            ballot: BallotReport { missing_at_start: false, sound: true, term: Term(0) },
            leader: None,
        };
        machine.handle(heard(node, Message::PreVoteResp(answer)), BootMs(10), Draw(0));
    }
    let actions = machine.handle(heard(1, request(Term(1), BootMs(1))), BootMs(20), Draw(0));
    assert!(!actions.iter().any(|action| matches!(action, Action::Save(_))), "the boot window still holds");
}

#[test]
fn a_resignation_voids_only_the_promise_to_that_very_term() {
    let free_at = |resigned: u64| {
        let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
        machine.handle(heard(1, Message::Heartbeat { term: Term(5), sent_at: BootMs(1) }), BootMs(9000), Draw(0));
        machine.handle(Event::Saved(Ballot { term: Term(5), voted_for: Some(NodeId(1)) }), BootMs(9000), Draw(0));
        machine.handle(heard(1, Message::Resign { term: Term(resigned) }), BootMs(9100), Draw(0));
        let vote = heard(2, request(Term(6), BootMs(1)));
        machine.handle(vote, BootMs(9200), Draw(0)).iter().any(|action| matches!(action, Action::Save(_)))
    };
    assert!(free_at(5));
    assert!(!free_at(4));
    assert!(!free_at(6));
}

#[test]
fn a_leader_that_resigns_does_not_leave_a_fresh_follower_waiting_for_its_boot_window() {
    let mut took = Vec::new();
    for seed in 0..300 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(10_000);
        let old = world.leader();
        let restarted = (old + 1) % 3;
        world.kill(restarted);
        world.run(20);
        world.start(restarted);
        world.run(500);
        assert_eq!(world.leader(), old);
        world.feed(old, Event::Stopping);
        world.run_until_over(old);
        world.kill(old);
        took.push(world.run_until_served(4000));
    }
    took.sort_unstable();
    assert!(took[299] < 1000, "{took:?}");
}

#[test]
fn a_leader_whose_links_end_is_replaced_in_a_moment() {
    for orderly_ends in [1000, 500] {
        let mut took = Vec::new();
        for seed in 0..400 {
            let mut world = World::started(3, seed);
            world.orderly_ends = orderly_ends;
            world.run_until_served(3000);
            world.run(10_000);
            let old = world.leader();
            world.kill(old);
            world.run(1);
            let seen = world.queue.values().any(|arrival| matches!(arrival, Arrival::Ended { .. }));
            if seen {
                took.push(world.run_until_served(8000));
            }
        }
        took.sort_unstable();
        let (median, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        assert!(median < 100 && late < 300, "{orderly_ends}: {took:?}");
    }
}

#[test]
fn the_end_of_another_process_voids_no_promise_and_no_end_ever_gives_a_vote_back() {
    let leader = peer(1);
    let follower = || {
        let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
        machine.handle(heard(2, request(Term(4), BootMs(1))), BootMs(8000), Draw(0));
        machine.handle(Event::Saved(Ballot { term: Term(4), voted_for: Some(NodeId(2)) }), BootMs(8000), Draw(0));
        let beat = Message::Heartbeat { term: Term(4), sent_at: BootMs(5) };
        machine.handle(Event::Heard { from: leader, message: beat }, BootMs(9000), Draw(0));
        machine
    };
    let votes_in = |machine: &mut Machine, term| {
        let actions = machine.handle(heard(2, request(Term(term), BootMs(2))), BootMs(9010), Draw(0));
        actions.iter().any(|action| matches!(action, Action::Save(_)))
    };
    for (ended, free) in
        [(leader, true), (Process { boot: BootId(8), ..leader }, false), (Process { node: NodeId(2), ..leader }, false)]
    {
        let mut machine = follower();
        machine.handle(Event::EndOfStream(ended), BootMs(9005), Draw(0));
        assert_eq!(votes_in(&mut machine, 5), free, "{ended:?}");
    }
    let mut machine = follower();
    machine.handle(Event::EndOfStream(leader), BootMs(9005), Draw(0));
    let rival = Process { node: NodeId(1), boot: BootId(99) };
    let message = request(Term(4), BootMs(2));
    let actions = machine.handle(Event::Heard { from: rival, message }, BootMs(9010), Draw(0));
    assert!(!sends(&actions, |message| matches!(message, Message::VoteResp { granted: true, .. })), "voted already");
}

#[test]
fn an_end_leaves_the_boot_window_as_it_is() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    machine.handle(heard(1, Message::Heartbeat { term: Term(1), sent_at: BootMs(5) }), BootMs(100), Draw(0));
    machine.handle(Event::Saved(Ballot { term: Term(1), voted_for: Some(NodeId(1)) }), BootMs(100), Draw(0));
    machine.handle(Event::EndOfStream(peer(1)), BootMs(200), Draw(0));
    let actions = machine.handle(heard(2, request(Term(2), BootMs(2))), BootMs(210), Draw(0));
    assert!(!actions.iter().any(|action| matches!(action, Action::Save(_))));
}

#[test]
fn frames_of_a_dead_process_are_ignored_and_a_living_one_ends_the_trust() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    let beat = heard(1, Message::Heartbeat { term: Term(1), sent_at: BootMs(5) });
    machine.handle(beat, BootMs(9000), Draw(0));
    machine.handle(Event::Saved(Ballot { term: Term(1), voted_for: Some(NodeId(1)) }), BootMs(9000), Draw(0));
    machine.handle(Event::EndOfStream(peer(1)), BootMs(9100), Draw(0));
    assert_eq!(machine.handle(beat, BootMs(9101), Draw(0)), []);
    let notes = machine.handle(Event::Greeted(peer(1)), BootMs(9200), Draw(0));
    assert_eq!(notes, [Action::Note(Note::EndOfStreamWasNoDeath { node: NodeId(1) })]);
    machine.handle(beat, BootMs(9300), Draw(0));
    machine.handle(Event::EndOfStream(peer(1)), BootMs(9400), Draw(0));
    let actions = machine.handle(heard(2, request(Term(2), BootMs(2))), BootMs(9410), Draw(0));
    assert!(!actions.iter().any(|action| matches!(action, Action::Save(_))), "ends are not believed any more");
}

#[test]
fn a_leader_that_reads_of_its_own_death_refuses() {
    let mut machine = leader();
    let me = Process { node: NodeId(0), boot: BootId(1) };
    let message = Message::Vote { term: Term(2), asked_at: BootMs(1), voids: None, dead: Some(me) };
    let actions = machine.handle(heard(1, message), BootMs(5100), Draw(0));
    assert!(actions.contains(&Action::Note(Note::EndOfStreamWasNoDeath { node: NodeId(0) })));
    assert!(matches!(machine.standing(), Standing::Leader { .. }));
}

#[test]
fn a_heavy_leader_hands_over_to_a_light_follower_and_it_stays_there() {
    for seed in 0..50 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(1000);
        let old = world.leader();
        let light = (old + 1) % 3;
        for node in 0..3 {
            world.set_load(node, if node == light { 100 } else { 950 });
        }
        world.run(40_000);
        assert_eq!(world.leader(), light, "seed {seed}");
        let term = world.serving_term;
        world.run(60_000);
        assert_eq!(world.serving_term, term, "seed {seed}: and there it stays");
    }
}

#[test]
fn a_leader_that_is_not_heavy_for_long_keeps_its_place() {
    let mut world = World::started(3, 5);
    world.run_until_served(3000);
    world.run(30_000);
    let (leader, term) = (world.leader(), world.serving_term);
    for spike in 0..20 {
        for node in 0..3 {
            world.set_load(node, if node == leader && spike % 2 == 0 { 950 } else { 300 });
        }
        world.run(3500);
    }
    assert_eq!(world.serving_term, term);
}

#[test]
fn a_handover_leaves_a_gap_of_milliseconds() {
    let mut gaps = Vec::new();
    for seed in 0..200 {
        let mut world = World::started(3, seed);
        world.run_until_served(3000);
        world.run(5000);
        let old = world.leader();
        world.feed(old, Event::Stopping);
        while !world.serving().is_empty() {
            world.run(1);
        }
        gaps.push(world.run_until_served(3000));
    }
    gaps.sort_unstable();
    assert!(gaps[198] <= 100, "{gaps:?}");
}

#[test]
fn a_delayed_word_to_stand_is_ignored() {
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    machine.handle(heard(1, Message::Heartbeat { term: Term(5), sent_at: BootMs(1) }), BootMs(9000), Draw(0));
    machine.handle(Event::Saved(Ballot { term: Term(5), voted_for: Some(NodeId(1)) }), BootMs(9000), Draw(0));
    for (from, term) in [(1, 4), (1, 6), (2, 5)] {
        let actions = machine.handle(heard(from, Message::StandNow { term: Term(term) }), BootMs(9100), Draw(0));
        assert_eq!(actions, [], "from {from} in {term}");
    }
    let actions = machine.handle(heard(1, Message::StandNow { term: Term(5) }), BootMs(9100), Draw(0));
    assert!(actions.contains(&Action::Save(Ballot { term: Term(6), voted_for: Some(NodeId(0)) })));
}

#[test]
fn a_handover_voids_only_the_promise_to_that_very_term() {
    let free_with = |voids: u64| {
        let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
        machine.handle(heard(1, Message::Heartbeat { term: Term(5), sent_at: BootMs(1) }), BootMs(9000), Draw(0));
        machine.handle(Event::Saved(Ballot { term: Term(5), voted_for: Some(NodeId(1)) }), BootMs(9000), Draw(0));
        let message = Message::Vote { term: Term(9), asked_at: BootMs(1), voids: Some(Term(voids)), dead: None };
        let actions = machine.handle(heard(2, message), BootMs(9100), Draw(0));
        actions.iter().any(|action| matches!(action, Action::Save(_)))
    };
    assert!(free_with(5));
    assert!(!free_with(4));
    assert!(!free_with(8));
}

/// Everything at once: kills, restarts, pauses, cuts, losses and clocks that differ by up to 5%. The assertions are the
/// invariants in `World::check` and `World::feed`; at the end the faults stop and a leader must serve again.
#[test]
fn the_invariants_hold_under_random_faults() {
    for seed in 0..300 {
        let nodes = [1, 2, 3, 3, 3, 5][usize::try_from(seed % 6).unwrap()];
        let mut world = World::new(nodes, seed);
        for node in 0..nodes {
            world.nodes[node].rate = world.rng.random_range(975..=1025);
            world.start(node);
        }
        world.loss = [0, 0, 20, 100][world.rng.random_range(0..4)];
        world.stalls = true;
        world.orderly_ends = [0, 500, 1000][world.rng.random_range(0..3)];
        for _ in 0..60 {
            let node = world.rng.random_range(0..nodes);
            match world.rng.random_range(0..10) {
                0 | 1 if world.nodes[node].machine.is_some() => world.kill(node),
                0..=3 if world.nodes[node].machine.is_none() => world.start(node),
                4 => {
                    world.nodes[node].paused_until =
                        world.nodes[node].paused_until.max(world.now + world.rng.random_range(100..9000));
                }
                5 => world.isolate(u8::try_from(node).unwrap()),
                6 => {
                    let other = world.rng.random_range(0..nodes);
                    world.cut.push((u8::try_from(node).unwrap(), u8::try_from(other).unwrap()));
                }
                7 => world.cut.clear(),
                8 => world.feed(node, Event::LoadSampled(Load::from_permille(u16::try_from(node * 300).unwrap()))),
                _ => {}
            }
            let ms = world.rng.random_range(1..3000);
            world.run(ms);
        }
        world.cut.clear();
        world.loss = 0;
        world.stalls = false;
        for node in 0..nodes {
            if world.nodes[node].machine.is_none() {
                world.start(node);
            }
        }
        world.run(9000);
        let took = world.run_until_served(15_000);
        assert!(took < 15_000, "seed {seed}");
    }
}

#[test]
fn a_rebased_machine_keeps_what_still_binds_it_and_forgets_what_is_over() {
    let (now, mut passed) = (BootMs(9000), [0; MAX_NODES]);
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    machine.handle(heard(1, Message::Heartbeat { term: Term(5), sent_at: BootMs(1) }), now, Draw(0));
    machine.handle(Event::Saved(Ballot { term: Term(5), voted_for: None }), now, Draw(0));
    passed[0] = 3000;
    let bound = machine.rebased(now, &passed);
    assert_eq!(bound.node.following.promise.map(|promise| promise.until), Some(now.plus(1)));
    passed[0] = 3001;
    assert_eq!(machine.rebased(now, &passed).node.following.promise, None);
    passed[0] = 5000;
    let free = machine.rebased(now, &passed);
    passed[0] = 8000;
    assert_eq!(machine.rebased(now, &passed), free, "it does not matter how long ago it ended");
}
