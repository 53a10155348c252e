//! One node's replica, as a pure state machine: events and the time go in, actions come out.
//!
//! It decides which messages to send, which rows to merge and which coverage the node has. It has
//! no sockets and no clock. It reaches the registry's tables through [`LocalTables`].

use super::batch_log::BatchLog;
use super::bounds::MessageBounds;
use super::catch_up::{CatchUp, RequestIds};
use super::follower::FollowerReplica;
use super::freshness::Freshness;
use super::leader::LeaderReplica;
use super::local_tables::LocalTables;
use super::message::{Continuation, LogPosition, PullCursor, ReplicaMessage};
use crate::registry::{AbsurdValue, Coverage, RowNo, Rows};
use rollcall_core::{BootMs, Term};
use rollcall_election::NodeId;

/// Interval of a leader's status messages, in milliseconds. A follower counts its leader as alive
/// for one second after each message, so two may be lost.
const LEADER_STATUS_INTERVAL_MS: u64 = 300;

/// Time between two events from which this process counts as stalled, in milliseconds. The messages
/// that it reads next may have waited for that time.
const STALL_THRESHOLD_MS: u64 = 1000;

/// An action for the driver.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Send a message to these nodes.
    Send(Vec<NodeId>, ReplicaMessage),
    /// Tell the registry that a leader is alive.
    LeaderHeard,
    /// Tell the registry that a majority has the new users up to this row number.
    Confirm(RowNo),
    /// Raise the coverage of the users that this node has as the leader of a term.
    RaiseUsers(Term, Coverage),
    /// Raise the coverage of the clients that this node has as the leader of a term.
    RaiseClients(Term, Coverage),
    /// Write to the operator log that an absurd value of a node was ignored.
    LogAbsurdValue(NodeId, AbsurdValue),
}

/// One node's replica.
#[derive(Debug)]
pub(super) struct Replica {
    membership: Membership,
    /// The term that the election has saved to disk. The replica accepts leaders of this term only:
    /// after a restart, the leader of an earlier term may lack rows that this node had acknowledged
    /// to a later leader.
    saved_term: Option<Term>,
    bounds: MessageBounds,
    /// Has a position only while this node has every row of a leader whose list of users was
    /// complete. Then this node is complete too.
    log: BatchLog,
    freshness: Freshness,
    last_event_at: BootMs,
    request_ids: RequestIds,
    role: ReplicaRole,
}

/// This node, and the number of nodes in the cluster.
#[derive(Clone, Copy, Debug)]
struct Membership {
    me: NodeId,
    nodes: usize,
}

/// Role of the replica, with the state of that role.
#[derive(Debug)]
enum ReplicaRole {
    Leader(LeaderReplica),
    Follower(FollowerReplica),
}

impl Replica {
    /// The replica of a process that has just started. `random` is a number that no other process
    /// of this node has drawn.
    pub(super) fn new(me: NodeId, nodes: usize, random: u64) -> Self {
        let role = ReplicaRole::Follower(FollowerReplica::default());
        Self {
            membership: Membership { me, nodes },
            saved_term: None,
            bounds: MessageBounds::default(),
            log: BatchLog::default(),
            freshness: Freshness::default(),
            last_event_at: BootMs::NEVER,
            request_ids: RequestIds::starting_after(random),
            role,
        }
    }

    /// Sets the term that the election has saved to disk. `None` while there is none.
    pub(super) fn set_saved_term(&mut self, term: Option<Term>) {
        self.saved_term = term;
        self.bounds.note_saved_term(term.unwrap_or_default());
    }

    /// The term that this node leads, if any.
    pub(super) fn leading_term(&self) -> Option<Term> {
        match &self.role {
            ReplicaRole::Leader(leader) => Some(leader.term),
            ReplicaRole::Follower(_) => None,
        }
    }

    /// When each table was last equal to the leader's, or this node last served it as the leader.
    pub(super) fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Whether this node leads, and every follower that is alive has every batch.
    pub(super) fn is_flushed(&self, now: BootMs) -> bool {
        matches!(&self.role, ReplicaRole::Leader(leader) if leader.sent.is_flushed(now))
    }

    /// Whether this node follows and may be chosen at a handover: it has the complete list of
    /// users, except for batches in flight.
    pub(super) fn may_take_over(&self) -> bool {
        matches!(&self.role, ReplicaRole::Follower(follower) if follower.users_coverage().may_take_over())
    }

    /// Starts to lead `term`, and to pull from every other node.
    pub(super) fn start_leading(&mut self, term: Term, tables: &mut impl LocalTables, now: BootMs) -> Vec<Action> {
        let mut out = Vec::new();
        self.check_for_stall(now, &mut out);
        // No node knows more clients than a follower that was up to date with the last leader.
        let clients = match &self.role {
            ReplicaRole::Follower(follower) => follower.clients_coverage,
            ReplicaRole::Leader(_) => Coverage::Partial,
        };
        let mut leader = LeaderReplica::new(term, clients, now);
        if clients.may_answer_online() {
            out.push(Action::RaiseClients(term, clients));
        }
        let from = self.catch_up_cursor();
        for node in self.membership.others() {
            let (catch_up, request) = CatchUp::start(from.clone(), &mut self.request_ids, now);
            leader.takeover.catch_ups.insert(node, catch_up);
            out.push(Action::Send(vec![node], request));
        }
        self.role = ReplicaRole::Leader(leader);
        // Sent after the requests, so that the other nodes respond before they begin to follow this
        // node.
        self.send_leader_status(now, &mut out);
        self.update_users_coverage(tables, &mut out);
        out
    }

    /// Stops leading, if this node leads, and follows the leader of its saved term. Changes that
    /// were not sent go into the log, so that other nodes can pull them.
    pub(super) fn follow(&mut self, tables: &mut impl LocalTables) {
        if let ReplicaRole::Leader(leader) = &mut self.role {
            while let Some((rows, _)) = tables.take_changes() {
                self.log.push(leader.next_position(), &rows);
            }
            self.role = ReplicaRole::Follower(FollowerReplica { term: leader.term, ..FollowerReplica::default() });
        }
    }

    /// Sets the leader's coverage of the users, and starts the log if it has no base.
    fn set_users_coverage(leader: &mut LeaderReplica, coverage: Coverage, log: &mut BatchLog) {
        leader.users_coverage = coverage;
        if log.position().is_none() {
            log.start_at(leader.position());
        }
    }

    /// Sends all changes at once, if this node leads.
    pub(super) fn flush(&mut self, tables: &mut impl LocalTables) -> Vec<Action> {
        let mut out = Vec::new();
        let ReplicaRole::Leader(leader) = &mut self.role else { return out };
        while let Some((rows, new_users)) = tables.take_changes() {
            let position = leader.next_position();
            leader.sent.record_batch(position.number, new_users);
            self.log.push(position, &rows);
            let bytes = rows.size();
            let batch = ReplicaMessage::Batch { term: position.term, number: position.number, rows };
            let to: Vec<NodeId> =
                self.membership.others().filter(|node| leader.sent.try_reserve(*node, bytes)).collect();
            if !to.is_empty() {
                out.push(Action::Send(to, batch));
            }
        }
        out.extend(leader.sent.newly_confirmed(self.membership.nodes).map(Action::Confirm));
        out
    }

    /// Handles the passage of time; to be called several times a second. `serves`: whether this
    /// node serves as the leader at `now`. A leader that was suspended until its lease ended does
    /// not serve, and may have missed changes.
    pub(super) fn tick(&mut self, tables: &mut impl LocalTables, serves: bool, now: BootMs) -> Vec<Action> {
        let mut out = self.flush(tables);
        self.check_for_stall(now, &mut out);
        match &mut self.role {
            ReplicaRole::Leader(leader) => {
                if serves {
                    self.freshness.record(leader.users_coverage, now);
                }
                if leader.takeover.raise_clients_coverage(self.membership.nodes, now) {
                    out.push(Action::RaiseClients(leader.term, leader.takeover.clients_coverage()));
                }
                for (node, catch_up) in &mut leader.takeover.catch_ups {
                    out.extend(catch_up.retry_if_due(now).map(|request| Action::Send(vec![*node], request)));
                }
                if now.since(leader.status_sent_at) >= LEADER_STATUS_INTERVAL_MS {
                    self.send_leader_status(now, &mut out);
                }
                self.update_users_coverage(tables, &mut out);
            }
            ReplicaRole::Follower(follower) => {
                if let (Some(leader), Some(catch_up)) = (follower.leader, &mut follower.catch_up) {
                    out.extend(catch_up.retry_if_due(now).map(|request| Action::Send(vec![leader], request)));
                }
            }
        }
        out
    }

    /// Handles a message of another node.
    pub(super) fn handle_message(
        &mut self,
        from: NodeId,
        message: ReplicaMessage,
        tables: &mut impl LocalTables,
        now: BootMs,
    ) -> Vec<Action> {
        let mut out = Vec::new();
        self.check_for_stall(now, &mut out);
        let (message, absurd) = self.bounds.admit(from, message, now);
        out.extend(absurd.map(|absurd| Action::LogAbsurdValue(from, absurd)));
        let Some(message) = message else { return out };
        match message {
            ReplicaMessage::Batch { term, number, rows } => {
                if self.leading_term().is_some() {
                    // The rows of another leader are valid, and this leader replicates them
                    // further.
                    tables.merge(&rows);
                }
                if self.accepts_leader(from, term, number.saturating_sub(1), now, &mut out) {
                    tables.merge(&rows);
                    self.append_batch(LogPosition { term, number }, &rows, now, &mut out);
                    self.send_ack(from, Coverage::Partial, tables, now, &mut out);
                }
            }
            ReplicaMessage::LeaderStatus { term, last_batch, users_complete } => {
                if self.accepts_leader(from, term, last_batch, now, &mut out) {
                    self.catch_up_to(last_batch, now, &mut out);
                    self.send_ack(from, Coverage::from_complete_bit(users_complete), tables, now, &mut out);
                }
            }
            ReplicaMessage::Ack { term, after, up_to } => {
                if let ReplicaRole::Leader(leader) = &mut self.role
                    && leader.term == term
                {
                    // A follower takes all numbers from the leader of the term, which is this node.
                    if up_to > leader.sent.last_batch {
                        let absurd = AbsurdValue { field: "up_to", value: up_to.into() };
                        let absurd = self.bounds.throttle(from, absurd, now);
                        out.extend(absurd.map(|absurd| Action::LogAbsurdValue(from, absurd)));
                        return out;
                    }
                    let confirmed = leader.sent.handle_ack(from, (after, up_to), self.membership.nodes, now);
                    out.extend(confirmed.map(Action::Confirm));
                }
            }
            ReplicaMessage::PullRequest { request_id, from: cursor } => {
                let (rows, next) = self.rows_after(cursor, tables);
                out.push(Action::Send(vec![from], ReplicaMessage::PullResponse { request_id, rows, next }));
            }
            ReplicaMessage::PullResponse { request_id, rows, next } => {
                self.handle_pull_response(from, request_id, &rows, &next, tables, now, &mut out);
            }
        }
        out
    }

    /// Whether this node follows `from` as the leader of `term`. If `from` is a new leader, this
    /// node expects its batches after number `after`, and a catch-up starts.
    fn accepts_leader(&mut self, from: NodeId, term: Term, after: u64, now: BootMs, out: &mut Vec<Action>) -> bool {
        let known_term = match &self.role {
            ReplicaRole::Leader(leader) => leader.term,
            ReplicaRole::Follower(follower) => follower.term,
        };
        let ReplicaRole::Follower(follower) = &mut self.role else {
            // The election will tell this node when it no longer leads.
            return false;
        };
        if self.saved_term != Some(term)
            || term < known_term
            || (term == known_term && follower.leader.is_some_and(|leader| leader != from))
        {
            return false;
        }
        out.push(Action::LeaderHeard);
        if term > known_term || follower.leader.is_none() {
            // Earlier batches may have been missed. The catch-up pulls their rows.
            *follower = FollowerReplica { term, leader: Some(from), after, up_to: after, ..FollowerReplica::default() };
            self.start_catch_up(now, out);
        }
        true
    }

    /// Records a batch of the leader: appends it to the log, or catches up with the batches before
    /// it.
    fn append_batch(&mut self, position: LogPosition, rows: &Rows, now: BootMs, out: &mut Vec<Action>) {
        let ReplicaRole::Follower(follower) = &mut self.role else { return };
        if position.number <= follower.up_to {
            return;
        }
        if position.number == follower.up_to + 1 {
            follower.up_to = position.number;
            self.log.push(position, rows);
            return;
        }
        self.catch_up_to(position.number - 1, now, out);
        if let ReplicaRole::Follower(follower) = &mut self.role {
            follower.up_to = position.number;
        }
    }

    /// Starts a catch-up if this node misses batches up to `number`. A catch-up in progress
    /// continues: if every gap restarted it, it would never end on a slow link.
    fn catch_up_to(&mut self, number: u64, now: BootMs, out: &mut Vec<Action>) {
        let ReplicaRole::Follower(follower) = &mut self.role else { return };
        if number > follower.up_to {
            let before = follower.up_to;
            (follower.after, follower.up_to) = (number, number);
            follower.clients_coverage = Coverage::Partial;
            if follower.catch_up.is_some() {
                follower.gap_after.get_or_insert(before);
            } else {
                self.start_catch_up(now, out);
            }
        }
    }

    /// Detects that this process did not run for a while. The messages that it reads next may have
    /// waited in its queues, so the heartbeats in them seem more recent than they are. A follower
    /// therefore pulls all rows again, and the merge keeps the greater age of each heartbeat.
    fn check_for_stall(&mut self, now: BootMs, out: &mut Vec<Action>) {
        let is_stalled = now.since(std::mem::replace(&mut self.last_event_at, now)) > STALL_THRESHOLD_MS;
        if is_stalled && let ReplicaRole::Follower(follower) = &mut self.role {
            follower.clients_coverage = Coverage::Partial;
            self.log.clear();
            self.start_catch_up(now, out);
        }
    }

    /// Starts a catch-up from the leader. The log is cleared, because rows from the catch-up are
    /// not in it. Until the log starts again, this node answers pull requests from its tables.
    fn start_catch_up(&mut self, now: BootMs, out: &mut Vec<Action>) {
        let from = self.catch_up_cursor();
        self.log.mark_gap();
        let ReplicaRole::Follower(follower) = &mut self.role else { return };
        let Some(leader) = follower.leader else { return };
        let (catch_up, request) = CatchUp::start(from, &mut self.request_ids, now);
        follower.catch_up = Some(catch_up);
        out.push(Action::Send(vec![leader], request));
    }

    /// The cursor after which this node may lack rows that another node has.
    fn catch_up_cursor(&self) -> PullCursor {
        self.log.last_complete_position().map_or(PullCursor::Clients(None), PullCursor::Since)
    }

    /// Acknowledges all batches that this node has. `leader_users` is the leader's coverage of the
    /// users as its message reported it; `Partial` if the message did not say.
    fn send_ack(
        &mut self,
        to: NodeId,
        leader_users: Coverage,
        tables: &mut impl LocalTables,
        now: BootMs,
        out: &mut Vec<Action>,
    ) {
        let ReplicaRole::Follower(follower) = &mut self.role else { return };
        follower.leader_users_coverage = follower.leader_users_coverage.max(leader_users);
        let is_up_to_date = follower.is_up_to_date();
        if is_up_to_date {
            self.freshness.record(follower.leader_users_coverage, now);
        }
        // Only on a status message: a batch does not say whether later batches exist that this node
        // has missed.
        if leader_users.may_claim_complete() && is_up_to_date && self.log.position().is_none() {
            tables.note_complete();
            self.log.start_at(LogPosition { term: follower.term, number: follower.up_to });
        }
        let after = if is_up_to_date { 0 } else { follower.after };
        out.push(Action::Send(vec![to], ReplicaMessage::Ack { term: follower.term, after, up_to: follower.up_to }));
    }

    /// The rows that answer one pull request, and the continuation.
    fn rows_after(&self, cursor: PullCursor, tables: &mut impl LocalTables) -> (Rows, Continuation) {
        let leading_term = self.leading_term();
        match cursor {
            PullCursor::Since(position) => match self.log.batches_after(position) {
                Some((rows, Some(at))) => (rows, Continuation::More(PullCursor::Since(at))),
                Some((rows, None)) => {
                    (rows, Continuation::End { is_complete: tables.may_claim_complete(), leading_term })
                }
                None => (Rows::default(), Continuation::More(PullCursor::Clients(None))),
            },
            PullCursor::Clients(after) => {
                let rows = tables.clients_after(after.as_ref());
                let next = match rows.clients.last() {
                    Some(last) => PullCursor::Clients(Some(last.username.clone())),
                    None => PullCursor::Users(None),
                };
                (rows, Continuation::More(next))
            }
            PullCursor::Users(after) => {
                let rows = tables.users_after(after.as_ref());
                match rows.users.last() {
                    Some(last) => {
                        let next = Continuation::More(PullCursor::Users(Some(last.username.clone())));
                        (rows, next)
                    }
                    None => (rows, Continuation::End { is_complete: tables.may_claim_complete(), leading_term }),
                }
            }
        }
    }

    /// Merges the rows of a pull response, and sends the next request or ends the catch-up.
    #[expect(clippy::too_many_arguments, reason = "the fields of one message, and what every handler takes")]
    fn handle_pull_response(
        &mut self,
        from: NodeId,
        request_id: u64,
        rows: &Rows,
        next: &Continuation,
        tables: &mut impl LocalTables,
        now: BootMs,
        out: &mut Vec<Action>,
    ) {
        tables.merge(rows);
        let ids = &mut self.request_ids;
        match &mut self.role {
            ReplicaRole::Leader(leader) => {
                let catch_up = leader.takeover.catch_ups.get_mut(&from);
                let Some(catch_up) = catch_up.filter(|catch_up| catch_up.is_answered_by(request_id)) else { return };
                match next {
                    Continuation::More(_) => {
                        let request = catch_up.next_request(next, ids, now);
                        out.extend(request.map(|request| Action::Send(vec![from], request)));
                    }
                    Continuation::End { is_complete, .. } => {
                        leader.takeover.record_report(from, *is_complete);
                        if leader.takeover.raise_clients_coverage(self.membership.nodes, now) {
                            out.push(Action::RaiseClients(leader.term, leader.takeover.clients_coverage()));
                        }
                        self.update_users_coverage(tables, out);
                    }
                }
            }
            ReplicaRole::Follower(follower) => {
                let catch_up = follower.catch_up.as_mut();
                let Some(catch_up) = catch_up.filter(|catch_up| catch_up.is_answered_by(request_id)) else { return };
                match next {
                    Continuation::More(_) => {
                        let request = catch_up.next_request(next, ids, now);
                        out.extend(request.map(|request| Action::Send(vec![from], request)));
                    }
                    Continuation::End { leading_term, .. } => {
                        follower.catch_up = None;
                        if let Some(number) = follower.gap_after.take() {
                            let gap = PullCursor::Since(LogPosition { term: follower.term, number });
                            let (catch_up, request) = CatchUp::start(gap, ids, now);
                            follower.catch_up = Some(catch_up);
                            out.push(Action::Send(vec![from], request));
                            return;
                        }
                        // The leader's node may have restarted. Then the response came from its new
                        // process, which does not lead.
                        if *leading_term == Some(follower.term) {
                            follower.clients_coverage = Coverage::UpToDate;
                            self.send_ack(from, Coverage::Partial, tables, now, out);
                        } else {
                            follower.leader = None;
                        }
                    }
                }
            }
        }
    }

    /// Raises the leader's coverage of the users once the list was read from the bucket, or once
    /// the complete nodes that reported are a majority.
    fn update_users_coverage(&mut self, tables: &mut impl LocalTables, out: &mut Vec<Action>) {
        let ReplicaRole::Leader(leader) = &mut self.role else { return };
        if leader.users_coverage.may_list_users() {
            return;
        }
        let from_bucket = tables.users_in(leader.term);
        if from_bucket.may_list_users() {
            Self::set_users_coverage(leader, from_bucket, &mut self.log);
        } else if leader.takeover.has_all_users(tables.may_claim_complete(), self.membership.nodes) {
            Self::set_users_coverage(leader, Coverage::Certain, &mut self.log);
            tables.note_complete();
            out.push(Action::RaiseUsers(leader.term, leader.users_coverage));
        }
    }

    /// Sends the status message of this leader to all other nodes.
    fn send_leader_status(&mut self, now: BootMs, out: &mut Vec<Action>) {
        let ReplicaRole::Leader(leader) = &mut self.role else { return };
        leader.status_sent_at = now;
        let status = ReplicaMessage::LeaderStatus {
            term: leader.term,
            last_batch: leader.sent.last_batch,
            users_complete: leader.users_coverage.complete_bit(),
        };
        let to: Vec<NodeId> = self.membership.others().collect();
        if !to.is_empty() {
            out.push(Action::Send(to, status));
        }
    }
}

impl Membership {
    fn others(self) -> impl Iterator<Item = NodeId> + use<> {
        let Self { me, nodes } = self;
        (0..u8::try_from(nodes).unwrap_or(u8::MAX)).map(NodeId).filter(move |node| *node != me)
    }
}
