//! What operators see of the election: the table of nodes, and the lines of the log.

use std::fmt::Display;

use tracing::{error, info, warn};

use crate::machine::Note;
use crate::members::Members;
use crate::narrator::{Line, Narrator};
use crate::process::Peers;
use crate::role::Role;
use crate::wire::message::Message;
use rollcall_core::BootMs;

/// How often the log says why there is no leader.
const EXPLAIN_EVERY_MS: u64 = 10_000;

/// The table of nodes, and what the log has said so far.
#[derive(Debug)]
pub(super) struct OperatorView {
    pub(super) members: Members,
    pub(super) narrator: Narrator,
    leaderless_since: Option<BootMs>,
    /// When the log last said why there is no leader.
    explained_at: BootMs,
}

impl OperatorView {
    pub(super) fn new(peers: &Peers, api_url: &str, now: BootMs) -> Self {
        Self {
            members: Members::new(peers, api_url),
            narrator: Narrator::new(peers.clone(), now),
            leaderless_since: None,
            explained_at: now,
        }
    }

    /// Since when no leader serves, now that one does or not.
    pub(super) fn led(&mut self, is_led: bool, now: BootMs) -> Option<BootMs> {
        self.leaderless_since = (!is_led).then(|| self.leaderless_since.unwrap_or(now));
        self.leaderless_since
    }

    /// Whether it is time to say why there is no leader; if so, the next time is a while later.
    pub(super) fn must_explain(&mut self, now: BootMs) -> bool {
        let long_without = self.leaderless_since.is_some_and(|since| now.since(since) >= EXPLAIN_EVERY_MS);
        let is_due = long_without && now.since(self.explained_at) >= EXPLAIN_EVERY_MS;
        if is_due {
            self.explained_at = now;
        }
        is_due
    }

    pub(super) fn noted(&mut self, note: &Note, now: BootMs) {
        log(self.narrator.line(note, &self.members, now));
    }

    /// This node's role, which may have changed.
    pub(super) fn became(&mut self, role: &Role, now: BootMs) {
        log(self.narrator.became(role, &self.members, now));
    }

    pub(super) fn ballot_failed(&mut self, error: &dyn Display, now: BootMs) {
        log(self.narrator.ballot_failed(error, now));
    }

    /// The URL of the leader that a message hints at, if it has both.
    pub(super) fn hinted(&mut self, message: &Message, url: Option<&str>) {
        if let (Message::PreVoteResp(answer), Some(url)) = (message, url)
            && let Some((leader, _)) = answer.leader
        {
            self.members.hinted_url(leader, url);
        }
    }
}

fn log(line: Option<Line>) {
    match line {
        Some(Line::Info(text)) => info!("{text}"),
        Some(Line::Warn(text)) => warn!("{text}"),
        Some(Line::Error(text)) => error!("{text}"),
        None => {}
    }
}
