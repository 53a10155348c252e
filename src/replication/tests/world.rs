//! A simulated cluster: its nodes, and a network that the test controls.

mod tables;

use std::collections::{BTreeMap, BTreeSet};

use super::super::message::ReplicaMessage;
use super::super::replica::{Action, Replica};
use crate::registry::{Coverage, CredentialState, PasswordFingerprint, RowNo};
use rollcall_core::{BootMs, Term, Username};
use rollcall_election::NodeId;
use tables::Tables;

pub(super) const NODES: usize = 3;

pub(super) fn id(index: usize) -> NodeId {
    NodeId(u8::try_from(index).expect("node indexes are less than NODES"))
}

pub(super) struct Node {
    pub(super) replica: Replica,
    pub(super) tables: Tables,
    pub(super) up: bool,
    /// The term on the node's disk.
    term: Term,
}

/// One step of a simulation.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// One to five messages arrive, from the n-th one in flight on.
    Deliver(usize),
    /// All messages in flight to a node are lost.
    Drop(u8),
    /// Four rounds. In each, 50 ms pass, and then all messages arrive, and the messages that they
    /// cause.
    Settle,
    Register,
    /// The leader changes the password of the n-th user.
    ChangePassword(usize),
    Tick(u64),
    /// Another node becomes the leader. The old leader does not notice yet.
    Elect(u8),
    /// A node learns the latest term. If it led an earlier term, it stops leading.
    LearnTerm(u8),
    Kill(u8),
    Start(u8),
    /// The leader reads the bucket.
    ReadBucket,
}

/// The password after some changes, as the leader of a term reads it or writes it.
fn password(term: Term, changes: u32) -> CredentialState {
    CredentialState::Known { term, version: changes, fingerprint: PasswordFingerprint::default() }
}

pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) in_flight: Vec<(NodeId, NodeId, u64, ReplicaMessage)>,
    /// The number of starts of each node. Messages to an earlier process are lost.
    boots: [u64; NODES],
    pub(super) now: BootMs,
    pub(super) term: Term,
    leader: Option<usize>,
    /// The users in the bucket, each with the number of its password changes.
    bucket: BTreeMap<Username, u32>,
    pub(super) unconfirmed: Vec<(Username, RowNo)>,
    pub(super) acknowledged: BTreeSet<Username>,
    unconfirmed_passwords: Vec<(Username, RowNo, CredentialState)>,
    /// The newest acknowledged password of each user that has changed it.
    acknowledged_passwords: BTreeMap<Username, CredentialState>,
    pub(super) leader_has_list: bool,
    /// Number of leaders that got the complete list without the bucket.
    pub(super) lists_without_bucket: u32,
    /// The leaders whose coverage of the clients was raised, each with its term.
    pub(super) clients_raised: Vec<(usize, Term)>,
}

impl World {
    pub(super) fn new() -> Self {
        let node = |index| Node {
            replica: Replica::new(id(index), NODES, 0),
            tables: Tables::default(),
            up: true,
            term: Term(0),
        };
        Self {
            nodes: (0..NODES).map(node).collect(),
            in_flight: Vec::new(),
            boots: [0; NODES],
            now: BootMs(0),
            term: Term(0),
            leader: None,
            bucket: BTreeMap::new(),
            unconfirmed: Vec::new(),
            acknowledged: BTreeSet::new(),
            unconfirmed_passwords: Vec::new(),
            acknowledged_passwords: BTreeMap::new(),
            leader_has_list: false,
            lists_without_bucket: 0,
            clients_raised: Vec::new(),
        }
    }

    /// A cluster in which every node is up to date.
    pub(super) fn settled() -> Self {
        let mut world = Self::new();
        world.elect(0);
        (1..NODES).for_each(|node| world.step(&Step::LearnTerm(id(node).0)));
        world.read_bucket();
        world.settle(20);
        world
    }

    pub(super) fn perform(&mut self, by: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(to, message) => {
                    let message = ReplicaMessage::decode(&message.encode()).expect("an encoded message can be decoded");
                    let from = id(by);
                    for to in to {
                        self.in_flight.push((from, to, self.boots[usize::from(to.0)], message.clone()));
                    }
                }
                Action::LeaderHeard => {}
                Action::LogAbsurdValue(from, absurd) => panic!("{from:?} is not faulty: {absurd:?}"),
                Action::RaiseClients(term, coverage) => {
                    assert_eq!(coverage, Coverage::UpToDate);
                    self.clients_raised.push((by, term));
                }
                Action::Confirm(up_to) => self.confirm(by, up_to),
                Action::RaiseUsers(term, coverage) => {
                    assert_eq!(coverage, Coverage::Certain);
                    if self.leader == Some(by) && term == self.term {
                        self.lists_without_bucket += 1;
                        self.check_list(by);
                        self.check_passwords(by);
                    }
                }
            }
        }
    }

    /// Records that a majority has the changes of the leader `by` up to a row number.
    fn confirm(&mut self, by: usize, up_to: RowNo) {
        if self.leader != Some(by) {
            return;
        }
        self.unconfirmed.retain(|(name, no)| {
            let is_known = *no <= up_to;
            if is_known {
                self.acknowledged.insert(name.clone());
            }
            !is_known
        });
        self.unconfirmed_passwords.retain(|(name, no, credential)| {
            let is_known = *no <= up_to;
            if is_known {
                self.acknowledged_passwords.insert(name.clone(), *credential);
            }
            !is_known
        });
    }

    /// Checks that a leader whose list came from a majority has no outdated password.
    fn check_passwords(&self, leader: usize) {
        let known = &self.nodes[leader].tables.users;
        for (name, acknowledged) in &self.acknowledged_passwords {
            let (_, credential) = known[name];
            let is_outdated = credential.fingerprint().is_some() && credential.merge(*acknowledged) != credential;
            assert!(
                !is_outdated,
                "node {leader} leads term {} with {credential:?} of {name}, {acknowledged:?}",
                self.term
            );
        }
    }

    /// Checks that a leader with a complete list has every acknowledged registration.
    fn check_list(&mut self, leader: usize) {
        self.leader_has_list = true;
        let known = &self.nodes[leader].tables.users;
        let missing: Vec<&Username> = self.acknowledged.iter().filter(|name| !known.contains_key(*name)).collect();
        assert!(missing.is_empty(), "node {leader} leads term {:?} and does not know {missing:?}", self.term);
    }

    pub(super) fn step(&mut self, step: &Step) {
        match *step {
            Step::Deliver(n) if !self.in_flight.is_empty() => {
                let index = n % self.in_flight.len();
                for _ in 0..=n % 5 {
                    if index < self.in_flight.len() {
                        let (from, to, boot, message) = self.in_flight.remove(index);
                        self.deliver(from, to, boot, message);
                    }
                }
            }
            Step::Drop(node) => self.in_flight.retain(|(_, to, ..)| usize::from(to.0) != usize::from(node) % NODES),
            Step::Settle => self.settle(4),
            Step::Register => self.register(),
            Step::ChangePassword(user) => self.change_password(user),
            Step::Tick(ms) => self.tick(ms),
            Step::Elect(node) => self.elect(usize::from(node) % NODES),
            Step::LearnTerm(node) => {
                let node = usize::from(node) % NODES;
                if self.leader != Some(node) && self.nodes[node].up {
                    self.nodes[node].term = self.term;
                    self.follow(node);
                }
            }
            Step::Kill(node) => self.kill(usize::from(node) % NODES),
            Step::Start(node) => self.nodes[usize::from(node) % NODES].up = true,
            Step::ReadBucket => self.read_bucket(),
            Step::Deliver(_) => {}
        }
    }

    pub(super) fn deliver(&mut self, from: NodeId, to: NodeId, boot: u64, message: ReplicaMessage) {
        let index = usize::from(to.0);
        let node = &mut self.nodes[index];
        if node.up && boot == self.boots[index] {
            node.replica.set_saved_term(Some(node.term));
            let actions = node.replica.handle_message(from, message, &mut node.tables, self.now);
            self.perform(index, actions);
        }
    }

    pub(super) fn register(&mut self) {
        let Some(leader) = self.leader else { return };
        // A new name sorts before all earlier names, so a pull in progress has already passed its
        // place.
        let name = Username::parse(&format!("u{:04}", 9999 - self.bucket.len())).unwrap();
        let no = self.write(leader, &name, 0).0;
        self.unconfirmed.push((name, no));
        self.flush(leader);
    }

    fn change_password(&mut self, user: usize) {
        let Some(leader) = self.leader else { return };
        let Some((name, changes)) = self.bucket.iter().nth(user % self.bucket.len().max(1)) else { return };
        let (name, changes) = (name.clone(), changes + 1);
        let (no, credential) = self.write(leader, &name, changes);
        self.unconfirmed_passwords.push((name, no, credential));
        self.flush(leader);
    }

    /// The leader writes a profile to the bucket and to its tables.
    fn write(&mut self, leader: usize, name: &Username, changes: u32) -> (RowNo, CredentialState) {
        self.bucket.insert(name.clone(), changes);
        let credential = password(self.term, changes);
        (self.nodes[leader].tables.insert(name, credential), credential)
    }

    fn flush(&mut self, leader: usize) {
        let node = &mut self.nodes[leader];
        let actions = node.replica.flush(&mut node.tables);
        self.perform(leader, actions);
    }

    pub(super) fn tick(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for index in 0..NODES {
            let node = &mut self.nodes[index];
            if node.up {
                let serves = self.leader == Some(index);
                let actions = node.replica.tick(&mut node.tables, serves, self.now);
                self.perform(index, actions);
            }
        }
    }

    pub(super) fn elect(&mut self, index: usize) {
        let up = self.nodes.iter().filter(|node| node.up).count();
        if !self.nodes[index].up || up <= NODES / 2 {
            return;
        }
        // A leader stops leading before it becomes a candidate.
        self.follow(index);
        self.term = Term(self.term.0 + 1);
        (self.leader, self.leader_has_list) = (Some(index), false);
        self.unconfirmed.clear();
        self.unconfirmed_passwords.clear();
        // The voters of the majority save the new term.
        let voters = (index..index + NODES).map(|index| index % NODES).filter(|index| self.nodes[*index].up);
        for voter in voters.take(NODES / 2 + 1).collect::<Vec<_>>() {
            self.nodes[voter].term = self.term;
        }
        let node = &mut self.nodes[index];
        node.tables.tracked = true;
        let actions = node.replica.start_leading(self.term, &mut node.tables, self.now);
        self.perform(index, actions);
    }

    fn follow(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.replica.follow(&mut node.tables);
        node.tables.tracked = false;
        node.tables.unsent.clear();
    }

    pub(super) fn kill(&mut self, index: usize) {
        let term = self.nodes[index].term;
        self.boots[index] += 1;
        let random = self.boots[index] << 32;
        self.nodes[index] =
            Node { replica: Replica::new(id(index), NODES, random), tables: Tables::default(), up: false, term };
        if self.leader == Some(index) {
            self.leader = None;
        }
    }

    pub(super) fn read_bucket(&mut self) {
        let Some(leader) = self.leader else { return };
        let node = &mut self.nodes[leader];
        for (name, changes) in &self.bucket {
            node.tables.insert(name, password(self.term, *changes));
        }
        node.tables.is_complete = true;
        node.tables.listed = Some(self.term);
        self.check_list(leader);
    }

    /// Delivers the messages between two nodes, and no others.
    pub(super) fn exchange(&mut self, one: usize, other: usize) {
        let pair = [(id(one), id(other)), (id(other), id(one))];
        while let Some(index) = self.in_flight.iter().position(|(from, to, ..)| pair.contains(&(*from, *to))) {
            let (from, to, boot, message) = self.in_flight.remove(index);
            self.deliver(from, to, boot, message);
        }
    }

    /// Kills nodes and starts them again with empty tables.
    pub(super) fn restart(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.kill(*node);
            self.nodes[*node].up = true;
        }
    }

    /// In each round 50 ms pass, and then all messages arrive.
    pub(super) fn settle(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.tick(50);
            while let Some((from, to, boot, message)) = (!self.in_flight.is_empty()).then(|| self.in_flight.remove(0)) {
                self.deliver(from, to, boot, message);
            }
        }
    }
}
