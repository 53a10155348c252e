//! What operators see of the election: the table of nodes, and the lines of the log.

use std::fmt::Display;

use tracing::{error, info, warn};

use crate::event_log::{EventLog, LogLine};
use crate::machine::LogEvent;
use crate::members::MemberTable;
use crate::process::Peers;
use crate::role::Role;
use crate::wire::message::Message;
use rollcall_core::BootMs;

/// How often the log says why there is no leader.
const EXPLANATION_INTERVAL_MS: u64 = 10_000;

/// The table of nodes, and what the log has said so far.
#[derive(Debug)]
pub(super) struct OperatorView {
    pub(super) members: MemberTable,
    pub(super) event_log: EventLog,
    leaderless_since: Option<BootMs>,
    /// When the log last said why there is no leader.
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

    /// Since when no leader serves, now that one does or not.
    pub(super) fn update_leaderless_since(&mut self, is_led: bool, now: BootMs) -> Option<BootMs> {
        self.leaderless_since = (!is_led).then(|| self.leaderless_since.unwrap_or(now));
        self.leaderless_since
    }

    /// Whether it is time to say why there is no leader; if so, the next time is a while later.
    pub(super) fn take_explanation_due(&mut self, now: BootMs) -> bool {
        let long_without = self.leaderless_since.is_some_and(|since| now.since(since) >= EXPLANATION_INTERVAL_MS);
        let is_due = long_without && now.since(self.explained_at) >= EXPLANATION_INTERVAL_MS;
        if is_due {
            self.explained_at = now;
        }
        is_due
    }

    pub(super) fn log_event(&mut self, event: &LogEvent, now: BootMs) {
        log(self.event_log.line_for(event, &self.members, now));
    }

    /// This node's role, which may have changed.
    pub(super) fn log_role(&mut self, role: &Role, now: BootMs) {
        log(self.event_log.observe_role(role, &self.members, now));
    }

    pub(super) fn log_ballot_failure(&mut self, error: &dyn Display, now: BootMs) {
        log(self.event_log.ballot_failure(error, now));
    }

    /// The URL of the leader that a message hints at, if it has both.
    pub(super) fn learn_leader_url(&mut self, message: &Message, url: Option<&str>) {
        if let (Message::PreVoteResp(answer), Some(url)) = (message, url)
            && let Some((leader, _)) = answer.leader
        {
            self.members.learn_api_url(leader, url);
        }
    }
}

fn log(line: Option<LogLine>) {
    match line {
        Some(LogLine::Info(text)) => info!("{text}"),
        Some(LogLine::Warn(text)) => warn!("{text}"),
        Some(LogLine::Error(text)) => error!("{text}"),
        None => {}
    }
}
