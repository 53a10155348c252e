//! One node's part in the replication, as a pure state machine: an event and the time in, messages and facts out.

use super::journal::Journal;
use super::leading::Leading;
use super::message::{Cursor, Message, Next, Position};
use super::pulling::{Asks, Pulling};
use crate::registry::{RowNo, Rows};
use rollcall_core::{BootMs, Term};
use rollcall_election::NodeId;

/// How often a leader says that it is there, if it has nothing else to say. Followers take it for alive for a second.
const PULSE_MS: u64 = 300;

/// A longer time between two ticks means that this process did not run. What it is told then may have waited as long.
const STALL_MS: u64 = 1000;

/// What a replica reads and writes: the node's own tables.
pub(super) trait Store {
    /// Takes in rows.
    fn merge(&mut self, rows: &Rows);
    /// Some rows that changed since they were given last, and, if new users are among them, up to which all have been
    /// given; `None` if there are none.
    fn take_changes(&mut self) -> Option<(Rows, Option<RowNo>)>;
    /// Some rows of clients after a name, or from the first on; fewer than that only if there are no more.
    fn clients_after(&mut self, after: Option<&rollcall_core::Username>) -> Rows;
    /// Some rows of users after a name, or from the first on; fewer than that only if there are no more.
    fn users_after(&mut self, after: Option<&rollcall_core::Username>) -> Rows;
    /// Whether this node, since it was started, has once had every registration that was acknowledged until then.
    fn is_complete(&self) -> bool;
    /// Notes that it has.
    fn set_complete(&mut self);
    /// Whether the list of users was made whole from the bucket in a term that this node leads.
    fn is_listed(&self, term: Term) -> bool;
}

/// What comes out.
#[derive(Debug, PartialEq)]
pub(super) enum Output {
    Send(Vec<NodeId>, Message),
    /// A leader was heard.
    Led,
    /// A majority knows these new rows, and all before.
    Confirmed(RowNo),
    /// The leader's list of users is whole.
    Whole(Term),
    /// The leader knows who is online as well as anybody does.
    KnowsClients(Term),
}

/// One node's part.
#[derive(Debug)]
pub(super) struct Replica {
    me: NodeId,
    nodes: usize,
    /// The term that this node remembers after any restart. It follows no leader of another one: after a restart, an
    /// earlier leader may not know what this node told a later one that it has.
    term: Option<Term>,
    /// Kept while this node has everything that a leader told whose list of users was whole, and so is complete.
    journal: Journal,
    /// Where the journal ended when something was missed.
    resume: Option<Position>,
    copied: Copied,
    ticked_at: BootMs,
    asks: Asks,
    role: Role,
}

/// When a node last had all that its leader knew, but for what was under way; `None` if it never had.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Copied {
    /// Of who is online.
    pub(super) clients: Option<BootMs>,
    /// Of who is registered: of a leader whose list of users was whole.
    pub(super) users: Option<BootMs>,
}

#[derive(Debug)]
enum Role {
    Leading(Leading),
    Following(Following),
}

/// A follower's part. Its leader is unknown until it is heard.
#[derive(Debug, Default)]
struct Following {
    term: Term,
    leader: Option<NodeId>,
    /// It has the leader's batches after `base` up to `upto`.
    base: u64,
    upto: u64,
    /// Whether it has all that the leader knew before, too.
    synced: bool,
    /// Whether the leader's list of users is whole.
    whole: bool,
    pull: Option<Pulling>,
    /// Batches after this one were missed while it pulled what comes before.
    missed: Option<u64>,
}

type Outputs = Vec<Output>;

impl Replica {
    /// A node that has just started; `drawn` is a number that no process draws twice, so to say.
    pub(super) fn new(me: NodeId, nodes: usize, drawn: u64) -> Self {
        let role = Role::Following(Following::default());
        Self {
            me,
            nodes,
            term: None,
            journal: Journal::default(),
            resume: None,
            copied: Copied::default(),
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
    pub(super) fn copied(&self) -> Copied {
        self.copied
    }

    /// Whether the followers that are there have all that was told.
    pub(super) fn is_flushed(&self, now: BootMs) -> bool {
        matches!(&self.role, Role::Leading(leading) if leading.is_flushed(now))
    }

    /// Whether this node follows, knows what its leader knows, but for what is under way, and that is everything.
    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.role, Role::Following(following) if following.synced && following.whole)
    }

    /// This node leads `term` now.
    pub(super) fn lead(&mut self, term: Term, store: &mut impl Store, now: BootMs) -> Outputs {
        let mut out = Outputs::new();
        self.look_at_clock(now, &mut out);
        let was_in_step = matches!(&self.role, Role::Following(following) if following.synced);
        let mut leading = Leading::new(term, was_in_step, now);
        if was_in_step {
            out.push(Output::KnowsClients(term));
        }
        let from = self.what_is_missing();
        for node in self.others() {
            let (pull, question) = Pulling::start(from.clone(), &mut self.asks, now);
            leading.pulls.insert(node, pull);
            out.push(Output::Send(vec![node], question));
        }
        self.role = Role::Leading(leading);
        // Behind the questions, so that they are answered by who has not begun to follow this node.
        self.pulse(now, &mut out);
        self.look_whether_whole(store, &mut out);
        out
    }

    /// This node does not lead any more, or does not yet: it follows whom it hears. What it did not tell is kept for those
    /// who ask.
    pub(super) fn follow(&mut self, store: &mut impl Store) {
        if let Role::Leading(leading) = &mut self.role {
            while let Some((rows, _)) = store.take_changes() {
                leading.number += 1;
                self.journal.push(Position { term: leading.term, number: leading.number }, &rows);
            }
            self.role = Role::Following(Following { term: leading.term, ..Following::default() });
        }
    }

    fn is_whole(leading: &mut Leading, journal: &mut Journal) {
        leading.whole = true;
        if journal.position().is_none() {
            journal.start(Position { term: leading.term, number: leading.number });
        }
    }

    /// Tells what changed, at once.
    pub(super) fn flush(&mut self, store: &mut impl Store) -> Outputs {
        let mut out = Outputs::new();
        let Role::Leading(leading) = &mut self.role else { return out };
        while let Some((rows, new)) = store.take_changes() {
            leading.number += 1;
            let position = Position { term: leading.term, number: leading.number };
            leading.made(position.number, new);
            self.journal.push(position, &rows);
            let bytes = rows.size();
            let batch = Message::Batch { term: position.term, number: position.number, rows };
            let to: Vec<NodeId> = others(self.me, self.nodes).filter(|node| leading.may_send(*node, bytes)).collect();
            if !to.is_empty() {
                out.push(Output::Send(to, batch));
            }
        }
        out.extend(leading.confirmed(self.nodes).map(Output::Confirmed));
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
                    self.copied.note(leading.whole, now);
                }
                if leading.learned_clients(self.nodes, now) {
                    out.push(Output::KnowsClients(leading.term));
                }
                for (node, pull) in &mut leading.pulls {
                    out.extend(pull.remind(now).map(|question| Output::Send(vec![*node], question)));
                }
                if now.since(leading.pulsed_at) >= PULSE_MS {
                    self.pulse(now, &mut out);
                }
                self.look_whether_whole(store, &mut out);
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
                    self.acknowledge(from, false, store, now, &mut out);
                }
            }
            Message::Pulse { term, number, whole } => {
                if self.follows(from, term, number, now, &mut out) {
                    self.expect(number, now, &mut out);
                    self.acknowledge(from, whole, store, now, &mut out);
                }
            }
            Message::Seen { term, base, upto } => {
                if let Role::Leading(leading) = &mut self.role
                    && leading.term == term
                {
                    let upto = upto.min(leading.number);
                    out.extend(leading.seen(from, (base, upto), self.nodes, now).map(Output::Confirmed));
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
            following.synced = false;
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
            following.synced = false;
            self.journal.clear();
            self.resume = None;
            self.pull(now, out);
        }
    }

    /// Begins to pull from the leader what this node lacks. From now on the journal does not hold all that this node
    /// knows, so it must not answer for it.
    fn pull(&mut self, now: BootMs, out: &mut Outputs) {
        let from = self.what_is_missing();
        self.resume = self.journal.position().or(self.resume);
        self.journal.clear();
        let Role::Following(following) = &mut self.role else { return };
        let Some(leader) = following.leader else { return };
        let (pull, question) = Pulling::start(from, &mut self.asks, now);
        following.pull = Some(pull);
        out.push(Output::Send(vec![leader], question));
    }

    /// From where on this node may lack something that another one has.
    fn what_is_missing(&self) -> Cursor {
        self.journal.position().or(self.resume).map_or(Cursor::Clients(None), Cursor::Since)
    }

    /// Notes what the leader says of itself, and tells it what this node has.
    fn acknowledge(&mut self, to: NodeId, says_whole: bool, store: &mut impl Store, now: BootMs, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        following.whole |= says_whole;
        if following.synced {
            self.copied.note(following.whole, now);
        }
        // A batch does not tell whether others follow that this node does not know of; a pulse does.
        if says_whole && following.synced && self.journal.position().is_none() {
            store.set_complete();
            self.journal.start(Position { term: following.term, number: following.upto });
        }
        let base = if following.synced { 0 } else { following.base };
        out.push(Output::Send(vec![to], Message::Seen { term: following.term, base, upto: following.upto }));
    }

    /// Some of what this node knows.
    fn part(&self, cursor: Cursor, store: &mut impl Store) -> (Rows, Next) {
        let leads = self.leads();
        match cursor {
            Cursor::Since(position) => match self.journal.after(position) {
                Some((rows, Some(at))) => (rows, Next::More(Cursor::Since(at))),
                Some((rows, None)) => (rows, Next::End { complete: store.is_complete(), leads }),
                None => (Rows::default(), Next::More(Cursor::Clients(None))),
            },
            Cursor::Clients(after) => {
                let rows = store.clients_after(after.as_ref());
                let next = match rows.beats.last() {
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
                    None => (rows, Next::End { complete: store.is_complete(), leads }),
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
                let Some(pull) = leading.pulls.get_mut(&from).filter(|pull| pull.is_answered_by(ask)) else { return };
                match next {
                    Next::More(_) => {
                        out.extend(pull.go_on(next, asks, now).map(|question| Output::Send(vec![from], question)));
                    }
                    Next::End { complete, .. } => {
                        leading.merged(from, *complete);
                        if leading.learned_clients(self.nodes, now) {
                            out.push(Output::KnowsClients(leading.term));
                        }
                        self.look_whether_whole(store, out);
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
                            following.synced = true;
                            self.acknowledge(from, false, store, now, out);
                        } else {
                            following.leader = None;
                        }
                    }
                }
            }
        }
    }

    fn look_whether_whole(&mut self, store: &mut impl Store, out: &mut Outputs) {
        let Role::Leading(leading) = &mut self.role else { return };
        if !leading.whole && store.is_listed(leading.term) {
            Self::is_whole(leading, &mut self.journal);
        } else if !leading.whole && leading.knows_all(store.is_complete(), self.nodes) {
            Self::is_whole(leading, &mut self.journal);
            store.set_complete();
            out.push(Output::Whole(leading.term));
        }
    }

    fn pulse(&mut self, now: BootMs, out: &mut Outputs) {
        let Role::Leading(leading) = &mut self.role else { return };
        leading.pulsed_at = now;
        let pulse = Message::Pulse { term: leading.term, number: leading.number, whole: leading.whole };
        let to: Vec<NodeId> = others(self.me, self.nodes).collect();
        if !to.is_empty() {
            out.push(Output::Send(to, pulse));
        }
    }

    fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        others(self.me, self.nodes)
    }
}

impl Copied {
    /// Notes that this node has all that its leader knows, whose list of users is whole or not.
    fn note(&mut self, whole: bool, now: BootMs) {
        self.clients = Some(now);
        if whole {
            self.users = Some(now);
        }
    }
}

fn others(me: NodeId, nodes: usize) -> impl Iterator<Item = NodeId> {
    (0..u8::try_from(nodes).unwrap_or(u8::MAX)).map(NodeId).filter(move |node| *node != me)
}
