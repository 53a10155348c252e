//! Operator log of role changes.
//!
//! One line per change, with the term, the reason, the loads and the time without a leader. This
//! module is pure: the driver writes the lines.

use crate::machine::{LogEvent, MessageFault, StepDownReason};
use crate::members::MemberTable;
use crate::process::{NodeId, Peers, Process};
use crate::role::{Member, Role};
use crate::wire::message::Message;
use rollcall_core::{BootMs, MAX_NODES, NodeAddr, Term};

/// Shortest interval between two lines about campaigns, about failed ballot writes, or about
/// ignored messages of one node, in milliseconds. All can recur at every attempt.
const REPEAT_AFTER_MS: u64 = 10_000;

/// A line of the operator log. The driver gives each one its level and its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum LogLine {
    Candidate { term: Term, cause: String, loads: String },
    Leading { term: Term, change: LeaderChange },
    Following { leader: NodeAddr, term: Term, change: LeaderChange },
    LeaderTimedOut { leader: NodeAddr },
    LeaderResigned { leader: NodeAddr, term: Term },
    LeaderDied { leader: NodeAddr },
    DeathDisproved { node: NodeAddr },
    HandoverStarted { to: NodeAddr, term: Term, loads: String },
    SteppedDown { term: Term, reason: StepDownReason },
    Nominated { node: NodeAddr, loads: String },
    BootWindowEnded { early: bool },
    NewCluster,
    BallotRecovered { abstains_through: Term },
    BallotSaveFailed { error: String },
    MessageIgnored { node: NodeAddr, fault: MessageFault },
}

/// A completed change of the leader, as it is logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LeaderChange {
    /// Reason of the change.
    pub(super) cause: String,
    /// Load of every node.
    pub(super) loads: String,
    /// Time without a known serving leader before the change, in milliseconds.
    pub(super) leaderless_ms: u64,
}

/// Reason for a change of the leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ChangeCause {
    Start,
    Timeout(NodeId),
    EndOfStream(NodeId),
    Resigned(NodeId),
    Handover(NodeId),
    LostMajority,
    /// Other nodes elected a leader without this node.
    ElectedByOthers,
}

/// Turns election events into log lines. Remembers the facts that a later line contains.
#[derive(Debug)]
pub(super) struct EventLog {
    peers: Peers,
    cause: ChangeCause,
    /// The term that this node won but has not served in yet.
    won_term: Option<Term>,
    /// Since when this node knows no serving leader; `None` while it knows one.
    leaderless_since: Option<BootMs>,
    /// Length of the last period without a leader, in milliseconds.
    leaderless_ms: u64,
    campaign_logged_at: Option<BootMs>,
    ballot_failure_logged_at: Option<BootMs>,
    /// Per sender.
    ignored_logged_at: [Option<BootMs>; MAX_NODES],
}

impl EventLog {
    pub(super) fn new(peers: Peers, now: BootMs) -> Self {
        Self {
            peers,
            cause: ChangeCause::Start,
            won_term: None,
            leaderless_since: Some(now),
            leaderless_ms: 0,
            campaign_logged_at: None,
            ballot_failure_logged_at: None,
            ignored_logged_at: [None; MAX_NODES],
        }
    }

    /// Remembers the reason of a leader change that `message` announces. `leader` is the present
    /// leader.
    pub(super) fn observe_message(&mut self, message: &Message, leader: Option<NodeId>) {
        let is_leader = |process: &Option<Process>| process.filter(|process| Some(process.node) == leader);
        match (message, leader) {
            (Message::StandNow { .. } | Message::Vote { released_term: Some(_), .. }, Some(leader)) => {
                self.cause = ChangeCause::Handover(leader);
            }
            (Message::PreVote { dead_leader: process, .. } | Message::Vote { dead_leader: process, .. }, _) => {
                if let Some(process) = is_leader(process) {
                    self.cause = ChangeCause::EndOfStream(process.node);
                }
            }
            _ => {}
        }
    }

    /// Records the present role. Returns a line when this node has just begun to serve.
    pub(super) fn observe_role(&mut self, role: &Role, members: &MemberTable, now: BootMs) -> Option<LogLine> {
        if role.leader_at(now).is_none() {
            self.leaderless_since.get_or_insert(now);
            return None;
        }
        if let Some(since) = self.leaderless_since.take() {
            self.leaderless_ms = now.since(since);
        }
        let term = self.won_term.take_if(|won| *won == role.term && role.is_serving(now))?;
        Some(LogLine::Leading { term, change: self.take_change(members) })
    }

    /// The line for a ballot that could not be written. `None` if such a line was logged less than
    /// [`REPEAT_AFTER_MS`] before.
    pub(super) fn ballot_failure(&mut self, error: &dyn std::fmt::Display, now: BootMs) -> Option<LogLine> {
        is_due(&mut self.ballot_failure_logged_at, now).then(|| LogLine::BallotSaveFailed { error: error.to_string() })
    }

    /// The line for an event; `None` if the event is not logged now.
    pub(super) fn line_for(&mut self, event: &LogEvent, members: &MemberTable, now: BootMs) -> Option<LogLine> {
        let addr = |node: NodeId| self.peers.addr(node);
        let line = match *event {
            LogEvent::CampaignStarted { term } => {
                let line = LogLine::Candidate { term, cause: self.cause_text(), loads: loads(members) };
                return is_due(&mut self.campaign_logged_at, now).then_some(line);
            }
            // Logged when the node begins to serve, see `observe_role`.
            LogEvent::ElectionWon { term } => {
                self.won_term = Some(term);
                return None;
            }
            LogEvent::LeaderChanged { leader, term } => {
                LogLine::Following { leader: addr(leader), term, change: self.take_change(members) }
            }
            LogEvent::LeaderTimedOut { leader } => {
                self.cause = ChangeCause::Timeout(leader);
                LogLine::LeaderTimedOut { leader: self.peers.addr(leader) }
            }
            LogEvent::LeaderResigned { leader, term } => {
                self.cause = ChangeCause::Resigned(leader);
                LogLine::LeaderResigned { leader: self.peers.addr(leader), term }
            }
            LogEvent::LeaderDied { leader } => {
                self.cause = ChangeCause::EndOfStream(leader);
                LogLine::LeaderDied { leader: self.peers.addr(leader) }
            }
            LogEvent::DeathDisproved { node } => LogLine::DeathDisproved { node: addr(node) },
            LogEvent::HandoverStarted { to, term } => {
                LogLine::HandoverStarted { to: addr(to), term, loads: loads(members) }
            }
            LogEvent::SteppedDown { term, reason } => self.stepped_down(term, reason),
            LogEvent::Nominated { node } => LogLine::Nominated { node: addr(node), loads: loads(members) },
            LogEvent::BootWindowEnded { early } => LogLine::BootWindowEnded { early },
            LogEvent::BallotRecovered { abstains_through: Term(0) } => LogLine::NewCluster,
            LogEvent::BallotRecovered { abstains_through } => LogLine::BallotRecovered { abstains_through },
            LogEvent::BallotSaveFailed => return None,
            LogEvent::MessageIgnored { from, fault } => {
                let line = LogLine::MessageIgnored { node: addr(from), fault };
                return is_due(&mut self.ignored_logged_at[usize::from(from.0)], now).then_some(line);
            }
        };
        Some(line)
    }

    fn stepped_down(&mut self, term: Term, reason: StepDownReason) -> LogLine {
        self.won_term = None;
        let me = self.peers.me();
        self.cause = match reason {
            StepDownReason::HandedOver => ChangeCause::Handover(me),
            StepDownReason::LostMajority => ChangeCause::LostMajority,
            StepDownReason::HigherTerm(_) => ChangeCause::ElectedByOthers,
            StepDownReason::Stopping => ChangeCause::Resigned(me),
        };
        LogLine::SteppedDown { term, reason }
    }

    /// Returns the facts about a completed change, and resets them for the next one.
    fn take_change(&mut self, members: &MemberTable) -> LeaderChange {
        let change =
            LeaderChange { cause: self.cause_text(), loads: loads(members), leaderless_ms: self.leaderless_ms };
        self.cause = ChangeCause::ElectedByOthers;
        self.leaderless_ms = 0;
        self.campaign_logged_at = None;
        change
    }

    fn cause_text(&self) -> String {
        let addr = |node: NodeId| {
            if node == self.peers.me() { "this node".to_owned() } else { self.peers.addr(node).to_string() }
        };
        match self.cause {
            ChangeCause::Start => "this node has started".to_owned(),
            ChangeCause::Timeout(node) => format!("timeout of {}", addr(node)),
            ChangeCause::EndOfStream(node) => format!("end of stream of {}", addr(node)),
            ChangeCause::Resigned(node) => format!("{} resigned", addr(node)),
            ChangeCause::Handover(node) => format!("handover by {}", addr(node)),
            ChangeCause::LostMajority => "this node lost its majority".to_owned(),
            ChangeCause::ElectedByOthers => "elected by others".to_owned(),
        }
    }
}

/// The load of every node, or "unknown".
fn loads(members: &MemberTable) -> String {
    let load_of = |row: &Member| {
        let load = row.load.map_or_else(|| "unknown".to_owned(), |load| format!("{}%", (load.permille() + 5) / 10));
        format!("{} {load}", row.node)
    };
    members.rows().iter().map(load_of).collect::<Vec<_>>().join(", ")
}

/// Whether enough time has passed since `last` for another line. If so, sets `last` to `now`.
fn is_due(last: &mut Option<BootMs>, now: BootMs) -> bool {
    let due = last.is_none_or(|last| now.since(last) >= REPEAT_AFTER_MS);
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::BootId;
    use crate::role::{Leader, RoleState};
    use rollcall_core::Load;

    fn log_and_members() -> (EventLog, MemberTable) {
        let nodes = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let peers = Peers::new(nodes.to_vec(), nodes[0]).unwrap();
        let mut members = MemberTable::new(&peers, "http://127.0.0.1:3000");
        members.update_own(rollcall_core::MemberRole::Follower, Load::from_permille(126), Term(3), BootMs(0));
        (EventLog::new(peers, BootMs(0)), members)
    }

    fn role(term: u64, leader: Option<&str>, serves_until: Option<u64>) -> Role {
        let leader =
            leader.map(|node| Leader { node: node.parse().unwrap(), api_url: String::new(), term: Term(term) });
        let state = serves_until.map_or(RoleState::Follower, |until| RoleState::Leader {
            serves_until: BootMs(until),
            handing_over: false,
        });
        Role { term: Term(term), state, leader, leaderless_since: None }
    }

    #[test]
    fn a_new_leader_is_logged_when_it_serves_with_reason_loads_and_gap() {
        let (mut event_log, members) = log_and_members();
        assert_eq!(event_log.observe_role(&role(3, Some("127.0.0.1:2"), None), &members, BootMs(10)), None);
        let follows = LogEvent::LeaderChanged { leader: NodeId(1), term: Term(3) };
        let other: NodeAddr = "127.0.0.1:2".parse().unwrap();
        let change = |cause: &str, leaderless_ms| LeaderChange {
            cause: cause.to_owned(),
            loads: "127.0.0.1:1 13%, 127.0.0.1:2 unknown".to_owned(),
            leaderless_ms,
        };
        assert_eq!(
            event_log.line_for(&follows, &members, BootMs(10)),
            Some(LogLine::Following { leader: other, term: Term(3), change: change("this node has started", 10) })
        );

        let died = LogEvent::LeaderDied { leader: NodeId(1) };
        let died = event_log.line_for(&died, &members, BootMs(100));
        assert_eq!(died, Some(LogLine::LeaderDied { leader: other }));
        assert_eq!(event_log.observe_role(&role(3, None, None), &members, BootMs(100)), None);
        assert_eq!(event_log.line_for(&LogEvent::ElectionWon { term: Term(4) }, &members, BootMs(150)), None);
        let won = role(4, Some("127.0.0.1:1"), Some(0));
        assert_eq!(event_log.observe_role(&won, &members, BootMs(150)), None, "it does not serve yet");
        let serves = role(4, Some("127.0.0.1:1"), Some(1000));
        assert_eq!(
            event_log.observe_role(&serves, &members, BootMs(200)),
            Some(LogLine::Leading { term: Term(4), change: change("end of stream of 127.0.0.1:2", 100) })
        );
        assert_eq!(event_log.observe_role(&serves, &members, BootMs(210)), None, "logged once");
    }

    #[test]
    fn the_logged_reason_comes_from_messages() {
        let vote = |released_term, dead_leader| Message::Vote {
            term: Term(4),
            asked_at: BootMs(0),
            released_term,
            dead_leader,
        };
        let dead = |node| Some(Process { node: NodeId(node), boot: BootId(7) });
        for (message, expected) in [
            (Message::StandNow { term: Term(3) }, "handover by 127.0.0.1:2"),
            (vote(Some(Term(3)), None), "handover by 127.0.0.1:2"),
            (vote(None, dead(1)), "end of stream of 127.0.0.1:2"),
            (vote(None, dead(0)), "this node has started"),
        ] {
            let (mut event_log, members) = log_and_members();
            event_log.observe_message(&message, Some(NodeId(1)));
            let line = event_log.line_for(&LogEvent::CampaignStarted { term: Term(4) }, &members, BootMs(0));
            let Some(LogLine::Candidate { cause, .. }) = line else { panic!("{line:?}") };
            assert_eq!(cause, expected, "{message:?}");
        }
    }

    #[test]
    fn campaigns_and_failed_ballot_writes_are_not_logged_at_every_attempt() {
        let (mut event_log, members) = log_and_members();
        let mut campaigns =
            |at| event_log.line_for(&LogEvent::CampaignStarted { term: Term(4) }, &members, BootMs(at)).is_some();
        assert_eq!([campaigns(0), campaigns(100), campaigns(9_999), campaigns(10_000)], [true, false, false, true]);
        let mut fails = |at| event_log.ballot_failure(&"disk full", BootMs(at)).is_some();
        assert_eq!([fails(0), fails(9_999), fails(10_000)], [true, false, true]);
    }

    #[test]
    fn ignored_messages_are_logged_once_in_ten_seconds_for_each_sender() {
        let (mut event_log, members) = log_and_members();
        let fault = MessageFault::ImpossibleTerm { term: Term(u64::MAX), limit: Term(7) };
        let mut line = |from, at| {
            let event = LogEvent::MessageIgnored { from: NodeId(from), fault };
            event_log.line_for(&event, &members, BootMs(at))
        };
        let expected = |node: &str| Some(LogLine::MessageIgnored { node: node.parse().unwrap(), fault });
        assert_eq!(line(1, 0), expected("127.0.0.1:2"));
        assert_eq!(line(1, 9_999), None);
        assert_eq!(line(0, 9_999), expected("127.0.0.1:1"), "another sender");
        assert_eq!(line(1, 10_000), expected("127.0.0.1:2"));
    }
}
