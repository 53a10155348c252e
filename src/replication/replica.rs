//! One node's part in the replication, as a pure state machine: an event and the time in, messages and facts out.

use super::following::Following;
use super::freshness::Freshness;
use super::journal::Journal;
use super::leading::Leading;
use super::message::{Cursor, Message, Next, Position};
use super::pulling::{Asks, Pulling};
use super::store::Store;
use crate::registry::{Coverage, RowNo, Rows};
use rollcall_core::{BootMs, Term};
use rollcall_election::NodeId;

/// How often a leader says that it is there, if it has nothing else to say. Followers take it for alive for a second.
const PULSE_MS: u64 = 300;

/// A longer time between two ticks means that this process did not run. What it is told then may have waited as long.
const STALL_MS: u64 = 1000;

/// What comes out.
#[derive(Debug, PartialEq)]
pub(super) enum Output {
    Send(Vec<NodeId>, Message),
    /// A leader was heard.
    Led,
    /// A majority knows these new rows, and all before.
    Confirmed(RowNo),
    /// The leader has so much of the users.
    Users(Term, Coverage),
    /// The leader has so much of the clients.
    Clients(Term, Coverage),
}

/// One node's part.
#[derive(Debug)]
pub(super) struct Replica {
    group: Group,
    /// The term that this node remembers after any restart. It follows no leader of another one: after a restart, an
    /// earlier leader may not know what this node told a later one that it has.
    term: Option<Term>,
    /// Kept while this node has everything that a leader told whose list of users was whole, and so is complete.
    journal: Journal,
    freshness: Freshness,
    ticked_at: BootMs,
    asks: Asks,
    role: Role,
}

/// The nodes of the cluster, as one of them sees them.
#[derive(Clone, Copy, Debug)]
struct Group {
    me: NodeId,
    nodes: usize,
}

#[derive(Debug)]
enum Role {
    Leading(Leading),
    Following(Following),
}

type Outputs = Vec<Output>;

impl Replica {
    /// A node that has just started; `drawn` is a number that no process draws twice, so to say.
    pub(super) fn new(me: NodeId, nodes: usize, drawn: u64) -> Self {
        let role = Role::Following(Following::default());
        Self {
            group: Group { me, nodes },
            term: None,
            journal: Journal::default(),
            freshness: Freshness::default(),
            ticked_at: BootMs::NEVER,
            asks: Asks::after(drawn),
            role,
        }
    }

    /// Notes the term that this node remembers after any restart; `None` while it does not know it.
    pub(super) fn remember(&mut self, term: Option<Term>) {
        self.term = term;
    }

    /// The term that this node leads.
    pub(super) fn leads(&self) -> Option<Term> {
        match &self.role {
            Role::Leading(leading) => Some(leading.term),
            Role::Following(_) => None,
        }
    }

    /// When this node last had all that its leader knew, or served as the leader itself.
    pub(super) fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Whether the followers that are there have all that was told.
    pub(super) fn is_flushed(&self, now: BootMs) -> bool {
        matches!(&self.role, Role::Leading(leading) if leading.sent.is_flushed(now))
    }

    /// Whether this node follows, knows what its leader knows, but for what is under way, and that is everything.
    pub(super) fn may_take_over(&self) -> bool {
        matches!(&self.role, Role::Following(following) if following.users().may_take_over())
    }

    /// This node leads `term` now.
    pub(super) fn lead(&mut self, term: Term, store: &mut impl Store, now: BootMs) -> Outputs {
        let mut out = Outputs::new();
        self.look_at_clock(now, &mut out);
        // One that was in step with the leader before knows who is online as well as anybody.
        let clients = match &self.role {
            Role::Following(following) => following.clients,
            Role::Leading(_) => Coverage::Partial,
        };
        let mut leading = Leading::new(term, clients, now);
        if clients.may_answer_online() {
            out.push(Output::Clients(term, clients));
        }
        let from = self.what_is_missing();
        for node in self.group.others() {
            let (pull, question) = Pulling::start(from.clone(), &mut self.asks, now);
            leading.takeover.pulls.insert(node, pull);
            out.push(Output::Send(vec![node], question));
        }
        self.role = Role::Leading(leading);
        // Behind the questions, so that they are answered by who has not begun to follow this node.
        self.pulse(now, &mut out);
        self.look_at_users(store, &mut out);
        out
    }

    /// This node does not lead any more, or does not yet: it follows whom it hears. What it did not tell is kept for those
    /// who ask.
    pub(super) fn follow(&mut self, store: &mut impl Store) {
        if let Role::Leading(leading) = &mut self.role {
            while let Some((rows, _)) = store.take_changes() {
                self.journal.push(leading.next_position(), &rows);
            }
            self.role = Role::Following(Following { term: leading.term, ..Following::default() });
        }
    }

    fn has_users(leading: &mut Leading, coverage: Coverage, journal: &mut Journal) {
        leading.users = coverage;
        if journal.position().is_none() {
            journal.start(leading.position());
        }
    }

    /// Tells what changed, at once.
    pub(super) fn flush(&mut self, store: &mut impl Store) -> Outputs {
        let mut out = Outputs::new();
        let Role::Leading(leading) = &mut self.role else { return out };
        while let Some((rows, new)) = store.take_changes() {
            let position = leading.next_position();
            leading.sent.made(position.number, new);
            self.journal.push(position, &rows);
            let bytes = rows.size();
            let batch = Message::Batch { term: position.term, number: position.number, rows };
            let to: Vec<NodeId> = self.group.others().filter(|node| leading.sent.may_send(*node, bytes)).collect();
            if !to.is_empty() {
                out.push(Output::Send(to, batch));
            }
        }
        out.extend(leading.sent.confirmed(self.group.nodes).map(Output::Confirmed));
        out
    }

    /// To be called several times a second. `serves`: whether this node serves as the leader at `now`. One that slept through
    /// its lease does not, and what it missed nobody knows.
    pub(super) fn tick(&mut self, store: &mut impl Store, serves: bool, now: BootMs) -> Outputs {
        let mut out = self.flush(store);
        self.look_at_clock(now, &mut out);
        match &mut self.role {
            Role::Leading(leading) => {
                if serves {
                    self.freshness.note(leading.users, now);
                }
                if leading.takeover.learned_clients(self.group.nodes, now) {
                    out.push(Output::Clients(leading.term, leading.takeover.clients()));
                }
                for (node, pull) in &mut leading.takeover.pulls {
                    out.extend(pull.remind(now).map(|question| Output::Send(vec![*node], question)));
                }
                if now.since(leading.pulsed_at) >= PULSE_MS {
                    self.pulse(now, &mut out);
                }
                self.look_at_users(store, &mut out);
            }
            Role::Following(following) => {
                if let (Some(leader), Some(pull)) = (following.leader, &mut following.pull) {
                    out.extend(pull.remind(now).map(|question| Output::Send(vec![leader], question)));
                }
            }
        }
        out
    }

    /// Takes in a message of another node.
    pub(super) fn heard(&mut self, from: NodeId, message: Message, store: &mut impl Store, now: BootMs) -> Outputs {
        let mut out = Outputs::new();
        self.look_at_clock(now, &mut out);
        match message {
            Message::Batch { term, number, rows } => {
                if self.leads().is_some() {
                    // They are true, and this leader will tell them on.
                    store.merge(&rows);
                }
                if self.follows(from, term, number.saturating_sub(1), now, &mut out) {
                    store.merge(&rows);
                    self.took_batch(Position { term, number }, &rows, now, &mut out);
                    self.acknowledge(from, Coverage::Partial, store, now, &mut out);
                }
            }
            Message::Pulse { term, number, whole } => {
                if self.follows(from, term, number, now, &mut out) {
                    self.expect(number, now, &mut out);
                    self.acknowledge(from, Coverage::from_complete_bit(whole), store, now, &mut out);
                }
            }
            Message::Seen { term, base, upto } => {
                if let Role::Leading(leading) = &mut self.role
                    && leading.term == term
                {
                    let upto = upto.min(leading.sent.number);
                    out.extend(leading.sent.seen(from, (base, upto), self.group.nodes, now).map(Output::Confirmed));
                }
            }
            Message::Pull { ask, from: cursor } => {
                let (rows, next) = self.part(cursor, store);
                out.push(Output::Send(vec![from], Message::Part { ask, rows, next }));
            }
            Message::Part { ask, rows, next } => self.took_part(from, ask, &rows, &next, store, now, &mut out),
        }
        out
    }

    /// Whether `from` leads `term`, as far as this node can know; if it was not known before, its batches count from `base`.
    fn follows(&mut self, from: NodeId, term: Term, base: u64, now: BootMs, out: &mut Outputs) -> bool {
        let known = match &self.role {
            Role::Leading(leading) => leading.term,
            Role::Following(following) => following.term,
        };
        let Role::Following(following) = &mut self.role else {
            // This node will learn from the election that its time is over.
            return false;
        };
        if self.term != Some(term)
            || term < known
            || (term == known && following.leader.is_some_and(|leader| leader != from))
        {
            return false;
        }
        out.push(Output::Led);
        if term > known || following.leader.is_none() {
            // It may begin in the middle; what came before is pulled.
            *following = Following { term, leader: Some(from), base, upto: base, ..Following::default() };
            self.pull(now, out);
        }
        true
    }

    fn took_batch(&mut self, position: Position, rows: &Rows, now: BootMs, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        if position.number <= following.upto {
            return;
        }
        if position.number == following.upto + 1 {
            following.upto = position.number;
            self.journal.push(position, rows);
            return;
        }
        self.expect(position.number - 1, now, out);
        if let Role::Following(following) = &mut self.role {
            following.upto = position.number;
        }
    }

    /// If batches up to `number` were made and this node does not have them, it must pull what it lacks. A pull that is under
    /// way is not given up for that: on a slow link it would never end.
    fn expect(&mut self, number: u64, now: BootMs, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        if number > following.upto {
            let before = following.upto;
            (following.base, following.upto) = (number, number);
            following.clients = Coverage::Partial;
            if following.pull.is_some() {
                following.missed.get_or_insert(before);
            } else {
                self.pull(now, out);
            }
        }
    }

    /// If this process did not run for a while, whatever it is told next may have waited in its queues, and so seem younger
    /// than it is: it asks for everything again, and the older claim is believed.
    fn look_at_clock(&mut self, now: BootMs, out: &mut Outputs) {
        let stalled = now.since(std::mem::replace(&mut self.ticked_at, now)) > STALL_MS;
        if stalled && let Role::Following(following) = &mut self.role {
            following.clients = Coverage::Partial;
            self.journal.forget();
            self.pull(now, out);
        }
    }

    /// Begins to pull from the leader what this node lacks. From now on the journal does not hold all that this node
    /// knows, so it must not answer for it.
    fn pull(&mut self, now: BootMs, out: &mut Outputs) {
        let from = self.what_is_missing();
        self.journal.interrupt();
        let Role::Following(following) = &mut self.role else { return };
        let Some(leader) = following.leader else { return };
        let (pull, question) = Pulling::start(from, &mut self.asks, now);
        following.pull = Some(pull);
        out.push(Output::Send(vec![leader], question));
    }

    /// From where on this node may lack something that another one has.
    fn what_is_missing(&self) -> Cursor {
        self.journal.last_position().map_or(Cursor::Clients(None), Cursor::Since)
    }

    /// Notes how much of the users the leader says that it has, and tells it what this node has.
    fn acknowledge(&mut self, to: NodeId, users: Coverage, store: &mut impl Store, now: BootMs, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        following.leader_users = following.leader_users.max(users);
        let is_in_step = following.is_in_step();
        if is_in_step {
            self.freshness.note(following.leader_users, now);
        }
        // A batch does not tell whether others follow that this node does not know of; a pulse does.
        if users.may_claim_complete() && is_in_step && self.journal.position().is_none() {
            store.note_complete();
            self.journal.start(Position { term: following.term, number: following.upto });
        }
        let base = if is_in_step { 0 } else { following.base };
        out.push(Output::Send(vec![to], Message::Seen { term: following.term, base, upto: following.upto }));
    }

    /// Some of what this node knows.
    fn part(&self, cursor: Cursor, store: &mut impl Store) -> (Rows, Next) {
        let leads = self.leads();
        match cursor {
            Cursor::Since(position) => match self.journal.after(position) {
                Some((rows, Some(at))) => (rows, Next::More(Cursor::Since(at))),
                Some((rows, None)) => (rows, Next::End { complete: store.may_claim_complete(), leads }),
                None => (Rows::default(), Next::More(Cursor::Clients(None))),
            },
            Cursor::Clients(after) => {
                let rows = store.clients_after(after.as_ref());
                let next = match rows.clients.last() {
                    Some(last) => Cursor::Clients(Some(last.username.clone())),
                    None => Cursor::Users(None),
                };
                (rows, Next::More(next))
            }
            Cursor::Users(after) => {
                let rows = store.users_after(after.as_ref());
                match rows.users.last() {
                    Some(last) => {
                        let next = Next::More(Cursor::Users(Some(last.username.clone())));
                        (rows, next)
                    }
                    None => (rows, Next::End { complete: store.may_claim_complete(), leads }),
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one message, and what every handler gets")]
    fn took_part(
        &mut self,
        from: NodeId,
        ask: u64,
        rows: &Rows,
        next: &Next,
        store: &mut impl Store,
        now: BootMs,
        out: &mut Outputs,
    ) {
        store.merge(rows);
        let asks = &mut self.asks;
        match &mut self.role {
            Role::Leading(leading) => {
                let Some(pull) = leading.takeover.pulls.get_mut(&from).filter(|pull| pull.is_answered_by(ask)) else {
                    return;
                };
                match next {
                    Next::More(_) => {
                        out.extend(pull.go_on(next, asks, now).map(|question| Output::Send(vec![from], question)));
                    }
                    Next::End { complete, .. } => {
                        leading.takeover.merged(from, *complete);
                        if leading.takeover.learned_clients(self.group.nodes, now) {
                            out.push(Output::Clients(leading.term, leading.takeover.clients()));
                        }
                        self.look_at_users(store, out);
                    }
                }
            }
            Role::Following(following) => {
                let Some(pull) = following.pull.as_mut().filter(|pull| pull.is_answered_by(ask)) else { return };
                match next {
                    Next::More(_) => {
                        out.extend(pull.go_on(next, asks, now).map(|question| Output::Send(vec![from], question)));
                    }
                    Next::End { leads, .. } => {
                        following.pull = None;
                        if let Some(number) = following.missed.take() {
                            let from_there = Cursor::Since(Position { term: following.term, number });
                            let (pull, question) = Pulling::start(from_there, asks, now);
                            following.pull = Some(pull);
                            out.push(Output::Send(vec![from], question));
                            return;
                        }
                        // Who answers may be another process than the one that leads: it may have been started anew.
                        if *leads == Some(following.term) {
                            following.clients = Coverage::UpToDate;
                            self.acknowledge(from, Coverage::Partial, store, now, out);
                        } else {
                            following.leader = None;
                        }
                    }
                }
            }
        }
    }

    /// Looks whether the leader may list its users now: because it read the bucket, or because a majority told it.
    fn look_at_users(&mut self, store: &mut impl Store, out: &mut Outputs) {
        let Role::Leading(leading) = &mut self.role else { return };
        if leading.users.may_list_users() {
            return;
        }
        let stored = store.users_in(leading.term);
        if stored.may_list_users() {
            Self::has_users(leading, stored, &mut self.journal);
        } else if leading.takeover.knows_all(store.may_claim_complete(), self.group.nodes) {
            Self::has_users(leading, Coverage::Certain, &mut self.journal);
            store.note_complete();
            out.push(Output::Users(leading.term, leading.users));
        }
    }

    fn pulse(&mut self, now: BootMs, out: &mut Outputs) {
        let Role::Leading(leading) = &mut self.role else { return };
        leading.pulsed_at = now;
        let pulse =
            Message::Pulse { term: leading.term, number: leading.sent.number, whole: leading.users.complete_bit() };
        let to: Vec<NodeId> = self.group.others().collect();
        if !to.is_empty() {
            out.push(Output::Send(to, pulse));
        }
    }
}

impl Group {
    fn others(self) -> impl Iterator<Item = NodeId> + use<> {
        let Self { me, nodes } = self;
        (0..u8::try_from(nodes).unwrap_or(u8::MAX)).map(NodeId).filter(move |node| *node != me)
    }
}
