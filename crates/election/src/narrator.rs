//! What an operator reads of the election: one line a change of role, with the term, the reason, the loads and how long
//! this node knew no leader. Pure; the driver writes the lines.

use crate::machine::{Note, SteppedDownBecause};
use crate::members::Members;
use crate::process::{NodeId, Peers, Process};
use crate::role::{Member, Role};
use crate::wire::message::Message;
use rollcall_core::{BootMs, Term};

/// A line that could be repeated at every attempt is not repeated earlier.
const REPEAT_AFTER_MS: u64 = 10_000;

/// A line for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Line {
    Info(String),
    Warn(String),
    Error(String),
}

/// Why there is, or will be, another leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cause {
    Start,
    Timeout(NodeId),
    EndOfStream(NodeId),
    Resigned(NodeId),
    Handover(NodeId),
    LostMajority,
    /// Others have elected one without this node's doing.
    NewerTerm,
}

/// Remembers what a line needs that no single event tells.
#[derive(Debug)]
pub(super) struct Narrator {
    peers: Peers,
    cause: Cause,
    /// The term that was won and not served in yet.
    won: Option<Term>,
    /// Since when this node could name no leader that serves.
    without_since: Option<BootMs>,
    /// How long that was the last time.
    gap_ms: u64,
    stood_at: Option<BootMs>,
    ballot_failed_at: Option<BootMs>,
}

impl Narrator {
    pub(super) fn new(peers: Peers, now: BootMs) -> Self {
        Self {
            peers,
            cause: Cause::Start,
            won: None,
            without_since: Some(now),
            gap_ms: 0,
            stood_at: None,
            ballot_failed_at: None,
        }
    }

    /// A message that tells why there will be another leader; `leader` is the one there is.
    pub(super) fn heard(&mut self, message: &Message, leader: Option<NodeId>) {
        let dead = |dead: &Option<Process>| dead.filter(|dead| Some(dead.node) == leader);
        match (message, leader) {
            (Message::StandNow { .. } | Message::Vote { voids: Some(_), .. }, Some(leader)) => {
                self.cause = Cause::Handover(leader);
            }
            (Message::PreVote { dead: process, .. } | Message::Vote { dead: process, .. }, _) => {
                if let Some(process) = dead(process) {
                    self.cause = Cause::EndOfStream(process.node);
                }
            }
            _ => {}
        }
    }

    /// What this node is now; the line if it has just begun to serve.
    pub(super) fn became(&mut self, role: &Role, members: &Members, now: BootMs) -> Option<Line> {
        if role.leader_at(now).is_none() {
            self.without_since.get_or_insert(now);
            return None;
        }
        if let Some(since) = self.without_since.take() {
            self.gap_ms = now.since(since);
        }
        let term = self.won.take_if(|won| *won == role.term && role.is_serving(now))?;
        Some(Line::Info(format!("leading term {term}: {}", self.why(members))))
    }

    /// A ballot could not be written.
    pub(super) fn ballot_failed(&mut self, error: &dyn std::fmt::Display, now: BootMs) -> Option<Line> {
        let text = format!("the ballot cannot be written, so this node cannot vote: {error}");
        is_due(&mut self.ballot_failed_at, now).then_some(Line::Error(text))
    }

    /// The line for a note, if it is worth one.
    pub(super) fn line(&mut self, note: &Note, members: &Members, now: BootMs) -> Option<Line> {
        let addr = |node: NodeId| self.peers.addr(node);
        let line = match *note {
            Note::Stands { term } => {
                let text = format!("candidate in term {term}: {}; {}", self.cause_text(), loads(members));
                return is_due(&mut self.stood_at, now).then_some(Line::Info(text));
            }
            // Said when it begins to serve.
            Note::Won { term } => {
                self.won = Some(term);
                return None;
            }
            Note::Follows { leader, term } => {
                let line = format!("following {} in term {term}: ", addr(leader));
                Line::Info(line + &self.why(members))
            }
            Note::LeaderSilent { leader } => {
                self.cause = Cause::Timeout(leader);
                Line::Warn(format!("no leader: {} is silent (timeout)", self.peers.addr(leader)))
            }
            Note::LeaderResigned { leader, term } => {
                self.cause = Cause::Resigned(leader);
                Line::Info(format!("no leader: {} gave up term {term} (resigned)", self.peers.addr(leader)))
            }
            Note::LeaderDied { leader } => {
                self.cause = Cause::EndOfStream(leader);
                Line::Warn(format!("no leader: {} has died (end of stream)", self.peers.addr(leader)))
            }
            Note::EndOfStreamWasNoDeath { node } => Line::Error(format!(
                "{} was taken for dead because a link ended, but it lives: ends of links are not trusted any more; set \
                 trust_end_of_stream = false if something between the nodes ends connections",
                addr(node)
            )),
            Note::HandsOver { to, term } => {
                Line::Info(format!("handing term {term} over to {}; {}", addr(to), loads(members)))
            }
            Note::SteppedDown { term, why } => self.stepped_down(term, why),
            Note::Nominated { node } => {
                Line::Info(format!("asked {} to stand: it is much less loaded; {}", addr(node), loads(members)))
            }
            Note::BootWindowEnded { early: true } => {
                Line::Info("nobody leads, say all others: ready to vote".to_owned())
            }
            Note::BootWindowEnded { early: false } => {
                Line::Info("held still long enough after the start: ready to vote".to_owned())
            }
            Note::MemorySettled { abstains_through: Term(0) } => {
                Line::Info("a new cluster: starting with an empty ballot".to_owned())
            }
            Note::MemorySettled { abstains_through } => Line::Warn(format!(
                "this node lost its ballot; it abstains through term {abstains_through} and takes part again after it"
            )),
            Note::BallotNotSaved => return None,
        };
        Some(line)
    }

    fn stepped_down(&mut self, term: Term, why: SteppedDownBecause) -> Line {
        self.won = None;
        let me = self.peers.me();
        let (cause, text) = match why {
            SteppedDownBecause::HandedOver => (Cause::Handover(me), "handover".to_owned()),
            SteppedDownBecause::LostMajority => {
                (Cause::LostMajority, "lost majority: too many of the other nodes are silent".to_owned())
            }
            SteppedDownBecause::HigherTerm(other) => (Cause::NewerTerm, format!("term {other} was heard of")),
            SteppedDownBecause::Stopping => (Cause::Resigned(me), "resigned: this node is stopping".to_owned()),
        };
        self.cause = cause;
        let line = format!("stepped down from term {term}: {text}");
        if why == SteppedDownBecause::LostMajority { Line::Warn(line) } else { Line::Info(line) }
    }

    /// Reason, loads and gap of a change that is complete; the next one has a reason of its own.
    fn why(&mut self, members: &Members) -> String {
        let text = format!("{}; {}; {} ms without a leader", self.cause_text(), loads(members), self.gap_ms);
        self.cause = Cause::NewerTerm;
        self.gap_ms = 0;
        self.stood_at = None;
        text
    }

    fn cause_text(&self) -> String {
        let addr = |node: NodeId| {
            if node == self.peers.me() { "this node".to_owned() } else { self.peers.addr(node).to_string() }
        };
        match self.cause {
            Cause::Start => "this node has started".to_owned(),
            Cause::Timeout(node) => format!("timeout of {}", addr(node)),
            Cause::EndOfStream(node) => format!("end of stream of {}", addr(node)),
            Cause::Resigned(node) => format!("{} resigned", addr(node)),
            Cause::Handover(node) => format!("handover by {}", addr(node)),
            Cause::LostMajority => "this node lost its majority".to_owned(),
            Cause::NewerTerm => "elected by others".to_owned(),
        }
    }
}

/// The load of every node that might lead, as far as it is known.
fn loads(members: &Members) -> String {
    let one = |row: &Member| {
        let load = row.load.map_or_else(|| "unknown".to_owned(), |load| format!("{}%", (load.permille() + 5) / 10));
        format!("{} {load}", row.node)
    };
    format!("loads: {}", members.rows().iter().map(one).collect::<Vec<_>>().join(", "))
}

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
    use crate::role::{Leader, Standing};
    use rollcall_core::Load;

    fn narrator() -> (Narrator, Members) {
        let nodes = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let peers = Peers::new(nodes.to_vec(), nodes[0]).unwrap();
        let mut members = Members::new(&peers, "http://127.0.0.1:3000");
        members.tell_mine(rollcall_core::MemberRole::Follower, Load::from_permille(126), Term(3), BootMs(0));
        (Narrator::new(peers, BootMs(0)), members)
    }

    fn role(term: u64, leader: Option<&str>, serves_until: Option<u64>) -> Role {
        let leader =
            leader.map(|node| Leader { node: node.parse().unwrap(), api_url: String::new(), term: Term(term) });
        let standing = serves_until
            .map_or(Standing::Follower, |until| Standing::Leader { serves_until: BootMs(until), handing_over: false });
        Role { term: Term(term), standing, leader, leaderless_since: None }
    }

    fn info(line: Option<Line>) -> String {
        match line {
            Some(Line::Info(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_leader_is_told_when_it_serves_with_reason_loads_and_gap() {
        let (mut narrator, members) = narrator();
        assert_eq!(narrator.became(&role(3, Some("127.0.0.1:2"), None), &members, BootMs(10)), None);
        let follows = Note::Follows { leader: NodeId(1), term: Term(3) };
        let text = info(narrator.line(&follows, &members, BootMs(10)));
        let loads = "loads: 127.0.0.1:1 13%, 127.0.0.1:2 unknown";
        assert_eq!(
            text,
            format!("following 127.0.0.1:2 in term 3: this node has started; {loads}; 10 ms without a leader")
        );

        let died = Note::LeaderDied { leader: NodeId(1) };
        let died = narrator.line(&died, &members, BootMs(100));
        assert_eq!(died, Some(Line::Warn("no leader: 127.0.0.1:2 has died (end of stream)".to_owned())));
        assert_eq!(narrator.became(&role(3, None, None), &members, BootMs(100)), None);
        assert_eq!(narrator.line(&Note::Won { term: Term(4) }, &members, BootMs(150)), None);
        let won = role(4, Some("127.0.0.1:1"), Some(0));
        assert_eq!(narrator.became(&won, &members, BootMs(150)), None, "it does not serve yet");
        let serves = role(4, Some("127.0.0.1:1"), Some(1000));
        let text = info(narrator.became(&serves, &members, BootMs(200)));
        assert_eq!(text, format!("leading term 4: end of stream of 127.0.0.1:2; {loads}; 100 ms without a leader"));
        assert_eq!(narrator.became(&serves, &members, BootMs(210)), None, "said once");
    }

    #[test]
    fn what_messages_tell_is_the_reason() {
        let vote = |voids, dead| Message::Vote { term: Term(4), asked_at: BootMs(0), voids, dead };
        let dead = |node| Some(Process { node: NodeId(node), boot: BootId(7) });
        for (message, words) in [
            (Message::StandNow { term: Term(3) }, "handover by 127.0.0.1:2"),
            (vote(Some(Term(3)), None), "handover by 127.0.0.1:2"),
            (vote(None, dead(1)), "end of stream of 127.0.0.1:2"),
            (vote(None, dead(0)), "this node has started"),
        ] {
            let (mut narrator, members) = narrator();
            narrator.heard(&message, Some(NodeId(1)));
            let text = info(narrator.line(&Note::Stands { term: Term(4) }, &members, BootMs(0)));
            assert!(text.contains(words), "{message:?}: {text}");
        }
    }

    #[test]
    fn candidacies_and_failed_ballots_are_not_repeated_at_every_attempt() {
        let (mut narrator, members) = narrator();
        let mut stands = |at| narrator.line(&Note::Stands { term: Term(4) }, &members, BootMs(at)).is_some();
        assert_eq!([stands(0), stands(100), stands(9_999), stands(10_000)], [true, false, false, true]);
        let mut fails = |at| narrator.ballot_failed(&"disk full", BootMs(at)).is_some();
        assert_eq!([fails(0), fails(9_999), fails(10_000)], [true, false, true]);
    }
}
