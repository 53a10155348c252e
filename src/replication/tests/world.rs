//! Nodes of a cluster, and a network between them that a test rules.

use std::collections::{BTreeMap, BTreeSet};

use super::super::local_tables::LocalTables;
use super::super::message::ReplicaMessage;
use super::super::replica::{Action, Replica};
use crate::registry::{Coverage, RowNo, Rows};
use rollcall_core::{BootMs, Term, Username};
use rollcall_election::NodeId;

pub(super) const NODES: usize = 3;

pub(super) fn id(place: usize) -> NodeId {
    NodeId(u8::try_from(place).expect("there are three"))
}

/// A node's tables, as simple as they can be: names of users.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) users: BTreeMap<Username, RowNo>,
    fresh: Vec<(RowNo, Username)>,
    tracked: bool,
    last: RowNo,
    pub(super) was_complete: bool,
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

impl LocalTables for Tables {
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

pub(super) struct Node {
    pub(super) replica: Replica,
    pub(super) tables: Tables,
    pub(super) up: bool,
    /// On its disk.
    term: Term,
}

/// What one step does.
#[derive(Clone, Debug)]
pub(super) enum Step {
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

pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) under_way: Vec<(NodeId, NodeId, u64, ReplicaMessage)>,
    /// Which start of each node it is; what was sent to an earlier one is lost.
    boots: [u64; NODES],
    pub(super) now: BootMs,
    pub(super) term: Term,
    leader: Option<usize>,
    /// In the bucket.
    stored: BTreeSet<Username>,
    pub(super) waiting: Vec<(Username, RowNo)>,
    pub(super) acknowledged: BTreeSet<Username>,
    pub(super) leader_lists: bool,
    /// How often a leader could list its users without reading the bucket.
    pub(super) lists_by_others: u32,
    /// Which leaders found that they know who is online as well as anybody.
    pub(super) clients_learned: Vec<(usize, Term)>,
}

impl World {
    pub(super) fn new() -> Self {
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
    pub(super) fn settled() -> Self {
        let mut world = Self::new();
        world.elect(0);
        (1..NODES).for_each(|node| world.step(&Step::Learn(id(node).0)));
        world.list();
        world.settle(20);
        world
    }

    pub(super) fn perform(&mut self, by: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(to, message) => {
                    let message = ReplicaMessage::decode(&message.encode()).expect("reads back");
                    let from = id(by);
                    for to in to {
                        self.under_way.push((from, to, self.boots[usize::from(to.0)], message.clone()));
                    }
                }
                Action::LeaderHeard => {}
                Action::RaiseClients(term, coverage) => {
                    assert_eq!(coverage, Coverage::UpToDate);
                    self.clients_learned.push((by, term));
                }
                Action::Confirm(up_to) => {
                    if self.leader == Some(by) {
                        let (known, rest) =
                            std::mem::take(&mut self.waiting).into_iter().partition(|(_, no)| *no <= up_to);
                        self.waiting = rest;
                        let known: Vec<(Username, RowNo)> = known;
                        self.acknowledged.extend(known.into_iter().map(|(name, _)| name));
                    }
                }
                Action::RaiseUsers(term, coverage) => {
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

    pub(super) fn step(&mut self, step: &Step) {
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

    pub(super) fn deliver(&mut self, from: NodeId, to: NodeId, boot: u64, message: ReplicaMessage) {
        let place = usize::from(to.0);
        let node = &mut self.nodes[place];
        if node.up && boot == self.boots[place] {
            node.replica.set_saved_term(Some(node.term));
            let actions = node.replica.handle_message(from, message, &mut node.tables, self.now);
            self.perform(place, actions);
        }
    }

    pub(super) fn register(&mut self) {
        let Some(leader) = self.leader else { return };
        // Each before all others, where a pull has passed already.
        let name = Username::parse(&format!("u{:04}", 9999 - self.stored.len())).unwrap();
        self.stored.insert(name.clone());
        let node = &mut self.nodes[leader];
        let no = node.tables.insert(&name);
        self.waiting.push((name, no));
        let actions = node.replica.flush(&mut node.tables);
        self.perform(leader, actions);
    }

    pub(super) fn tick(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for place in 0..NODES {
            let node = &mut self.nodes[place];
            if node.up {
                let serves = self.leader == Some(place);
                let actions = node.replica.tick(&mut node.tables, serves, self.now);
                self.perform(place, actions);
            }
        }
    }

    pub(super) fn elect(&mut self, place: usize) {
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
        let actions = node.replica.start_leading(self.term, &mut node.tables, self.now);
        self.perform(place, actions);
    }

    fn follow(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        node.replica.follow(&mut node.tables);
        node.tables.tracked = false;
        node.tables.fresh.clear();
    }

    pub(super) fn kill(&mut self, place: usize) {
        let term = self.nodes[place].term;
        self.boots[place] += 1;
        let drawn = self.boots[place] << 32;
        self.nodes[place] =
            Node { replica: Replica::new(id(place), NODES, drawn), tables: Tables::default(), up: false, term };
        if self.leader == Some(place) {
            self.leader = None;
        }
    }

    pub(super) fn list(&mut self) {
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
    pub(super) fn talk(&mut self, one: usize, other: usize) {
        let pair = [(id(one), id(other)), (id(other), id(one))];
        while let Some(place) = self.under_way.iter().position(|(from, to, ..)| pair.contains(&(*from, *to))) {
            let (from, to, boot, message) = self.under_way.remove(place);
            self.deliver(from, to, boot, message);
        }
    }

    /// Kills nodes and starts them again: they know nothing.
    pub(super) fn restart(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.kill(*node);
            self.nodes[*node].up = true;
        }
    }

    /// Nothing is lost any more for a while.
    pub(super) fn settle(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.tick(50);
            while let Some((from, to, boot, message)) = (!self.under_way.is_empty()).then(|| self.under_way.remove(0)) {
                self.deliver(from, to, boot, message);
            }
        }
    }
}
