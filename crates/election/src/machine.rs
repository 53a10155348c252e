//! Every rule of the election, as a pure state machine: an event, the time and a drawn number in, actions out.
//!
//! It knows no sockets, files, clocks or threads. Its whole state is plain data that can be cloned, compared and hashed,
//! so that a simulator or a model checker can drive the very code that runs. The rules are numbered as in
//! ARCHITECTURE.md.

mod asking;
mod event;
mod following;
mod leading;
mod memory;
mod rebase;
mod rules;
mod stance;
#[cfg(test)]
mod tests;
mod voting;

pub use event::{Action, Event, Note, SteppedDownBecause};
use memory::Memory;
pub use rules::{Draw, Rules};
use stance::{BootWindow, GaveUp, Hint, Owed, Promise, Stance};

use super::message::{BallotReport, Message};
use super::process::{Ballot, BootId, NodeId, NodeSet, Process, all_ids};
use super::role::Standing;
use rollcall_core::MemberRole;
use rollcall_core::{BootMs, Load, MAX_NODES, Term};

/// How far ahead of all that was heard a term may be. A cluster that elected a leader every millisecond would need seven
/// weeks for as many.
const MOST_TERMS_AHEAD: u64 = 1 << 32;

/// One node's part in the election.
///
/// Invariant: nothing that depends on `ballot` was sent unless `saved` equals it; `ballot.term` never goes back.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state in disguise")]
pub struct Machine {
    rules: Rules,
    boot: BootId,
    ballot: Ballot,
    /// What is on disk for certain.
    saved: Option<Ballot>,
    /// What is on its way to the disk.
    saving: Option<Ballot>,
    owed: Owed,
    missing_at_start: bool,
    memory: Memory,
    /// Before this moment nobody's word can settle a lost ballot.
    settles_after: BootMs,
    /// The first question that was asked after it.
    settles_from_round: Option<u32>,
    stance: Stance,
    promise: Option<Promise>,
    window: Option<BootWindow>,
    /// The highest term heard of. Kept apart from the ballot, so that hearsay costs no write.
    seen: Term,
    following: Option<(Process, Term)>,
    /// The latest process of each node that is known to have died (rule 5).
    dead: [Option<BootId>; MAX_NODES],
    /// The leader whose death made this node ask, until it hears another leader.
    obituary: Option<Process>,
    /// Whether ends of streams are still believed.
    trusts_ends: bool,
    gave_up: Option<GaveUp>,
    hint: Option<Hint>,
    linked: NodeSet,
    round: u32,
    /// When a node that does not lead acts next.
    deadline: BootMs,
    /// Rounds lost in a row.
    lost: u8,
    /// Whether it asked a lighter node to stand since it last heard a leader.
    nominated: bool,
    load: Load,
    stopping: bool,
}

type Actions = Vec<Action>;

impl Machine {
    /// A node that has just started with the ballot it found on disk; `None` if there was none, or none that is whole.
    #[must_use]
    pub fn new(rules: Rules, boot: BootId, ballot: Option<Ballot>, now: BootMs) -> Self {
        // With one node there is nobody to whom anything could have been promised.
        let window = (rules.nodes > 1)
            .then(|| BootWindow { until: now.plus(rules.promise_ms()), not_leading: NodeSet::default() });
        Self {
            boot,
            ballot: ballot.unwrap_or_default(),
            saved: ballot,
            saving: None,
            // A grant that this node gave before it lost its ballot is of use to nobody after that (with clocks apart).
            settles_after: now.plus(rules.timings.net_timeout_ms * 5 / 4),
            settles_from_round: None,
            owed: Owed::Nothing,
            missing_at_start: ballot.is_none(),
            memory: if ballot.is_some() { Memory::Sound } else { Memory::lost() },
            stance: Stance::Follower,
            promise: None,
            window,
            seen: Term(0),
            following: None,
            dead: [None; MAX_NODES],
            obituary: None,
            trusts_ends: rules.trust_end_of_stream,
            gave_up: None,
            hint: None,
            linked: NodeSet::default(),
            round: 0,
            deadline: now,
            lost: 0,
            nominated: false,
            load: Load::NEUTRAL,
            stopping: false,
            rules,
        }
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: Event, now: BootMs, draw: Draw) -> Vec<Action> {
        let mut out = Actions::new();
        self.pass_time(now, draw, &mut out);
        match event {
            Event::LinkedTo(node) => self.linked_to(node, now, &mut out),
            Event::UnlinkedFrom(node) => self.linked.remove(node),
            Event::Heard { from, message } => self.heard(from, message, now, draw, &mut out),
            Event::Woke => self.woke(now, draw, &mut out),
            Event::Saved(ballot) => self.saved(ballot, now, draw, &mut out),
            Event::SaveFailed(ballot) => self.save_failed(ballot, now, draw, &mut out),
            Event::Greeted(process) => self.greeted(process, &mut out),
            Event::EndOfStream(process) => self.ended(process, now, draw, &mut out),
            Event::Drained => self.drained(now, draw, &mut out),
            Event::LoadSampled(load) => self.load = load,
            Event::Stopping => self.stop(now, draw, &mut out),
        }
        out
    }

    /// When [`Event::Woke`] is due. An earlier one does no harm, a later one delays only this node.
    #[must_use]
    pub fn wake_at(&self) -> BootMs {
        match &self.stance {
            Stance::Leader(leading) => {
                let gives_up = leading.handover.map_or(BootMs::NEVER, |handover| handover.gives_up_at);
                leading.next_beat.min(self.steps_down_at()).min(gives_up)
            }
            _ if self.stopping => self.gave_up.map_or(BootMs::NEVER, |gave_up| gave_up.resigns_at),
            _ => {
                // Before the end of a promise or of the boot window there is nothing to wake for but questions.
                let bound = self.promise.map_or(BootMs(0), |promise| promise.until);
                let window = self.window.map_or(BootMs::NEVER, |window| window.until);
                let hint = self.hint.map_or(BootMs::NEVER, |hint| hint.until);
                let resigns = self.gave_up.map_or(BootMs::NEVER, |gave_up| gave_up.resigns_at);
                self.deadline.max(bound).min(window).min(hint).min(resigns)
            }
        }
    }

    /// What this node is, for everybody who asks.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.stance {
            Stance::Follower => Standing::Follower,
            Stance::Asking { .. } | Stance::Candidate { .. } => Standing::Candidate,
            Stance::Leader(ref leading) => {
                Standing::Leader { serves_until: self.serves_until(), handing_over: leading.handover.is_some() }
            }
        }
    }

    /// The leader this node knows of and its term: itself, the one it hears, or the one it was told of.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, Term)> {
        match self.stance {
            Stance::Leader(_) => Some((self.rules.me, self.ballot.term)),
            _ => self
                .following
                .map(|(process, term)| (process.node, term))
                .or(self.hint.map(|hint| (hint.node, hint.term))),
        }
    }

    /// Which start of this node this is.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// This node's term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.ballot.term
    }

    /// The term that is on disk for certain; `None` if this node lost its ballot and does not know yet what it may do.
    #[must_use]
    pub fn saved_term(&self) -> Option<Term> {
        self.saved.filter(|_| self.memory == Memory::Sound).map(|ballot| ballot.term)
    }

    /// Whether this node lost its ballot and does not know yet what it may do.
    #[must_use]
    pub fn has_lost_its_ballot(&self) -> bool {
        self.memory != Memory::Sound
    }

    /// The load that the machine counts with.
    #[must_use]
    pub fn load(&self) -> Load {
        self.load
    }

    /// Whether this node may answer as the leader at `now`.
    #[must_use]
    pub fn is_serving(&self, now: BootMs) -> bool {
        now < self.serves_until()
    }

    /// Lets run out what has run out.
    fn pass_time(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        self.promise = self.promise.filter(|promise| now < promise.until);
        self.hint = self.hint.filter(|hint| now < hint.until);
        if self.window.is_some_and(|window| now >= window.until) {
            self.end_window(false, now, draw, out);
        }
        if now >= self.steps_down_at() {
            // Here and not only when the timer runs: a leader that slept must not beat once more before it notices.
            let term = self.ballot.term;
            self.step_down(SteppedDownBecause::LostMajority, now, draw, out);
            // Its lease is long over and it can never win this term again. Whoever hears this node without being heard by
            // it need not wait for its silence.
            self.broadcast(Message::Resign { term }, out);
        }
    }

    /// Ends the boot window. A promise that was made since stays: the two are different things.
    pub(super) fn end_window(&mut self, early: bool, now: BootMs, draw: Draw, out: &mut Actions) {
        self.window = None;
        out.push(Action::Note(Note::BootWindowEnded { early }));
        if self.following.is_none() && !matches!(self.stance, Stance::Leader(_)) {
            self.stance = Stance::Follower;
            // The questions of the window were not lost rounds of an election.
            self.lost = 0;
            self.deadline = now.plus(self.rules.short_pause_ms(self.load, draw));
        }
    }

    fn woke(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        if let Some(gave_up) = self.gave_up.filter(|gave_up| now >= gave_up.resigns_at) {
            self.gave_up = None;
            self.broadcast(Message::Resign { term: gave_up.term }, out);
        }
        if let Stance::Leader(leading) = &self.stance {
            if leading.handover.is_some_and(|handover| now >= handover.gives_up_at) {
                self.give_up(now, draw, out);
            } else if now >= leading.next_beat {
                self.look(now, out);
                self.beat(now, out);
            }
        } else if now >= self.deadline && self.promise.is_none() && !self.stopping {
            self.ask(now, draw, out);
        }
    }

    fn linked_to(&mut self, node: NodeId, now: BootMs, out: &mut Actions) {
        self.linked.insert(node);
        match &self.stance {
            Stance::Asking { .. } => out.push(Action::Send { to: node, message: self.question() }),
            Stance::Follower if self.wants_to_hear(node) => {
                out.push(Action::Send { to: node, message: self.question() });
            }
            Stance::Follower => {}
            Stance::Candidate { voids, asked_at, answered, .. } => {
                if self.is_saved() && !answered.contains(node) {
                    let message = self.request(*asked_at, *voids);
                    out.push(Action::Send { to: node, message });
                }
            }
            Stance::Leader(_) => {
                let message = Message::Heartbeat { term: self.ballot.term, sent_at: now };
                out.push(Action::Send { to: node, message });
            }
        }
    }

    fn heard(&mut self, from: Process, message: Message, now: BootMs, draw: Draw, out: &mut Actions) {
        // Sent before it died: what it promised or asked died with it. Or sent by a node that is not sane: a term far
        // beyond all others would be the last one for ever, and a node that is no member has no place here.
        let known = self.ballot.term.max(self.seen);
        let is_sane = message.term().0 <= known.0.saturating_add(MOST_TERMS_AHEAD)
            && message.names().is_none_or(|node| usize::from(node.0) < self.rules.nodes);
        if self.is_dead(from) || !is_sane {
            return;
        }
        match message {
            Message::PreVote { round, term, dead } => {
                self.told_of_death(dead, out);
                self.answer_question(from, round, term, now, draw, out);
            }
            Message::PreVoteResp(answer) => self.heard_answer(from.node, answer, now, draw, out),
            Message::Nominate { term } => self.nominated(term, now, draw, out),
            Message::Vote { term, asked_at, voids, dead } => {
                self.told_of_death(dead, out);
                self.told_of_handover(voids);
                self.vote(from.node, term, asked_at, now, draw, out);
            }
            Message::VoteResp { term, asked_at, granted } => {
                self.heard_vote(from.node, term, asked_at, granted, now, draw, out);
            }
            Message::Heartbeat { term, sent_at } => self.heard_heartbeat(from, term, sent_at, now, draw, out),
            Message::Ack { term, sent_at, load, ready } => {
                self.heard_ack(from.node, term, sent_at, ready.then_some(load), now, draw, out);
            }
            Message::StandNow { term } => self.stand_now(from, term, now, draw, out),
            Message::Resign { term } => self.heard_resign(from.node, term, now, draw, out),
        }
    }

    /// What this node is, in the word that others are told.
    #[must_use]
    pub fn member_role(&self) -> MemberRole {
        match self.stance {
            Stance::Follower => MemberRole::Follower,
            Stance::Asking { .. } | Stance::Candidate { .. } => MemberRole::Candidate,
            Stance::Leader(_) => MemberRole::Leader,
        }
    }

    pub(super) fn ballot_report(&self) -> BallotReport {
        BallotReport {
            missing_at_start: self.missing_at_start,
            sound: self.memory == Memory::Sound && self.is_saved(),
            // An unsaved term may be told here: it only makes the asker more careful.
            term: self.ballot.term,
        }
    }

    pub(super) fn broadcast(&self, message: Message, out: &mut Actions) {
        let others = all_ids(self.rules.nodes).filter(|node| *node != self.rules.me);
        out.extend(others.map(|to| Action::Send { to, message }));
    }
}
