//! Election state machine: an event, the time and a random number in, actions out.
//!
//! It uses no sockets, files, clocks or threads. Its whole state is plain data that can be cloned,
//! compared and hashed. So the simulator and the model checker run the same code as the node.
//! docs/design/election.md explains the numbered rules.
//!
//! Read [`Machine::handle`] and [`Event`] first.

mod ballot_recovery;
mod boot_window;
mod candidate;
mod dead_processes;
mod durable_ballot;
mod event;
mod event_context;
mod follower;
mod leader;
mod node;
#[cfg(any(test, feature = "testing"))]
mod normalize;
mod pre_vote;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use event::{Action, Event, LogEvent, MessageFault, StepDownReason};
pub use rules::{Entropy, Rules};

use crate::process::{Ballot, BootId, NodeId, Process};
use crate::role::RoleState;
use crate::wire::message::Message;
use event_context::EventContext;
use node::Node;
#[cfg(any(test, feature = "testing"))]
use rollcall_core::MAX_NODES;
use rollcall_core::{BootMs, Load, MemberRole, Term};
use state::State;

/// One node's part in the election. It passes each event to the role that handles it.
///
/// Invariant: no message that depends on the ballot is sent before the ballot is on disk. The term
/// never decreases.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Machine {
    node: Node,
}

impl Machine {
    /// A node that has just started. `ballot` is the ballot on disk, `None` if the file was missing
    /// or corrupt.
    #[must_use]
    pub fn new(rules: Rules, boot: BootId, ballot: Option<Ballot>, now: BootMs) -> Self {
        Self { node: Node::new(rules, boot, ballot, now) }
    }

    /// Handles one event. The caller performs the returned actions in their order.
    pub fn handle(&mut self, event: Event, now: BootMs, entropy: Entropy) -> Vec<Action> {
        let mut ctx = EventContext::new(now, entropy);
        let node = &mut self.node;
        expire_deadlines(node, &mut ctx);
        match event {
            Event::LinkUp(to) => handle_link_up(node, &mut ctx, to),
            Event::LinkDown(from) => node.process.linked.remove(from),
            Event::MessageReceived { from, message } => handle_message(node, &mut ctx, from, message),
            Event::TimerFired => handle_timer(node, &mut ctx),
            Event::BallotSaved(ballot) => handle_ballot_saved(node, &mut ctx, ballot),
            Event::BallotSaveFailed(ballot) => candidate::handle_save_failed(node, &mut ctx, ballot),
            Event::ProcessConnected(process) => follower::handle_process_connected(node, &mut ctx, process),
            Event::EndOfStream(process) => follower::handle_end_of_stream(node, &mut ctx, process),
            Event::Drained => leader::handle_drained(node, &mut ctx),
            Event::LoadSampled(load) => node.process.load = load,
            Event::StopRequested => leader::handle_stop(node, &mut ctx),
        }
        ctx.into_actions()
    }

    /// When [`Event::TimerFired`] is due. The event may come early. If it comes late, only this
    /// node is delayed.
    #[must_use]
    pub fn next_timer_at(&self) -> BootMs {
        let Node { state, following, schedule, .. } = &self.node;
        let resigns = schedule.released.map_or(BootMs::NEVER, |released| released.resign_at);
        match state {
            State::Leader(leadership) => leader::next_timer_at(&self.node, leadership),
            _ if self.node.process.stopping => resigns,
            _ => {
                // The deadline has no effect before the promise has expired.
                let bound = following.promise.map_or(BootMs(0), |promise| promise.until);
                let window = following.window.map_or(BootMs::NEVER, |window| window.until);
                let hint = following.hint.map_or(BootMs::NEVER, |hint| hint.until);
                schedule.deadline.max(bound).min(window).min(hint).min(resigns)
            }
        }
    }

    /// Role of this node, with the end of its lease if it leads.
    #[must_use]
    pub fn role_state(&self) -> RoleState {
        match self.node.state {
            State::Follower => RoleState::Follower,
            State::PreVote { .. } | State::Candidate { .. } => RoleState::Candidate,
            State::Leader(ref leadership) => {
                RoleState::Leader { serves_until: self.serves_until(), handing_over: leadership.handover.is_some() }
            }
        }
    }

    /// Role of this node as it is reported to other nodes.
    #[must_use]
    pub fn member_role(&self) -> MemberRole {
        self.node.member_role()
    }

    /// The known leader and its term: this node itself, the leader it hears, or a leader that
    /// another node named.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, Term)> {
        if self.node.leads() {
            return Some((self.node.rules.me, self.term()));
        }
        let followed = self.node.following.leader.map(|(process, term)| (process.node, term));
        followed.or(self.node.following.hint.map(|hint| (hint.node, hint.term)))
    }

    /// Random number of this process start.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.node.process.boot
    }

    /// This node's term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.node.ballot.term()
    }

    /// The term that is safely on disk. `None` while this node has lost its ballot and not
    /// recovered it.
    #[must_use]
    pub fn saved_term(&self) -> Option<Term> {
        self.node.ballot.saved.filter(|_| self.node.recovery.is_sound()).map(|ballot| ballot.term)
    }

    /// Whether this node has lost its ballot and not recovered it.
    #[must_use]
    pub fn has_lost_its_ballot(&self) -> bool {
        !self.node.recovery.is_sound()
    }

    /// CPU load of this node, as the rules use it.
    #[must_use]
    pub fn load(&self) -> Load {
        self.node.process.load
    }

    /// End of the lease (rule 3): the send time of the newest heartbeat that a majority
    /// acknowledged, plus L. 0 for a node that does not lead, or that no majority has acknowledged
    /// yet. A leader in a cluster of one node serves without end.
    #[must_use]
    pub fn serves_until(&self) -> BootMs {
        leader::serves_until(&self.node)
    }

    /// Whether this node may answer as the leader at `now`.
    #[must_use]
    pub fn is_serving(&self, now: BootMs) -> bool {
        leader::is_serving(&self.node, now)
    }

    /// Whether this node is handing over its term, or has given it up and knows no successor yet. A
    /// stopping process waits a moment for the successor.
    #[must_use]
    pub fn awaits_successor(&self) -> bool {
        leader::awaits_successor(&self.node)
    }
}

/// Test support for the model check.
#[cfg(any(test, feature = "testing"))]
impl Machine {
    /// Number of the latest pre-vote round.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.node.schedule.round
    }

    /// Whether this node has learned a fact since `before`: a node that does not lead, a report
    /// about a ballot, or a later term. Pre-vote grants do not count.
    #[must_use]
    pub fn has_learned_since(&self, before: &Self) -> bool {
        let known = |node: &Node| (node.following.window, node.recovery.status.clone(), node.ballot.highest_seen_term);
        known(&self.node) != known(&before.node)
    }

    /// The same machine after `passed` milliseconds, with all times shifted back so that it is
    /// `now` again. `passed` has one entry per node, because each time belongs to the clock that it
    /// was read from.
    ///
    /// It also removes information that has no effect any more: the exact age of a time that no
    /// rule looks back to, the exact lateness of a deadline, and seen terms that this node has
    /// passed. If `passed` is all zero, it does nothing else. Two machines that are equal
    /// afterwards behave alike from `now` on.
    ///
    /// [`Self::round`] becomes 1, or 3 once the responses can recover a lost ballot. The caller
    /// must renumber the responses in flight: the present round gets the new number, and each past
    /// round gets the number one below it.
    #[must_use]
    pub fn normalized(&self, now: BootMs, passed: &[u64; MAX_NODES]) -> Self {
        let mut machine = self.clone();
        normalize::normalize_node(&mut machine.node, now, passed);
        machine
    }
}

/// Removes the promise, the hint and the boot window if they have expired, and checks the leader's
/// majority.
fn expire_deadlines(node: &mut Node, ctx: &mut EventContext) {
    let now = ctx.now;
    node.following.promise = node.following.promise.filter(|promise| now < promise.until);
    node.following.hint = node.following.hint.filter(|hint| now < hint.until);
    boot_window::expire(node, ctx);
    leader::check_majority(node, ctx);
}

fn handle_timer(node: &mut Node, ctx: &mut EventContext) {
    leader::resign_if_due(node, ctx);
    if node.leads() {
        leader::handle_timer(node, ctx);
    } else if ctx.now >= node.schedule.deadline && node.following.promise.is_none() && !node.process.stopping {
        pre_vote::start_round(node, ctx);
    }
}

/// A ballot is on disk. Sends the messages that waited for it. If there were none, a node with a
/// majority of pre-votes may have waited for the ballot, so it campaigns now.
fn handle_ballot_saved(node: &mut Node, ctx: &mut EventContext, ballot: Ballot) {
    node.ballot.mark_saved(ballot);
    if !node.ballot.is_saved() {
        return;
    }
    if node.ballot.pending.is_some() {
        candidate::flush(node, ctx);
    } else {
        pre_vote::campaign_if_granted(node, ctx);
    }
}

fn handle_link_up(node: &mut Node, ctx: &mut EventContext, to: NodeId) {
    node.process.linked.insert(to);
    match &node.state {
        State::PreVote { .. } => ctx.send(to, pre_vote::pre_vote_request(node)),
        State::Follower if node.needs_answer_from(to) => ctx.send(to, pre_vote::pre_vote_request(node)),
        State::Follower => {}
        State::Candidate { released_term, asked_at, answered, .. } => {
            if node.ballot.is_saved() && !answered.contains(to) {
                ctx.send(to, candidate::vote_request(node, *asked_at, *released_term));
            }
        }
        State::Leader(_) => ctx.send(to, Message::Heartbeat { term: node.ballot.term(), sent_at: ctx.now }),
    }
}

/// Checks a message for values that no correct member sends. An impossible term would
/// use up all terms.
fn fault_of(node: &Node, message: &Message) -> Option<MessageFault> {
    let (term, limit) = (message.term(), node.ballot.term_limit());
    if term > limit {
        return Some(MessageFault::ImpossibleTerm { term, limit });
    }
    message.named_node().filter(|named| usize::from(named.0) >= node.rules.nodes).map(MessageFault::UnknownNode)
}

fn handle_message(node: &mut Node, ctx: &mut EventContext, from: Process, message: Message) {
    // Ignore the message of a process that died after it sent it: its promises and requests are
    // void.
    if node.dead.contains(from) {
        return;
    }
    if let Some(fault) = fault_of(node, &message) {
        return ctx.log(LogEvent::MessageIgnored { from: from.node, fault });
    }
    match message {
        Message::PreVote { round, term, dead_leader } => {
            follower::learn_dead_leader(node, ctx, dead_leader);
            pre_vote::handle_request(node, ctx, from, round, term);
        }
        Message::PreVoteResp(answer) => pre_vote::handle_response(node, ctx, from.node, answer),
        Message::Nominate { term } => pre_vote::handle_nomination(node, ctx, term),
        Message::Vote { term, asked_at, released_term, dead_leader } => {
            follower::learn_dead_leader(node, ctx, dead_leader);
            follower::release_promise_of(node, released_term);
            candidate::handle_vote_request(node, ctx, from.node, term, asked_at);
        }
        Message::VoteResp { term, asked_at, granted } => {
            candidate::handle_vote_response(node, ctx, from.node, term, asked_at, granted);
        }
        Message::Heartbeat { term, sent_at } => follower::handle_heartbeat(node, ctx, from, term, sent_at),
        Message::Ack { term, sent_at, load, ready } => {
            leader::handle_ack(node, ctx, from.node, term, sent_at, ready.then_some(load));
        }
        Message::StandNow { term } => follower::handle_stand_now(node, ctx, from, term),
        Message::Resign { term } => follower::handle_resign(node, ctx, from.node, term),
    }
}
