//! Every rule of the election, as a pure state machine: an event, the time and a drawn number in, actions out.
//!
//! It knows no sockets, files, clocks or threads. Its whole state is plain data that can be cloned, compared and hashed,
//! so that a simulator or a model checker can drive the very code that runs. The rules are numbered as in
//! ARCHITECTURE.md.

mod memory;
mod rules;
#[cfg(test)]
mod tests;

use memory::Memory;
pub use rules::{Draw, Rules};

use super::message::{BallotReport, Message, PreVoteResp};
use super::process::{Ballot, BootId, NodeId, NodeSet, Process, all_ids};
use super::role::Standing;
use crate::domain::MemberRole;
use crate::domain::{BootMs, Load, MAX_NODES, Term};

/// How much lighter, in hundredths of the capacity, another node must be to be asked to stand instead (rule 6).
const NOMINATE_POINTS: u16 = 15;

/// What happened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// Messages to this node can be sent from now on.
    LinkedTo(NodeId),
    /// Messages to this node are lost from now on.
    UnlinkedFrom(NodeId),
    /// A message came in. The driver vouches for the sender.
    Heard {
        /// Who sent it.
        from: Process,
        /// What it said.
        message: Message,
    },
    /// The moment of [`Machine::wake_at`] has come, or nearly.
    Woke,
    /// This ballot is on disk.
    Saved(Ballot),
    /// This ballot may or may not be on disk.
    SaveFailed(Ballot),
    /// The processors were measured.
    LoadSampled(Load),
    /// The process is asked to end: give up the lease, never stand again, go on voting.
    Stopping,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Tell another node; may be lost.
    Send {
        /// Whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Write the ballot to disk and say [`Event::Saved`] or [`Event::SaveFailed`]; in the order of the actions.
    Save(Ballot),
    /// For the log.
    Note(Note),
}

/// What an operator should read in the log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Note {
    /// This node stands for election.
    Stands {
        /// In which term.
        term: Term,
    },
    /// This node won.
    Won {
        /// Which term.
        term: Term,
    },
    /// This node follows another leader than before.
    Follows {
        /// Whom.
        leader: NodeId,
        /// In which term.
        term: Term,
    },
    /// The leader was not heard for too long.
    LeaderSilent {
        /// Which leader.
        leader: NodeId,
    },
    /// The leader gave its term up.
    LeaderResigned {
        /// Which leader.
        leader: NodeId,
        /// Which term.
        term: Term,
    },
    /// This node led and does not any more.
    SteppedDown {
        /// The term it led.
        term: Term,
        /// Why.
        why: SteppedDownBecause,
    },
    /// This node asked a lighter one to stand.
    Nominated {
        /// Whom.
        node: NodeId,
    },
    /// The time after boot in which this node holds still is over.
    BootWindowEnded {
        /// Whether all others had said that they do not lead.
        early: bool,
    },
    /// The ballot file was missing or torn, and the others' word has settled what this node may do.
    MemorySettled {
        /// It abstains up to this term; 0 in a new cluster.
        abstains_through: Term,
    },
    /// The ballot could not be written: no vote, no candidacy.
    BallotNotSaved,
}

/// Why a leader stepped down.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SteppedDownBecause {
    /// A majority was not heard for too long.
    LostMajority,
    /// Another term was heard of.
    HigherTerm(Term),
    /// The process is ending.
    Stopping,
}

/// What a node does in the election.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Stance {
    Follower,
    /// Rule 2: asks whether it would get votes.
    Asking {
        since: BootMs,
        term: Term,
        grants: NodeSet,
        lightest: Option<(Load, NodeId)>,
    },
    /// Has raised its term and voted for itself.
    Candidate {
        asked_at: BootMs,
        answered: NodeSet,
        votes: NodeSet,
    },
    /// Won the term. `acked` holds the send time of the newest heartbeat that each node acknowledged.
    Leader {
        since: BootMs,
        next_beat: BootMs,
        acked: [Option<BootMs>; MAX_NODES],
    },
}

/// What an acknowledged heartbeat binds this node to (rule 3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Promise {
    to: Process,
    term: Term,
    until: BootMs,
}

/// The time after boot in which this node holds still, because it may have promised something before (rule 4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct BootWindow {
    until: BootMs,
    /// Who said itself, to this boot, that it does not lead.
    not_leading: NodeSet,
}

/// What leaves as soon as the present ballot is on disk (rule 1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Owed {
    Nothing,
    Campaign,
    Grant { to: NodeId, asked_at: BootMs },
    Ack { to: NodeId, sent_at: BootMs },
}

/// A leader that somebody else named.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Hint {
    node: NodeId,
    term: Term,
    until: BootMs,
}

/// One node's part in the election.
///
/// Invariant: nothing that depends on `ballot` was sent unless `saved` equals it; `ballot.term` never goes back.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
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
    stance: Stance,
    promise: Option<Promise>,
    window: Option<BootWindow>,
    /// The highest term heard of. Kept apart from the ballot, so that hearsay costs no write.
    seen: Term,
    following: Option<(Process, Term)>,
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
            owed: Owed::Nothing,
            missing_at_start: ballot.is_none(),
            memory: if ballot.is_some() { Memory::Sound } else { Memory::lost() },
            stance: Stance::Follower,
            promise: None,
            window,
            seen: Term(0),
            following: None,
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
            Event::LoadSampled(load) => self.load = load,
            Event::Stopping => self.stop(now, &mut out),
        }
        out
    }

    /// When [`Event::Woke`] is due. An earlier one does no harm, a later one delays only this node.
    #[must_use]
    pub fn wake_at(&self) -> BootMs {
        match &self.stance {
            Stance::Leader { next_beat, .. } => (*next_beat).min(self.steps_down_at()),
            _ if self.stopping => BootMs::NEVER,
            _ => {
                // Before the end of a promise or of the boot window there is nothing to wake for but questions.
                let bound = self.promise.map_or(BootMs(0), |promise| promise.until);
                let window = self.window.map_or(BootMs::NEVER, |window| window.until);
                let hint = self.hint.map_or(BootMs::NEVER, |hint| hint.until);
                self.deadline.max(bound).min(window).min(hint)
            }
        }
    }

    /// What this node is, for everybody who asks.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.stance {
            Stance::Follower => Standing::Follower,
            Stance::Asking { .. } | Stance::Candidate { .. } => Standing::Candidate,
            Stance::Leader { .. } => Standing::Leader { serves_until: self.serves_until() },
        }
    }

    /// The leader this node knows of and its term: itself, the one it hears, or the one it was told of.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, Term)> {
        match self.stance {
            Stance::Leader { .. } => Some((self.rules.me, self.ballot.term)),
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

    /// The end of the lease (rule 3): the send time of the newest heartbeat that a majority acknowledged, plus L.
    /// 0 for a node that does not lead or was not acknowledged yet.
    #[must_use]
    pub fn serves_until(&self) -> BootMs {
        if !matches!(self.stance, Stance::Leader { .. }) {
            return BootMs(0);
        }
        if self.rules.nodes == 1 {
            return BootMs::NEVER;
        }
        self.majority_acked().map_or(BootMs(0), |sent_at| sent_at.plus(self.rules.lease_ms()))
    }

    /// The send time of the newest heartbeat that a majority, this node included, acknowledged.
    fn majority_acked(&self) -> Option<BootMs> {
        let Stance::Leader { acked, .. } = &self.stance else { return None };
        let mut newest_first = *acked;
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        newest_first[self.rules.majority() - 2]
    }

    /// When a leader without a majority gives up: V after the last heartbeat that a majority acknowledged.
    fn steps_down_at(&self) -> BootMs {
        match self.stance {
            Stance::Leader { since, .. } if self.rules.nodes > 1 => {
                self.majority_acked().unwrap_or(since).plus(self.rules.election_timeout_min_ms)
            }
            _ => BootMs::NEVER,
        }
    }

    /// Lets run out what has run out.
    fn pass_time(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        self.promise = self.promise.filter(|promise| now < promise.until);
        self.hint = self.hint.filter(|hint| now < hint.until);
        if self.window.is_some_and(|window| now >= window.until) {
            self.end_window(false, now, draw, out);
        }
    }

    /// Ends the boot window. A promise that was made since stays: the two are different things.
    fn end_window(&mut self, early: bool, now: BootMs, draw: Draw, out: &mut Actions) {
        self.window = None;
        out.push(Action::Note(Note::BootWindowEnded { early }));
        if self.following.is_none() && !matches!(self.stance, Stance::Leader { .. }) {
            self.stance = Stance::Follower;
            // The questions of the window were not lost rounds of an election.
            self.lost = 0;
            self.deadline = now.plus(self.rules.short_pause_ms(self.load, draw));
        }
    }

    fn woke(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        if let Stance::Leader { next_beat, .. } = self.stance {
            if now >= self.steps_down_at() {
                self.step_down(SteppedDownBecause::LostMajority, now, draw, out);
            } else if now >= next_beat {
                self.beat(now, out);
            }
        } else if now >= self.deadline && self.promise.is_none() && !self.stopping {
            self.ask(now, draw, out);
        }
    }

    /// Rule 2: asks everybody, and changes nothing. A node that must hold still asks too: the answers tell it who leads,
    /// and end its boot window early if nobody does.
    fn ask(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        if let Some((leader, _)) = self.following.take() {
            out.push(Action::Note(Note::LeaderSilent { leader: leader.node }));
        }
        self.round = self.round.wrapping_add(1);
        let me = NodeSet::of(self.rules.me);
        self.stance = Stance::Asking { since: now, term: self.next_term(), grants: me, lightest: None };
        self.deadline = now.plus(self.rules.backoff_ms(self.lost, draw));
        self.lost = self.lost.saturating_add(1);
        let message = self.question();
        self.broadcast(message, out);
        if self.memory == Memory::Sound && !self.is_saved() {
            // A write failed before. Until one succeeds this node can neither vote nor stand, so it tries again.
            self.save_then(Owed::Nothing, now, draw, out);
        }
        if self.rules.nodes == 1 {
            self.settle_memory(now, draw, out);
            self.stand_if_granted(now, draw, out);
        }
    }

    fn question(&self) -> Message {
        Message::PreVote { round: self.round, term: self.next_term() }
    }

    fn next_term(&self) -> Term {
        self.ballot.term.max(self.seen).next()
    }

    /// Whether this node may stand for election or say that another might: it is bound by nothing and its ballot is safe.
    fn is_free(&self) -> bool {
        !self.refuses_votes() && self.is_saved()
    }

    /// Rules 3 and 4: whether something binds this node not to vote at all right now. A leader is bound as long as it
    /// leads, not only while it serves: between its election and the first acknowledgements others have promised not to
    /// vote, so a vote of its own would only leave the cluster without anybody for the length of a promise.
    fn refuses_votes(&self) -> bool {
        let leads = matches!(self.stance, Stance::Leader { .. });
        leads || self.memory != Memory::Sound || self.window.is_some() || self.promise.is_some()
    }

    fn is_saved(&self) -> bool {
        self.saved == Some(self.ballot)
    }

    fn linked_to(&mut self, node: NodeId, now: BootMs, out: &mut Actions) {
        self.linked.insert(node);
        match &self.stance {
            Stance::Asking { .. } => out.push(Action::Send { to: node, message: self.question() }),
            Stance::Follower if self.wants_to_hear(node) => {
                out.push(Action::Send { to: node, message: self.question() });
            }
            Stance::Follower => {}
            Stance::Candidate { asked_at, answered, .. } => {
                if self.is_saved() && !answered.contains(node) {
                    let message = Message::Vote { term: self.ballot.term, asked_at: *asked_at };
                    out.push(Action::Send { to: node, message });
                }
            }
            Stance::Leader { .. } => {
                let message = Message::Heartbeat { term: self.ballot.term, sent_at: now };
                out.push(Action::Send { to: node, message });
            }
        }
    }

    fn heard(&mut self, from: Process, message: Message, now: BootMs, draw: Draw, out: &mut Actions) {
        match message {
            Message::PreVote { round, term } => self.answer_question(from, round, term, now, out),
            Message::PreVoteResp(answer) => self.heard_answer(from.node, answer, now, draw, out),
            Message::Nominate { term } => self.nominated(term, now, draw, out),
            Message::Vote { term, asked_at } => self.vote(from.node, term, asked_at, now, draw, out),
            Message::VoteResp { term, asked_at, granted } => {
                self.heard_vote(from.node, term, asked_at, granted, now, draw, out);
            }
            Message::Heartbeat { term, sent_at } => self.heard_heartbeat(from, term, sent_at, now, draw, out),
            Message::Ack { term, sent_at } => self.heard_ack(from.node, term, sent_at, now, draw, out),
            Message::Resign { term } => self.heard_resign(from.node, term, now, draw, out),
        }
    }

    fn answer_question(&self, from: Process, round: u32, term: Term, now: BootMs, out: &mut Actions) {
        let granted = self.is_free() && term > self.ballot.term;
        let answer = PreVoteResp {
            asker: from.boot,
            round,
            granted,
            ready: self.is_free() && !self.stopping,
            load: self.load,
            role: self.member_role(),
            ballot: self.ballot_report(),
            leader: match self.stance {
                // A leader without a lease does not send anybody to itself.
                Stance::Leader { .. } => self.is_serving(now).then_some((self.rules.me, self.ballot.term)),
                // Only what this node hears itself: hearsay would go round for ever.
                _ => self.following.map(|(process, term)| (process.node, term)),
            },
        };
        out.push(Action::Send { to: from.node, message: Message::PreVoteResp(answer) });
        // An earlier question of ours may have been lost because the other had no link to us yet; now it has one.
        if self.wants_to_hear(from.node) {
            out.push(Action::Send { to: from.node, message: self.question() });
        }
    }

    /// Whether this node must hold still until it knows what `node` is, or was.
    fn wants_to_hear(&self, node: NodeId) -> bool {
        self.window.is_some_and(|window| !window.not_leading.contains(node)) || !self.memory.heard(node)
    }

    /// What this node is, in the word that others are told.
    #[must_use]
    pub fn member_role(&self) -> MemberRole {
        match self.stance {
            Stance::Follower => MemberRole::Follower,
            Stance::Asking { .. } | Stance::Candidate { .. } => MemberRole::Candidate,
            Stance::Leader { .. } => MemberRole::Leader,
        }
    }

    fn ballot_report(&self) -> BallotReport {
        BallotReport {
            missing_at_start: self.missing_at_start,
            sound: self.memory == Memory::Sound && self.is_saved(),
            // An unsaved term may be told here: it only makes the asker more careful.
            term: self.ballot.term,
        }
    }

    fn heard_answer(&mut self, from: NodeId, answer: PreVoteResp, now: BootMs, draw: Draw, out: &mut Actions) {
        if answer.asker != self.boot {
            return;
        }
        self.seen = self.seen.max(answer.ballot.term);
        if let Some((node, term)) = answer.leader.filter(|(node, _)| *node != self.rules.me) {
            self.hint = Some(Hint { node, term, until: now.plus(self.rules.election_timeout_min_ms) });
        }
        self.memory.told(from, answer.ballot);
        self.settle_memory(now, draw, out);
        if answer.role != MemberRole::Leader {
            self.told_not_leading(from, now, draw, out);
        }
        if let Stance::Asking { since, term, grants, lightest } = &mut self.stance {
            if answer.round != self.round || now.since(*since) > self.rules.net_timeout_ms {
                return;
            }
            if answer.ballot.term >= *term {
                // An election of that term or a later one is under way already. To stand beside it could only depose
                // whoever wins it.
                self.stance = Stance::Follower;
                return;
            }
            if answer.granted {
                grants.insert(from);
                if answer.ready && lightest.is_none_or(|(load, _)| answer.load < load) {
                    *lightest = Some((answer.load, from));
                }
            }
            self.stand_if_granted(now, draw, out);
        }
    }

    /// Rule 4: the boot window ends early once *every* other member has said itself, to this boot, that it does not lead.
    fn told_not_leading(&mut self, from: NodeId, now: BootMs, draw: Draw, out: &mut Actions) {
        let Some(window) = &mut self.window else { return };
        window.not_leading.insert(from);
        if window.not_leading.len() == self.rules.nodes - 1 {
            self.end_window(true, now, draw, out);
        }
    }

    /// Rule 4: a node that lost its ballot gets one again as soon as the others' word allows it.
    fn settle_memory(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let Some(term) = self.memory.verdict(self.rules.nodes) else { return };
        self.memory = Memory::Sound;
        // It may have voted in that term: it gives the vote to itself, who does not stand in it, and so to nobody.
        let abstains = Ballot { term, voted_for: (term > Term(0)).then_some(self.rules.me) };
        if term >= self.ballot.term {
            self.ballot = abstains;
        }
        out.push(Action::Note(Note::MemorySettled { abstains_through: term }));
        self.save_then(Owed::Nothing, now, draw, out);
    }

    fn stand_if_granted(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let Stance::Asking { term, grants, lightest, .. } = self.stance else { return };
        let asked_for_it = term == self.next_term() && grants.len() >= self.rules.majority();
        if !asked_for_it || !self.is_free() || self.stopping {
            return;
        }
        match lightest {
            // Rule 6: once, and only a hint; if the other does not stand, this node does.
            Some((load, node)) if !self.nominated && load.lighter_by(NOMINATE_POINTS, self.load) => {
                self.nominated = true;
                self.stance = Stance::Follower;
                self.deadline = now.plus(self.rules.election_retry_ms);
                out.push(Action::Note(Note::Nominated { node }));
                out.push(Action::Send { to: node, message: Message::Nominate { term: self.next_term() } });
            }
            _ => self.stand(now, draw, out),
        }
    }

    fn nominated(&mut self, term: Term, now: BootMs, draw: Draw, out: &mut Actions) {
        let idle = matches!(self.stance, Stance::Follower | Stance::Asking { .. });
        if idle && self.is_free() && !self.stopping && term > self.ballot.term {
            self.seen = self.seen.max(Term(term.0.saturating_sub(1)));
            self.stand(now, draw, out);
        }
    }

    fn stand(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        self.ballot = Ballot { term: self.next_term(), voted_for: Some(self.rules.me) };
        self.following = None;
        let me = NodeSet::of(self.rules.me);
        self.stance = Stance::Candidate { asked_at: now, answered: me, votes: me };
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
        out.push(Action::Note(Note::Stands { term: self.ballot.term }));
        self.save_then(Owed::Campaign, now, draw, out);
    }

    fn vote(&mut self, from: NodeId, term: Term, asked_at: BootMs, now: BootMs, draw: Draw, out: &mut Actions) {
        let passed = term < self.ballot.term;
        let taken = term == self.ballot.term && self.ballot.voted_for.is_some_and(|node| node != from);
        if passed || taken || self.refuses_votes() {
            // What is not on disk yet must not be told.
            let term = self.saved.map_or(Term(0), |ballot| ballot.term);
            let message = Message::VoteResp { term, asked_at, granted: false };
            out.push(Action::Send { to: from, message });
            return;
        }
        self.stance = Stance::Follower;
        self.following = None;
        self.ballot = Ballot { term, voted_for: Some(from) };
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
        self.save_then(Owed::Grant { to: from, asked_at }, now, draw, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message, and what every handler takes")]
    fn heard_vote(
        &mut self,
        from: NodeId,
        term: Term,
        asked: BootMs,
        granted: bool,
        now: BootMs,
        draw: Draw,
        out: &mut Actions,
    ) {
        self.seen = self.seen.max(term);
        let Stance::Candidate { asked_at, answered, votes } = &mut self.stance else { return };
        if asked != *asked_at || now.since(*asked_at) > self.rules.net_timeout_ms {
            return;
        }
        answered.insert(from);
        if granted && term == self.ballot.term {
            votes.insert(from);
        }
        let (answered, votes) = (*answered, *votes);
        if votes.len() >= self.rules.majority() {
            self.win(now, out);
        } else if votes.len() + self.linked.without(answered).len() < self.rules.majority() {
            // Rule 8: the round is lost already; whoever could still answer is not enough.
            self.stance = Stance::Follower;
            self.deadline = now.plus(self.rules.backoff_ms(self.lost, draw));
        }
    }

    fn win(&mut self, now: BootMs, out: &mut Actions) {
        self.stance = Stance::Leader { since: now, next_beat: now, acked: [None; MAX_NODES] };
        self.lost = 0;
        self.nominated = false;
        self.hint = None;
        out.push(Action::Note(Note::Won { term: self.ballot.term }));
        self.beat(now, out);
    }

    fn beat(&mut self, now: BootMs, out: &mut Actions) {
        if let Stance::Leader { next_beat, .. } = &mut self.stance {
            *next_beat = now.plus(self.rules.heartbeat_interval_ms);
        }
        self.broadcast(Message::Heartbeat { term: self.ballot.term, sent_at: now }, out);
    }

    fn heard_heartbeat(&mut self, from: Process, term: Term, sent: BootMs, now: BootMs, draw: Draw, out: &mut Actions) {
        if term < self.ballot.term {
            // A leader that was passed over learns so, but only from what is on disk.
            if self.is_saved() {
                let message = Message::Ack { term: self.ballot.term, sent_at: sent };
                out.push(Action::Send { to: from.node, message });
            }
            return;
        }
        if matches!(self.stance, Stance::Leader { .. }) {
            if term == self.ballot.term {
                // Cannot be by rule 1; and if it were, nothing good would come of obeying.
                return;
            }
            self.step_down(SteppedDownBecause::HigherTerm(term), now, draw, out);
        }
        if term > self.ballot.term {
            self.ballot = Ballot { term, voted_for: None };
        }
        if self.following != Some((from, term)) {
            out.push(Action::Note(Note::Follows { leader: from.node, term }));
        }
        self.stance = Stance::Follower;
        self.following = Some((from, term));
        self.hint = None;
        self.lost = 0;
        self.nominated = false;
        self.deadline = now.plus(self.rules.silence_ms(self.load, draw));
        // A node that does not know how it voted must not become part of a lease's majority either: it could have
        // promised the same to another.
        if self.memory == Memory::Sound {
            self.promise = Some(Promise { to: from, term, until: now.plus(self.rules.promise_ms()) });
            self.save_then(Owed::Ack { to: from.node, sent_at: sent }, now, draw, out);
        } else {
            let question = self.question();
            self.broadcast(question, out);
        }
    }

    fn heard_ack(&mut self, from: NodeId, term: Term, sent_at: BootMs, now: BootMs, draw: Draw, out: &mut Actions) {
        self.seen = self.seen.max(term);
        let Stance::Leader { since, acked, .. } = &mut self.stance else { return };
        if term > self.ballot.term {
            self.step_down(SteppedDownBecause::HigherTerm(term), now, draw, out);
        } else if term == self.ballot.term && (*since..=now).contains(&sent_at) {
            let newest = &mut acked[usize::from(from.0)];
            *newest = (*newest).max(Some(sent_at));
        }
    }

    /// Voids a promise made to exactly the term that was given up, and nothing else. For the boot window it is the
    /// sender's own word that it does not lead, as good as an answer.
    fn heard_resign(&mut self, from: NodeId, term: Term, now: BootMs, draw: Draw, out: &mut Actions) {
        if self.promise.is_some_and(|promise| promise.to.node == from && promise.term == term) {
            self.promise = None;
        }
        if self.following.is_some_and(|(process, of)| process.node == from && of == term) {
            self.following = None;
            self.deadline = now.plus(self.rules.short_pause_ms(self.load, draw));
            out.push(Action::Note(Note::LeaderResigned { leader: from, term }));
        }
        self.hint = self.hint.filter(|hint| hint.node != from || hint.term != term);
        self.told_not_leading(from, now, draw, out);
    }

    /// Ends a leadership. The node may stand again after a pause.
    fn step_down(&mut self, why: SteppedDownBecause, now: BootMs, draw: Draw, out: &mut Actions) {
        out.push(Action::Note(Note::SteppedDown { term: self.ballot.term, why }));
        self.stance = Stance::Follower;
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
    }

    /// Gives the lease up before anything else ends, and says so.
    fn stop(&mut self, now: BootMs, out: &mut Actions) {
        self.stopping = true;
        if let Stance::Leader { .. } = self.stance {
            let term = self.ballot.term;
            self.step_down(SteppedDownBecause::Stopping, now, Draw(0), out);
            self.broadcast(Message::Resign { term }, out);
        } else if self.following.is_none() {
            self.stance = Stance::Follower;
        }
    }

    fn broadcast(&self, message: Message, out: &mut Actions) {
        let others = all_ids(self.rules.nodes).filter(|node| *node != self.rules.me);
        out.extend(others.map(|to| Action::Send { to, message }));
    }

    /// Rule 1: `owed` leaves when the present ballot is on disk, which may be now.
    fn save_then(&mut self, owed: Owed, now: BootMs, draw: Draw, out: &mut Actions) {
        self.owed = owed;
        if self.is_saved() {
            self.pay(now, draw, out);
        } else if self.saving != Some(self.ballot) {
            self.saving = Some(self.ballot);
            out.push(Action::Save(self.ballot));
        }
    }

    fn saved(&mut self, ballot: Ballot, now: BootMs, draw: Draw, out: &mut Actions) {
        self.saved = Some(ballot);
        if self.saving == Some(ballot) {
            self.saving = None;
        }
        if self.is_saved() {
            self.pay(now, draw, out);
        }
    }

    fn pay(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let term = self.ballot.term;
        match std::mem::replace(&mut self.owed, Owed::Nothing) {
            Owed::Nothing => self.stand_if_granted(now, draw, out),
            Owed::Campaign => self.campaign(now, draw, out),
            Owed::Grant { to, asked_at } => {
                out.push(Action::Send { to, message: Message::VoteResp { term, asked_at, granted: true } });
            }
            Owed::Ack { to, sent_at } => out.push(Action::Send { to, message: Message::Ack { term, sent_at } }),
        }
    }

    fn campaign(&mut self, now: BootMs, draw: Draw, out: &mut Actions) {
        let Stance::Candidate { asked_at, .. } = &mut self.stance else { return };
        *asked_at = now;
        self.deadline = now.plus(self.rules.vote_wait_ms(self.lost, draw));
        if self.rules.nodes == 1 {
            self.win(now, out);
        } else {
            self.broadcast(Message::Vote { term: self.ballot.term, asked_at: now }, out);
        }
    }

    fn save_failed(&mut self, ballot: Ballot, now: BootMs, draw: Draw, out: &mut Actions) {
        if self.saving == Some(ballot) {
            self.saving = None;
        }
        if ballot != self.ballot {
            return;
        }
        out.push(Action::Note(Note::BallotNotSaved));
        // The file may hold either ballot now, so neither counts as saved until a write succeeds.
        self.saved = None;
        self.owed = Owed::Nothing;
        if !matches!(self.stance, Stance::Leader { .. }) {
            self.stance = Stance::Follower;
            self.deadline = self.deadline.max(now.plus(self.rules.backoff_ms(self.lost, draw)));
        }
    }
}
