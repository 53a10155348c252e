//! Replicas that talk over a network that loses, delays and reorders, and lead in turn.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::message::{Cursor, Message};
use super::replica::{Output, Replica};
use super::store::Store;
use crate::registry::{Coverage, RowNo, Rows};
use rollcall_core::{BootMs, Term, Username};
use rollcall_election::NodeId;

const NODES: usize = 3;

fn id(place: usize) -> NodeId {
    NodeId(u8::try_from(place).expect("there are three"))
}

/// A node's tables, as simple as they can be: names of users.
#[derive(Default)]
struct Tables {
    users: BTreeMap<Username, RowNo>,
    fresh: Vec<(RowNo, Username)>,
    tracked: bool,
    last: RowNo,
    was_complete: bool,
    /// In which term it was listed.
    listed: Option<Term>,
}

impl Tables {
    fn insert(&mut self, name: &Username) -> RowNo {
        if let Some(no) = self.users.get(name) {
            return *no;
        }
        self.last = RowNo::after(self.last);
        self.users.insert(name.clone(), self.last);
        if self.tracked {
            self.fresh.push((self.last, name.clone()));
        }
        self.last
    }
}

impl Store for Tables {
    fn merge(&mut self, rows: &Rows) {
        for row in &rows.users {
            self.insert(&row.username);
        }
    }

    fn take_changes(&mut self) -> Option<(Rows, Option<RowNo>)> {
        // One row a batch, so that much can go wrong.
        (!self.fresh.is_empty()).then(|| self.fresh.remove(0)).map(|(no, name)| (Rows::of_user(name), Some(no)))
    }

    fn clients_after(&mut self, _: Option<&Username>) -> Rows {
        Rows::default()
    }

    fn users_after(&mut self, after: Option<&Username>) -> Rows {
        let next = self.users.keys().find(|name| after.is_none_or(|after| *name > after));
        next.map(|name| Rows::of_user(name.clone())).unwrap_or_default()
    }

    fn may_claim_complete(&self) -> bool {
        self.was_complete
    }

    fn note_complete(&mut self) {
        self.was_complete = true;
    }

    fn users_in(&self, term: Term) -> Coverage {
        if self.listed == Some(term) { Coverage::Complete } else { Coverage::Partial }
    }
}

struct Node {
    replica: Replica,
    tables: Tables,
    up: bool,
    /// On its disk.
    term: Term,
}

/// What one step does.
#[derive(Clone, Debug)]
enum Step {
    /// A few messages arrive, from the n-th under way on.
    Deliver(usize),
    /// What is under way to a node is lost.
    Lose(u8),
    /// Everything arrives, and what it leads to.
    Settle,
    Register,
    Tick(u64),
    /// Another node takes over; the old leader does not hear of it for now.
    Elect(u8),
    /// A node learns of the latest term; if it led, it does not any more.
    Learn(u8),
    Kill(u8),
    Start(u8),
    /// The leader reads the bucket.
    List,
}

struct World {
    nodes: Vec<Node>,
    under_way: Vec<(NodeId, NodeId, u64, Message)>,
    /// Which start of each node it is; what was sent to an earlier one is lost.
    boots: [u64; NODES],
    now: BootMs,
    term: Term,
    leader: Option<usize>,
    /// In the bucket.
    stored: BTreeSet<Username>,
    waiting: Vec<(Username, RowNo)>,
    acknowledged: BTreeSet<Username>,
    leader_lists: bool,
    /// How often a leader could list its users without reading the bucket.
    lists_by_others: u32,
    /// Which leaders found that they know who is online as well as anybody.
    clients_learned: Vec<(usize, Term)>,
}

impl World {
    fn new() -> Self {
        let node = |place| Node {
            replica: Replica::new(id(place), NODES, 0),
            tables: Tables::default(),
            up: true,
            term: Term(0),
        };
        Self {
            nodes: (0..NODES).map(node).collect(),
            under_way: Vec::new(),
            boots: [0; NODES],
            now: BootMs(0),
            term: Term(0),
            leader: None,
            stored: BTreeSet::new(),
            waiting: Vec::new(),
            acknowledged: BTreeSet::new(),
            leader_lists: false,
            lists_by_others: 0,
            clients_learned: Vec::new(),
        }
    }

    /// A cluster that has been running for a while.
    fn settled() -> Self {
        let mut world = Self::new();
        world.elect(0);
        (1..NODES).for_each(|node| world.step(&Step::Learn(id(node).0)));
        world.list();
        world.settle(20);
        world
    }

    fn perform(&mut self, by: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(to, message) => {
                    let message = Message::decode(&message.encode()).expect("reads back");
                    let from = id(by);
                    for to in to {
                        self.under_way.push((from, to, self.boots[usize::from(to.0)], message.clone()));
                    }
                }
                Output::Led => {}
                Output::Clients(term, coverage) => {
                    assert_eq!(coverage, Coverage::UpToDate);
                    self.clients_learned.push((by, term));
                }
                Output::Confirmed(upto) => {
                    if self.leader == Some(by) {
                        let (known, rest) =
                            std::mem::take(&mut self.waiting).into_iter().partition(|(_, no)| *no <= upto);
                        self.waiting = rest;
                        let known: Vec<(Username, RowNo)> = known;
                        self.acknowledged.extend(known.into_iter().map(|(name, _)| name));
                    }
                }
                Output::Users(term, coverage) => {
                    assert_eq!(coverage, Coverage::Certain);
                    if self.leader == Some(by) && term == self.term {
                        self.lists_by_others += 1;
                        self.look(by);
                    }
                }
            }
        }
    }

    /// A leader whose list is whole lists everybody who was ever acknowledged.
    fn look(&mut self, leader: usize) {
        self.leader_lists = true;
        let known = &self.nodes[leader].tables.users;
        let missing: Vec<&Username> = self.acknowledged.iter().filter(|name| !known.contains_key(*name)).collect();
        assert!(missing.is_empty(), "node {leader} leads term {:?} and does not know {missing:?}", self.term);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Deliver(n) if !self.under_way.is_empty() => {
                let place = n % self.under_way.len();
                for _ in 0..=n % 5 {
                    if place < self.under_way.len() {
                        let (from, to, boot, message) = self.under_way.remove(place);
                        self.deliver(from, to, boot, message);
                    }
                }
            }
            Step::Lose(node) => self.under_way.retain(|(_, to, ..)| usize::from(to.0) != usize::from(node) % NODES),
            Step::Settle => self.settle(4),
            Step::Register => self.register(),
            Step::Tick(ms) => self.tick(ms),
            Step::Elect(node) => self.elect(usize::from(node) % NODES),
            Step::Learn(node) => {
                let node = usize::from(node) % NODES;
                if self.leader != Some(node) && self.nodes[node].up {
                    self.nodes[node].term = self.term;
                    self.follow(node);
                }
            }
            Step::Kill(node) => self.kill(usize::from(node) % NODES),
            Step::Start(node) => self.nodes[usize::from(node) % NODES].up = true,
            Step::List => self.list(),
            Step::Deliver(_) => {}
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, boot: u64, message: Message) {
        let place = usize::from(to.0);
        let node = &mut self.nodes[place];
        if node.up && boot == self.boots[place] {
            node.replica.remember(Some(node.term));
            let outputs = node.replica.heard(from, message, &mut node.tables, self.now);
            self.perform(place, outputs);
        }
    }

    fn register(&mut self) {
        let Some(leader) = self.leader else { return };
        // Each before all others, where a pull has passed already.
        let name = Username::parse(&format!("u{:04}", 9999 - self.stored.len())).unwrap();
        self.stored.insert(name.clone());
        let node = &mut self.nodes[leader];
        let no = node.tables.insert(&name);
        self.waiting.push((name, no));
        let outputs = node.replica.flush(&mut node.tables);
        self.perform(leader, outputs);
    }

    fn tick(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for place in 0..NODES {
            let node = &mut self.nodes[place];
            if node.up {
                let serves = self.leader == Some(place);
                let outputs = node.replica.tick(&mut node.tables, serves, self.now);
                self.perform(place, outputs);
            }
        }
    }

    fn elect(&mut self, place: usize) {
        let up = self.nodes.iter().filter(|node| node.up).count();
        if !self.nodes[place].up || up <= NODES / 2 {
            return;
        }
        // Nobody who leads already stands.
        self.follow(place);
        self.term = Term(self.term.0 + 1);
        (self.leader, self.leader_lists) = (Some(place), false);
        self.waiting.clear();
        // Of the others, those who made up the majority know of it.
        let voters = (place..place + NODES).map(|place| place % NODES).filter(|place| self.nodes[*place].up);
        for voter in voters.take(NODES / 2 + 1).collect::<Vec<_>>() {
            self.nodes[voter].term = self.term;
        }
        let node = &mut self.nodes[place];
        node.tables.tracked = true;
        let outputs = node.replica.lead(self.term, &mut node.tables, self.now);
        self.perform(place, outputs);
    }

    fn follow(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        node.replica.follow(&mut node.tables);
        node.tables.tracked = false;
        node.tables.fresh.clear();
    }

    fn kill(&mut self, place: usize) {
        let term = self.nodes[place].term;
        self.boots[place] += 1;
        let drawn = self.boots[place] << 32;
        self.nodes[place] =
            Node { replica: Replica::new(id(place), NODES, drawn), tables: Tables::default(), up: false, term };
        if self.leader == Some(place) {
            self.leader = None;
        }
    }

    fn list(&mut self) {
        let Some(leader) = self.leader else { return };
        let node = &mut self.nodes[leader];
        self.stored.iter().for_each(|name| {
            node.tables.insert(name);
        });
        node.tables.was_complete = true;
        node.tables.listed = Some(self.term);
        self.look(leader);
    }

    /// What two nodes have to say to each other arrives, and nothing else.
    fn talk(&mut self, one: usize, other: usize) {
        let pair = [(id(one), id(other)), (id(other), id(one))];
        while let Some(place) = self.under_way.iter().position(|(from, to, ..)| pair.contains(&(*from, *to))) {
            let (from, to, boot, message) = self.under_way.remove(place);
            self.deliver(from, to, boot, message);
        }
    }

    /// Kills nodes and starts them again: they know nothing.
    fn restart(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.kill(*node);
            self.nodes[*node].up = true;
        }
    }

    /// Nothing is lost any more for a while.
    fn settle(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.tick(50);
            while let Some((from, to, boot, message)) = (!self.under_way.is_empty()).then(|| self.under_way.remove(0)) {
                self.deliver(from, to, boot, message);
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => any::<usize>().prop_map(Step::Deliver),
        3 => any::<u8>().prop_map(Step::Lose),
        6 => Just(Step::Register),
        4 => (1_u64..400).prop_map(Step::Tick),
        3 => any::<u8>().prop_map(Step::Elect),
        2 => any::<u8>().prop_map(Step::Learn),
        1 => any::<u8>().prop_map(Step::Kill),
        2 => any::<u8>().prop_map(Step::Start),
        2 => Just(Step::Settle),
        1 => Just(Step::List),
    ];
    proptest::collection::vec(step, 20..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// I5, with everything that a network and processes can do to it.
    #[test]
    fn a_leader_whose_list_is_whole_knows_every_acknowledged_registration(steps in steps()) {
        let mut world = World::settled();
        for step in &steps {
            world.step(step);
        }
    }

    #[test]
    fn once_nothing_is_lost_everybody_is_ready_to_lead(steps in steps(), leader in 0..NODES) {
        let mut world = World::settled();
        for step in &steps {
            world.step(step);
        }
        world.nodes.iter_mut().for_each(|node| node.up = true);
        world.elect(leader);
        (0..NODES).filter(|node| *node != leader).for_each(|node| world.step(&Step::Learn(id(node).0)));
        world.settle(100);
        if !world.leader_lists {
            world.list();
        }
        world.register();
        world.settle(100);
        prop_assert!(!world.acknowledged.is_empty());
        prop_assert!(world.waiting.is_empty(), "not confirmed: {:?}", world.waiting);
        for (place, node) in world.nodes.iter().enumerate() {
            // What was never acknowledged may be known to some only, until a leader reads the bucket.
            let missing: Vec<&Username> =
                world.acknowledged.iter().filter(|name| !node.tables.users.contains_key(*name)).collect();
            prop_assert!(missing.is_empty(), "node {} does not know {:?}", place, missing);
            prop_assert!(node.tables.was_complete);
            prop_assert_eq!(node.replica.may_take_over(), place != leader);
        }
        // The next one takes over without the bucket.
        let (next, before) = ((leader + 1) % NODES, world.lists_by_others);
        world.elect(next);
        (0..NODES).filter(|node| *node != next).for_each(|node| world.step(&Step::Learn(id(node).0)));
        world.settle(100);
        prop_assert_eq!(world.lists_by_others, before + 1);
    }
}

#[test]
fn a_follower_that_did_not_run_for_a_while_is_not_ready_until_it_was_told_everything_again() {
    let mut world = World::settled();
    let ready = |world: &World, node: usize| world.nodes[node].replica.may_take_over();
    assert!(ready(&world, 1) && ready(&world, 2));
    for (passed, stalled) in [(900, false), (1100, true)] {
        world.now = world.now.plus(passed);
        let node = &mut world.nodes[1];
        let outputs = node.replica.tick(&mut node.tables, false, world.now);
        let asks = outputs.iter().any(|output| {
            let everything = |message: &Message| matches!(message, Message::Pull { from: Cursor::Clients(None), .. });
            matches!(output, Output::Send(_, message) if everything(message))
        });
        assert_eq!((asks, ready(&world, 1)), (stalled, !stalled), "after {passed} ms");
        world.perform(1, outputs);
    }
    world.settle(20);
    assert!(ready(&world, 1));
}

/// The answer to a question of the process that was this node before may come to the next one.
#[test]
fn a_process_that_is_started_anew_asks_nothing_with_a_number_of_the_one_before() {
    let mut world = World::settled();
    let mut asked = std::collections::HashSet::new();
    for _ in 0..3 {
        world.restart(&[1]);
        world.under_way.clear();
        world.elect(1);
        let asks: Vec<u64> = world
            .under_way
            .iter()
            .filter_map(|(from, _, _, message)| match message {
                Message::Pull { ask, .. } if *from == id(1) => Some(*ask),
                _ => None,
            })
            .collect();
        assert_eq!(asks.len(), NODES - 1);
        assert!(asks.iter().all(|ask| asked.insert(*ask)), "{asks:?} again");
    }
}

#[test]
fn batches_that_are_missed_while_a_node_pulls_everything_do_not_make_it_begin_again() {
    let mut world = World::settled();
    (0..9).for_each(|_| world.register());
    world.kill(1);
    world.settle(5);
    world.nodes[1].up = true;
    world.tick(400);
    let mut from_the_start = 0;
    for round in 0..600 {
        world.tick(50);
        if round % 3 == 0 {
            world.register();
        }
        // It is told one row at a time, and the leader's batches to it are lost as long as it pulls.
        let mut parts = 0;
        for (from, to, boot, message) in std::mem::take(&mut world.under_way) {
            from_the_start +=
                usize::from(from.0 == 1 && matches!(message, Message::Pull { from: Cursor::Clients(None), .. }));
            parts += usize::from(to.0 == 1 && matches!(message, Message::Part { .. }));
            if to.0 == 1 && parts > 1 {
                world.under_way.push((from, to, boot, message));
            } else if to.0 != 1 || !matches!(message, Message::Batch { .. }) || world.nodes[1].replica.may_take_over() {
                world.deliver(from, to, boot, message);
            }
        }
        if world.nodes[1].replica.may_take_over() {
            break;
        }
    }
    assert!(world.nodes[1].replica.may_take_over(), "it comes to an end");
    assert_eq!(from_the_start, 1);
    world.settle(5);
    let users = |node: usize| world.nodes[node].tables.users.keys().collect::<Vec<_>>();
    assert_eq!(users(1), users(0));
}

/// A cluster that was just started: nobody has listed the bucket yet.
#[test]
fn a_copy_of_a_leader_whose_list_is_not_whole_is_none_of_all_users() {
    let mut world = World::new();
    world.elect(0);
    (1..NODES).for_each(|node| world.step(&Step::Learn(id(node).0)));
    world.settle(20);
    for node in &world.nodes {
        let freshness = node.replica.freshness();
        assert!(freshness.clients.is_some_and(|at| world.now.since(at) < 400), "{freshness:?}");
        assert_eq!(freshness.users, None);
    }
    world.list();
    world.settle(20);
    for node in &world.nodes {
        let freshness = node.replica.freshness();
        assert!(freshness.users.is_some() && freshness.users == freshness.clients, "{freshness:?}");
    }
    // The next leader does not know whether its list is whole until a majority has told it.
    let before = world.nodes[2].replica.freshness().users;
    world.elect(1);
    world.step(&Step::Learn(2));
    world.tick(50);
    assert_eq!(world.nodes[2].replica.freshness().users, before);
    assert_eq!(world.nodes[1].replica.freshness().users, before);
}

#[test]
fn a_new_leader_that_knows_nobody_waits_for_a_node_that_may_know_somebody() {
    let mut world = World::settled();
    world.restart(&[1, 2]);
    world.clients_learned.clear();
    world.elect(1);
    // Who was started just now has nothing to tell, though they are a majority.
    world.talk(1, 2);
    assert_eq!(world.clients_learned, []);
    world.talk(1, 0);
    assert_eq!(world.clients_learned, [(1, world.term)]);
}

#[test]
fn a_new_leader_waits_for_nobody_once_a_majority_with_a_complete_node_has_told() {
    let mut world = World::settled();
    world.restart(&[1]);
    world.kill(0);
    world.clients_learned.clear();
    world.elect(1);
    world.talk(1, 2);
    assert_eq!(world.clients_learned, [(1, world.term)]);
}

#[test]
fn a_new_leader_waits_a_second_for_nodes_that_do_not_tell_and_all_tell_at_a_first_start() {
    let mut world = World::settled();
    world.restart(&[1, 2]);
    world.kill(0);
    world.clients_learned.clear();
    world.elect(1);
    world.talk(1, 2);
    world.tick(999);
    assert_eq!(world.clients_learned, []);
    world.tick(1);
    assert_eq!(world.clients_learned, [(1, world.term)]);
    world.tick(100);
    world.talk(1, 2);
    assert_eq!(world.clients_learned.len(), 1, "it is said once");

    let mut world = World::new();
    world.elect(0);
    world.talk(0, 1);
    assert_eq!(world.clients_learned, []);
    world.talk(0, 2);
    assert_eq!(world.clients_learned, [(0, world.term)]);
}

#[test]
fn a_leader_that_was_in_step_knows_at_once_who_is_online() {
    let mut world = World::settled();
    world.clients_learned.clear();
    world.elect(1);
    assert_eq!(world.clients_learned, [(1, world.term)]);
    world.talk(1, 0);
    world.tick(1000);
    assert_eq!(world.clients_learned.len(), 1, "it is said once");
}
