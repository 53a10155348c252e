//! Change detector of the demo: compares the answers of each poll with the state at the previous
//! poll. Pure: time is an argument.

use std::fmt;

use rollcall_core::BootMs;
use rollcall_core::api::Health;

/// Time without an answer after which a node is reported as silent, in milliseconds. A busy machine
/// causes shorter gaps.
const SILENT_AFTER_MS: u64 = 2000;
/// Time without a leader after which the demo reports that there is none, in milliseconds. An
/// election after a kill is shorter.
const LEADERLESS_AFTER_MS: u64 = 1000;
/// Time for which the number of clients must be stable before it is reported, in milliseconds. The
/// number changes in steps when many clients come or go.
const STABLE_AFTER_MS: u64 = 1000;

/// Change of the cluster. `Display` is the line that the demo prints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ClusterChange {
    /// The process of a node exited with the status `how`; `running` nodes of `all` are left.
    Ended { node: String, how: String, was_leader: bool, running: usize, all: usize },
    /// A node has not answered for a while.
    Silent { node: String },
    /// A node answers again after it was silent or had exited.
    Back { node: String },
    /// A node became the leader, `after_ms` after the previous leader (`before`) was last observed.
    Leads { node: String, before: Option<String>, after_ms: u64 },
    /// No node has been the leader for a while.
    Leaderless,
    /// The number of online clients changed.
    Online { count: u64 },
}

/// State of the cluster at the last poll.
pub(super) struct ChangeDetector {
    nodes: Vec<TrackedNode>,
    leader: Option<usize>,
    /// Last time at which there was a leader.
    last_leader_at: BootMs,
    is_leaderless: bool,
    online: Option<u64>,
    /// A new number of clients that is not reported yet, and the time since which it is stable.
    pending: Option<(u64, BootMs)>,
}

/// Last known state of one node.
struct TrackedNode {
    name: String,
    state: ProcessState,
    answered_at: BootMs,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ProcessState {
    Up,
    Silent,
    Ended,
}

impl ChangeDetector {
    /// A detector for these nodes, without a leader.
    pub(super) fn new(names: impl IntoIterator<Item = String>, now: BootMs) -> Self {
        let tracked = |name| TrackedNode { name, state: ProcessState::Up, answered_at: now };
        Self {
            nodes: names.into_iter().map(tracked).collect(),
            leader: None,
            last_leader_at: now,
            is_leaderless: false,
            online: None,
            pending: None,
        }
    }

    /// Index of the leader.
    pub(super) fn leader(&self) -> Option<usize> {
        self.leader
    }

    /// Whether there is no running leader. If so, the next poll should come soon, to measure the
    /// duration of the election.
    pub(super) fn is_leader_down(&self) -> bool {
        self.leader.is_none_or(|leader| self.nodes[leader].state != ProcessState::Up)
    }

    /// Records the exit of a node's process.
    pub(super) fn process_exited(&mut self, index: usize, how: String, now: BootMs) -> ClusterChange {
        let was_leader = self.leader == Some(index);
        if was_leader {
            // The time of the exit is exact, and the last poll may be older.
            self.last_leader_at = now;
        }
        self.nodes[index].state = ProcessState::Ended;
        let running = self.nodes.iter().filter(|node| node.state != ProcessState::Ended).count();
        ClusterChange::Ended { node: self.nodes[index].name.clone(), how, was_leader, running, all: self.nodes.len() }
    }

    /// Records the health of each node at `now` (`None`: no answer), and returns the changes.
    pub(super) fn observe(&mut self, answers: &[Option<Health>], now: BootMs) -> Vec<ClusterChange> {
        let mut changes = Vec::new();
        for (node, answer) in self.nodes.iter_mut().zip(answers) {
            changes.extend(node.observe(answer.is_some(), now));
        }
        let serving = answers.iter().enumerate().filter_map(|(index, answer)| {
            let health = answer.as_ref().filter(|health| health.is_leader)?;
            Some((health.term, index, health.online_clients_count))
        });
        // The nodes answer at slightly different times, so both the old and the new leader may
        // report that they lead. The higher term wins.
        match serving.max() {
            Some((_, index, online)) => {
                changes.extend(self.set_leader(index, now));
                changes.extend(self.set_online_count(online, now));
            }
            None if !self.is_leaderless && now.since(self.last_leader_at) >= LEADERLESS_AFTER_MS => {
                self.is_leaderless = true;
                changes.push(ClusterChange::Leaderless);
            }
            None => {}
        }
        changes
    }

    /// Records that node `index` is the leader.
    fn set_leader(&mut self, index: usize, now: BootMs) -> Option<ClusterChange> {
        let before = self.leader.replace(index);
        let after_ms = now.since(self.last_leader_at);
        let was_leaderless = std::mem::take(&mut self.is_leaderless);
        self.last_leader_at = now;
        let name = |index: usize| self.nodes[index].name.clone();
        (before != Some(index) || was_leaderless).then(|| ClusterChange::Leads {
            node: name(index),
            before: before.map(name),
            after_ms,
        })
    }

    /// Records the number of online clients. A new number is reported only after it was stable for
    /// [`STABLE_AFTER_MS`].
    fn set_online_count(&mut self, online: u64, now: BootMs) -> Option<ClusterChange> {
        if self.online == Some(online) {
            self.pending = None;
            return None;
        }
        let since = self.pending.filter(|(count, _)| *count == online).map_or(now, |(_, since)| since);
        self.pending = Some((online, since));
        if now.since(since) < STABLE_AFTER_MS {
            return None;
        }
        self.online = Some(online);
        self.pending = None;
        Some(ClusterChange::Online { count: online })
    }
}

impl TrackedNode {
    fn observe(&mut self, answers: bool, now: BootMs) -> Option<ClusterChange> {
        if answers {
            self.answered_at = now;
            let before = std::mem::replace(&mut self.state, ProcessState::Up);
            return (before != ProcessState::Up).then(|| ClusterChange::Back { node: self.name.clone() });
        }
        (self.state == ProcessState::Up && now.since(self.answered_at) >= SILENT_AFTER_MS).then(|| {
            self.state = ProcessState::Silent;
            ClusterChange::Silent { node: self.name.clone() }
        })
    }
}

impl fmt::Display for ClusterChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { node, how, was_leader, running, all } => {
                let subject = if *was_leader { "the leader" } else { "node" };
                write!(f, "{subject} {node} ended ({how})")?;
                match running {
                    0 => f.write_str("; no node is left"),
                    running if running * 2 <= *all => {
                        write!(f, "; {running} of {all} nodes left, which is no majority: no node can lead")
                    }
                    running => write!(f, "; {running} of {all} nodes left"),
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
    use rollcall_core::api::{Service, Status};

    fn health(is_leader: bool, term: u64, online: u64) -> Health {
        Health {
            status: Status::Ok,
            service: Service::Rollcall,
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

    /// Three nodes. The first one has been the leader since time 0, and 5 clients are online.
    fn detector() -> ChangeDetector {
        let mut detector = ChangeDetector::new(["a", "b", "c"].map(str::to_owned), BootMs(0));
        let answers = [Some(health(true, 1, 5)), Some(health(false, 1, 5)), Some(health(false, 1, 5))];
        let first = detector.observe(&answers, BootMs(0));
        assert_eq!(first.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a leads"]);
        assert_eq!(detector.observe(&answers, BootMs(STABLE_AFTER_MS)), [ClusterChange::Online { count: 5 }]);
        assert!(detector.observe(&answers, BootMs(STABLE_AFTER_MS + 1)).is_empty());
        detector
    }

    #[test]
    fn a_killed_leader_is_reported_and_then_the_new_leader_with_the_elapsed_time() {
        let mut detector = detector();
        assert!(!detector.is_leader_down());
        let ended = detector.process_exited(0, "signal: 9 (SIGKILL)".into(), BootMs(5000));
        assert_eq!(ended.to_string(), "the leader a ended (signal: 9 (SIGKILL)); 2 of 3 nodes left");
        assert!(detector.is_leader_down());
        assert!(
            detector.observe(&[None, Some(health(false, 1, 5)), Some(health(false, 1, 5))], BootMs(5040)).is_empty()
        );
        let changes = detector.observe(&[None, Some(health(false, 2, 5)), Some(health(true, 2, 5))], BootMs(5080));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].to_string(), "leader changed from a to c after 80 ms");
        assert_eq!(detector.leader(), Some(2));
        assert!(!detector.is_leader_down());
    }

    #[test]
    fn a_handover_is_measured_from_the_last_poll_of_the_old_leader() {
        let mut detector = detector();
        let answers = |old, new| [Some(health(old, 1, 5)), Some(health(new, 2, 5)), Some(health(false, 1, 5))];
        detector.observe(&answers(true, false), BootMs(6000));
        // Both nodes report themselves as leader; the higher term counts.
        let changes = detector.observe(&answers(true, true), BootMs(6100));
        assert_eq!(changes, [ClusterChange::Leads { node: "b".into(), before: Some("a".into()), after_ms: 100 }]);
    }

    #[test]
    fn a_cluster_without_a_leader_is_reported_once_and_so_is_the_next_leader() {
        let mut detector = detector();
        let no_leader = [Some(health(false, 1, 0)), Some(health(false, 1, 0)), Some(health(false, 1, 0))];
        let start = STABLE_AFTER_MS + 1;
        assert!(detector.observe(&no_leader, BootMs(start + LEADERLESS_AFTER_MS - 1)).is_empty());
        assert_eq!(detector.observe(&no_leader, BootMs(start + LEADERLESS_AFTER_MS)), [ClusterChange::Leaderless]);
        assert!(detector.observe(&no_leader, BootMs(start + LEADERLESS_AFTER_MS + 1)).is_empty());
        let changes = detector.observe(&[Some(health(true, 2, 5)), None, None], BootMs(start + 3000));
        assert_eq!(changes[0].to_string(), "a leads again after 3000 ms");
    }

    #[test]
    fn a_silent_node_is_reported_after_the_limit_and_its_return_at_once() {
        let mut detector = detector();
        let answers = [Some(health(true, 1, 5)), None, Some(health(false, 1, 5))];
        let start = STABLE_AFTER_MS + 1;
        assert!(detector.observe(&answers, BootMs(start + SILENT_AFTER_MS - 1)).is_empty());
        assert_eq!(
            detector.observe(&answers, BootMs(start + SILENT_AFTER_MS)),
            [ClusterChange::Silent { node: "b".into() }]
        );
        assert!(detector.observe(&answers, BootMs(start + SILENT_AFTER_MS + 1)).is_empty());
        let back = detector
            .observe(&[Some(health(true, 1, 5)), Some(health(false, 1, 5)), Some(health(false, 1, 5))], BootMs(9000));
        assert_eq!(back, [ClusterChange::Back { node: "b".into() }]);
    }

    #[test]
    fn an_exited_node_is_not_reported_as_silent_too() {
        let mut detector = detector();
        detector.process_exited(1, "exit status: 0".into(), BootMs(2000));
        assert!(
            detector.observe(&[Some(health(true, 1, 5)), None, Some(health(false, 1, 5))], BootMs(9000)).is_empty()
        );
        assert!(!detector.is_leader_down());
    }

    #[test]
    fn one_node_of_three_is_reported_as_less_than_a_majority() {
        let mut detector = detector();
        detector.process_exited(1, "x".into(), BootMs(2000));
        let text = detector.process_exited(2, "x".into(), BootMs(2000)).to_string();
        assert_eq!(text, "node c ended (x); 1 of 3 nodes left, which is no majority: no node can lead");
        assert_eq!(
            detector.process_exited(0, "x".into(), BootMs(2000)).to_string(),
            "the leader a ended (x); no node is left"
        );
    }

    #[test]
    fn the_number_of_clients_is_reported_when_it_is_stable() {
        let mut detector = detector();
        let mut observe = |online, at| {
            detector.observe(
                &[Some(health(true, 1, online)), Some(health(false, 1, 0)), Some(health(false, 1, 0))],
                BootMs(at),
            )
        };
        assert!(observe(6, 3000).is_empty());
        assert!(observe(7, 3900).is_empty());
        assert!(observe(7, 4899).is_empty());
        assert_eq!(observe(7, 4900), [ClusterChange::Online { count: 7 }]);
        assert!(observe(8, 5000).is_empty());
        assert!(observe(7, 5100).is_empty(), "a short change back and forth is not reported");
        assert!(observe(7, 9000).is_empty());
    }
}
