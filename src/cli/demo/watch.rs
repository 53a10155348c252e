//! What is worth a line: compares what the nodes say with what was said last. Pure; the time is an argument.

use std::fmt;

use rollcall_core::BootMs;
use rollcall_core::api::Health;

/// A node that answers nothing for so long is reported; shorter silences are the machine's.
const SILENT_MS: u64 = 2000;
/// A cluster without a leader for so long is reported; an election after a kill is shorter.
const LEADERLESS_MS: u64 = 1000;
/// How long the number of clients must stand still before it is reported: it moves in steps when many come or go.
const STEADY_MS: u64 = 1000;

/// Something that changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// A node's process ended; `living` are left.
    Ended { node: String, how: String, was_leader: bool, living: usize, all: usize },
    /// A node has said nothing for a while.
    Silent { node: String },
    /// A node that was silent or had ended answers.
    Back { node: String },
    /// Another node leads; `after_ms` since the last sign of the one before.
    Leads { node: String, before: Option<String>, after_ms: u64 },
    /// No node has led for a while.
    Leaderless,
    /// So many clients are online.
    Online { count: u64 },
}

/// What was seen so far.
pub(super) struct Watch {
    nodes: Vec<Seen>,
    leader: Option<usize>,
    /// The last moment at which there was a leader.
    led_at: BootMs,
    is_leaderless: bool,
    online: Option<u64>,
    /// A new number of clients, and since when it has stood.
    pending: Option<(u64, BootMs)>,
}

struct Seen {
    name: String,
    state: State,
    answered_at: BootMs,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Up,
    Silent,
    Ended,
}

impl Watch {
    /// A watch over these nodes, none of which leads yet.
    pub(super) fn new(names: impl IntoIterator<Item = String>, now: BootMs) -> Self {
        let seen = |name| Seen { name, state: State::Up, answered_at: now };
        Self {
            nodes: names.into_iter().map(seen).collect(),
            leader: None,
            led_at: now,
            is_leaderless: false,
            online: None,
            pending: None,
        }
    }

    /// The place of the leader among the nodes.
    pub(super) fn leader(&self) -> Option<usize> {
        self.leader
    }

    /// Whether the next look should come soon, to measure an election well.
    pub(super) fn is_waiting(&self) -> bool {
        self.leader.is_none_or(|leader| self.nodes[leader].state != State::Up)
    }

    /// A node's process ended.
    pub(super) fn ended(&mut self, index: usize, how: String, now: BootMs) -> Change {
        let was_leader = self.leader == Some(index);
        if was_leader {
            // The moment is known exactly; the last look may be older.
            self.led_at = now;
        }
        self.nodes[index].state = State::Ended;
        let living = self.nodes.iter().filter(|node| node.state != State::Ended).count();
        Change::Ended { node: self.nodes[index].name.clone(), how, was_leader, living, all: self.nodes.len() }
    }

    /// What each node says of itself at `now`; `None` for one that does not answer.
    pub(super) fn look(&mut self, answers: &[Option<Health>], now: BootMs) -> Vec<Change> {
        let mut changes = Vec::new();
        for (node, answer) in self.nodes.iter_mut().zip(answers) {
            changes.extend(node.look(answer.is_some(), now));
        }
        let serving = answers.iter().enumerate().filter_map(|(index, answer)| {
            let health = answer.as_ref().filter(|health| health.is_leader)?;
            Some((health.term, index, health.online_clients_count))
        });
        // The answers are not of one moment, so an old leader's may stand beside the new one's.
        match serving.max() {
            Some((_, index, online)) => {
                changes.extend(self.leads(index, now));
                changes.extend(self.count(online, now));
            }
            None if !self.is_leaderless && now.since(self.led_at) >= LEADERLESS_MS => {
                self.is_leaderless = true;
                changes.push(Change::Leaderless);
            }
            None => {}
        }
        changes
    }

    fn leads(&mut self, index: usize, now: BootMs) -> Option<Change> {
        let before = self.leader.replace(index);
        let after_ms = now.since(self.led_at);
        let was_leaderless = std::mem::take(&mut self.is_leaderless);
        self.led_at = now;
        let name = |index: usize| self.nodes[index].name.clone();
        (before != Some(index) || was_leaderless).then(|| Change::Leads {
            node: name(index),
            before: before.map(name),
            after_ms,
        })
    }

    fn count(&mut self, online: u64, now: BootMs) -> Option<Change> {
        if self.online == Some(online) {
            self.pending = None;
            return None;
        }
        let since = self.pending.filter(|(count, _)| *count == online).map_or(now, |(_, since)| since);
        self.pending = Some((online, since));
        if now.since(since) < STEADY_MS {
            return None;
        }
        self.online = Some(online);
        self.pending = None;
        Some(Change::Online { count: online })
    }
}

impl Seen {
    fn look(&mut self, answers: bool, now: BootMs) -> Option<Change> {
        if answers {
            self.answered_at = now;
            let before = std::mem::replace(&mut self.state, State::Up);
            return (before != State::Up).then(|| Change::Back { node: self.name.clone() });
        }
        (self.state == State::Up && now.since(self.answered_at) >= SILENT_MS).then(|| {
            self.state = State::Silent;
            Change::Silent { node: self.name.clone() }
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { node, how, was_leader, living, all } => {
                let what = if *was_leader { "the leader" } else { "node" };
                write!(f, "{what} {node} ended ({how})")?;
                match living {
                    0 => f.write_str("; no node is left"),
                    living if living * 2 <= *all => {
                        write!(f, "; {living} of {all} nodes left, which is no majority: nobody can lead")
                    }
                    living => write!(f, "; {living} of {all} nodes left"),
                }
            }
            Self::Silent { node } => write!(f, "node {node} does not answer"),
            Self::Back { node } => write!(f, "node {node} answers again"),
            Self::Leads { node, before: None, .. } => write!(f, "{node} leads"),
            Self::Leads { node, before: Some(before), after_ms } if before == node => {
                write!(f, "{node} leads again after {after_ms} ms")
            }
            Self::Leads { node, before: Some(before), after_ms } => {
                write!(f, "leader changed from {before} to {node} after {after_ms} ms")
            }
            Self::Leaderless => f.write_str("no node leads at the moment"),
            Self::Online { count: 1 } => f.write_str("1 client is online"),
            Self::Online { count } => write!(f, "{count} clients are online"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_core::MemberRole;
    use rollcall_core::Term;
    use rollcall_core::api::Status;

    fn says(is_leader: bool, term: u64, online: u64) -> Health {
        Health {
            status: Status::Ok,
            is_leader,
            online_clients_count: online,
            current_leader: None,
            leader_url: None,
            term: Term(term),
            node: "127.0.0.1:1".parse().unwrap(),
            role: MemberRole::Follower,
            version: String::new(),
            uptime_seconds: 0,
        }
    }

    /// Three nodes, the first of which has led since moment 0, with 5 clients online.
    fn watch() -> Watch {
        let mut watch = Watch::new(["a", "b", "c"].map(str::to_owned), BootMs(0));
        let answers = [Some(says(true, 1, 5)), Some(says(false, 1, 5)), Some(says(false, 1, 5))];
        let first = watch.look(&answers, BootMs(0));
        assert_eq!(first.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a leads"]);
        assert_eq!(watch.look(&answers, BootMs(STEADY_MS)), [Change::Online { count: 5 }]);
        assert!(watch.look(&answers, BootMs(STEADY_MS + 1)).is_empty());
        watch
    }

    #[test]
    fn a_killed_leader_is_reported_and_then_its_successor_with_the_time_it_took() {
        let mut watch = watch();
        assert!(!watch.is_waiting());
        let ended = watch.ended(0, "signal: 9 (SIGKILL)".into(), BootMs(5000));
        assert_eq!(ended.to_string(), "the leader a ended (signal: 9 (SIGKILL)); 2 of 3 nodes left");
        assert!(watch.is_waiting());
        assert!(watch.look(&[None, Some(says(false, 1, 5)), Some(says(false, 1, 5))], BootMs(5040)).is_empty());
        let changes = watch.look(&[None, Some(says(false, 2, 5)), Some(says(true, 2, 5))], BootMs(5080));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].to_string(), "leader changed from a to c after 80 ms");
        assert_eq!(watch.leader(), Some(2));
        assert!(!watch.is_waiting());
    }

    #[test]
    fn a_handover_is_measured_from_the_last_look_at_the_old_leader() {
        let mut watch = watch();
        let answers = |old, new| [Some(says(old, 1, 5)), Some(says(new, 2, 5)), Some(says(false, 1, 5))];
        watch.look(&answers(true, false), BootMs(6000));
        // Both answers can stand side by side; the newer term counts.
        let changes = watch.look(&answers(true, true), BootMs(6100));
        assert_eq!(changes, [Change::Leads { node: "b".into(), before: Some("a".into()), after_ms: 100 }]);
    }

    #[test]
    fn a_cluster_without_a_leader_is_reported_once_and_its_end_too() {
        let mut watch = watch();
        let nobody = [Some(says(false, 1, 0)), Some(says(false, 1, 0)), Some(says(false, 1, 0))];
        let start = STEADY_MS + 1;
        assert!(watch.look(&nobody, BootMs(start + LEADERLESS_MS - 1)).is_empty());
        assert_eq!(watch.look(&nobody, BootMs(start + LEADERLESS_MS)), [Change::Leaderless]);
        assert!(watch.look(&nobody, BootMs(start + LEADERLESS_MS + 1)).is_empty());
        let changes = watch.look(&[Some(says(true, 2, 5)), None, None], BootMs(start + 3000));
        assert_eq!(changes[0].to_string(), "a leads again after 3000 ms");
    }

    #[test]
    fn silence_is_reported_after_a_while_and_its_end_at_once() {
        let mut watch = watch();
        let answers = [Some(says(true, 1, 5)), None, Some(says(false, 1, 5))];
        let start = STEADY_MS + 1;
        assert!(watch.look(&answers, BootMs(start + SILENT_MS - 1)).is_empty());
        assert_eq!(watch.look(&answers, BootMs(start + SILENT_MS)), [Change::Silent { node: "b".into() }]);
        assert!(watch.look(&answers, BootMs(start + SILENT_MS + 1)).is_empty());
        let back =
            watch.look(&[Some(says(true, 1, 5)), Some(says(false, 1, 5)), Some(says(false, 1, 5))], BootMs(9000));
        assert_eq!(back, [Change::Back { node: "b".into() }]);
    }

    #[test]
    fn a_dead_node_is_not_called_silent_too() {
        let mut watch = watch();
        watch.ended(1, "exit status: 0".into(), BootMs(2000));
        assert!(watch.look(&[Some(says(true, 1, 5)), None, Some(says(false, 1, 5))], BootMs(9000)).is_empty());
        assert!(!watch.is_waiting());
    }

    #[test]
    fn one_node_of_three_is_said_to_be_too_few() {
        let mut watch = watch();
        watch.ended(1, "x".into(), BootMs(2000));
        let text = watch.ended(2, "x".into(), BootMs(2000)).to_string();
        assert_eq!(text, "node c ended (x); 1 of 3 nodes left, which is no majority: nobody can lead");
        assert_eq!(watch.ended(0, "x".into(), BootMs(2000)).to_string(), "the leader a ended (x); no node is left");
    }

    #[test]
    fn the_number_of_clients_is_reported_when_it_stands_still() {
        let mut watch = watch();
        let mut look = |online, at| {
            watch.look(&[Some(says(true, 1, online)), Some(says(false, 1, 0)), Some(says(false, 1, 0))], BootMs(at))
        };
        assert!(look(6, 3000).is_empty());
        assert!(look(7, 3900).is_empty());
        assert!(look(7, 4899).is_empty());
        assert_eq!(look(7, 4900), [Change::Online { count: 7 }]);
        assert!(look(8, 5000).is_empty());
        assert!(look(7, 5100).is_empty(), "a flicker is no change");
        assert!(look(7, 9000).is_empty());
    }
}
