//! Operator's view of the election: the table of nodes and the log lines.

use std::fmt::Display;

use tracing::{error, info, warn};

use crate::event_log::{EventLog, LeaderChange, LogLine};
use crate::machine::{LogEvent, MessageFault, StepDownReason};
use crate::members::MemberTable;
use crate::process::Peers;
use crate::role::Role;
use crate::wire::message::Message;
use rollcall_core::{BootMs, Term};

/// Interval in milliseconds between two log lines about a missing leader, and delay before the
/// first.
const EXPLANATION_INTERVAL_MS: u64 = 10_000;

/// Table of nodes and state of the operator log.
#[derive(Debug)]
pub(super) struct OperatorView {
    pub(super) members: MemberTable,
    pub(super) event_log: EventLog,
    leaderless_since: Option<BootMs>,
    /// Time of the latest log line that explains why there is no leader. Initially the start.
    explained_at: BootMs,
}

impl OperatorView {
    pub(super) fn new(peers: &Peers, api_url: &str, now: BootMs) -> Self {
        Self {
            members: MemberTable::new(peers, api_url),
            event_log: EventLog::new(peers.clone(), now),
            leaderless_since: None,
            explained_at: now,
        }
    }

    /// Updates and returns the time since when no leader serves. `is_led` is true if a leader
    /// serves now.
    pub(super) fn update_leaderless_since(&mut self, is_led: bool, now: BootMs) -> Option<BootMs> {
        self.leaderless_since = (!is_led).then(|| self.leaderless_since.unwrap_or(now));
        self.leaderless_since
    }

    /// Whether a log line must now explain why there is no leader. If so, the interval starts
    /// again.
    pub(super) fn take_explanation_due(&mut self, now: BootMs) -> bool {
        let is_leaderless_long = self.leaderless_since.is_some_and(|since| now.since(since) >= EXPLANATION_INTERVAL_MS);
        let is_due = is_leaderless_long && now.since(self.explained_at) >= EXPLANATION_INTERVAL_MS;
        if is_due {
            self.explained_at = now;
        }
        is_due
    }

    pub(super) fn log_event(&mut self, event: &LogEvent, now: BootMs) {
        log(self.event_log.line_for(event, &self.members, now));
    }

    /// Logs a change of this node's role.
    pub(super) fn log_role(&mut self, role: &Role, now: BootMs) {
        log(self.event_log.observe_role(role, &self.members, now));
    }

    pub(super) fn log_ballot_failure(&mut self, error: &dyn Display, now: BootMs) {
        log(self.event_log.ballot_failure(error, now));
    }

    /// Stores the API URL of the leader, if the message names a leader and has a URL.
    pub(super) fn learn_leader_url(&mut self, message: &Message, url: Option<&str>) {
        if let (Message::PreVoteResp(response), Some(url)) = (message, url)
            && let Some((leader, _)) = response.leader
        {
            self.members.learn_api_url(leader, url);
        }
    }
}

fn log(line: Option<LogLine>) {
    let Some(line) = line else { return };
    match line {
        LogLine::Candidate { term, cause, loads } => info!(term = term.0, cause, loads, "campaigning"),
        LogLine::Leading { term, change } => {
            let LeaderChange { cause, loads, leaderless_ms } = change;
            info!(term = term.0, cause, loads, leaderless_ms, "leading");
        }
        LogLine::Following { leader, term, change } => {
            let LeaderChange { cause, loads, leaderless_ms } = change;
            info!(%leader, term = term.0, cause, loads, leaderless_ms, "following a leader");
        }
        LogLine::LeaderTimedOut { leader } => warn!(%leader, "no leader: it timed out"),
        LogLine::LeaderResigned { leader, term } => info!(%leader, term = term.0, "no leader: it resigned"),
        LogLine::LeaderDied { leader } => warn!(%leader, "no leader: its process has died (end of stream)"),
        LogLine::DeathDisproved { node } => error!(
            %node,
            "a node counted as dead because its link ended, but it is alive: the end of a link no longer counts as \
             proof of death; set trust_end_of_stream = false if a device between the nodes ends connections"
        ),
        LogLine::HandoverStarted { to, term, loads } => info!(%to, term = term.0, loads, "handing the leadership over"),
        LogLine::SteppedDown { term, reason } => log_step_down(term, reason),
        LogLine::Nominated { node, loads } => info!(%node, loads, "asked a much less loaded node to campaign"),
        LogLine::BootWindowEnded { early: true } => info!("boot window over: no other node leads; ready to vote"),
        LogLine::BootWindowEnded { early: false } => info!("boot window over: its time has passed; ready to vote"),
        LogLine::NewCluster => info!("new cluster: starting with an empty ballot"),
        LogLine::BallotRecovered { abstains_through } => warn!(
            abstains_through = abstains_through.0,
            "recovered the lost ballot: this node abstains through that term and votes in later terms"
        ),
        LogLine::BallotSaveFailed { error } => error!(error, "cannot write the ballot, so this node cannot vote"),
        LogLine::MessageIgnored { node, fault: MessageFault::ImpossibleTerm { term, limit } } => warn!(
            %node,
            term = term.0,
            limit = limit.0,
            "ignored a message with an impossible term: that node or its ballot is damaged, or a foreign program has \
             its address; if it is a node, stop it, delete its ballot.json and start it again"
        ),
        LogLine::MessageIgnored { node, fault: MessageFault::UnknownNode(named) } => warn!(
            %node,
            named = named.0,
            "ignored a message that names a node outside the cluster: that node is damaged, or a foreign program has \
             its address; if it is a node, check its host and its program"
        ),
    }
}

fn log_step_down(term: Term, reason: StepDownReason) {
    let term = term.0;
    match reason {
        StepDownReason::HandedOver => info!(term, "stepped down: handover"),
        StepDownReason::LostMajority => warn!(term, "stepped down: too many of the other nodes are silent"),
        StepDownReason::HigherTerm(other) => {
            info!(term, later_term = other.0, "stepped down: another node has a later term");
        }
        StepDownReason::Stopping => info!(term, "stepped down: this node is stopping"),
    }
}
