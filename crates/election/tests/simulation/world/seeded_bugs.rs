//! Seeded bugs around the machine. Each one stands for a possible bug of a driver or of the
//! machine. The simulation must find all of them.

use rollcall_core::{BootMs, MemberRole};
use rollcall_election::machine::{Event, Machine};
use rollcall_election::{Ballot, Message, Process};

use super::{SimEvent, World};

/// A seeded bug.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bug {
    /// L is as long as V.
    LeaseAsLongAsPromise,
    /// A node that starts may vote at once.
    NoBootWindow,
    /// The report of one other node ends the boot window.
    OnePeerEndsWindow,
    /// The lease counts from the receipt of an acknowledgement.
    LeaseFromReceipt,
    /// A leader serves until the end of its lease after a handover.
    HandoverKeepsLease,
    /// A vote is forgotten at a restart.
    VolatileVote,
    /// A ballot counts as saved while it is still being written.
    ReportedSavedTooEarly,
    /// A process uses the ballot that it finds before the ballot is synced.
    LoadsWithoutSync,
    /// A living process ends its links in order and without a Bye.
    ClosesInOrder,
    /// One node has other timings than the other nodes.
    DifferentTimings,
    /// A node that lost its ballot starts with a blank one.
    WipedNodeVotes,
    /// The end of any stream releases the promise to the leader.
    EndReleasesAnyPromise,
    /// The end of an old process's stream counts for the node's present process.
    EndMatchedByAddress,
    /// The end of a stream also makes a node forget its vote.
    EndClearsVote,
    /// A node accepts a message of any term.
    NoTermBound,
}

impl World {
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The ballot and the clock reading with which a machine starts.
    pub(super) fn ballot_and_clock_at_start(&mut self, node: usize) -> (Option<Ballot>, BootMs) {
        let (older, empty) = (self.has(Bug::VolatileVote), self.has(Bug::WipedNodeVotes));
        let (syncs, early) = (!self.has(Bug::LoadsWithoutSync), self.has(Bug::NoBootWindow));
        let now = self.now;
        let host = &mut self.hosts[node];
        let found = host.disk.load(syncs);
        let loaded = if older { host.disk.older_ballot().or(found) } else { found };
        let ballot = loaded.or(empty.then(Ballot::default));
        let clock = host.clock.read(now);
        let window = host.rules.timings.election_timeout_min_ms + 1;
        (ballot, if early { BootMs(clock.0.saturating_sub(window)) } else { clock })
    }

    /// The message that a node receives in place of `message`.
    pub(super) fn apply_bug_to_message(&mut self, node: usize, from: Process, message: Message) -> Message {
        match message {
            Message::Ack { term, load, ready, .. } if self.has(Bug::LeaseFromReceipt) => {
                let sent_at = self.hosts[node].clock.read(self.now);
                Message::Ack { term, sent_at, load, ready }
            }
            Message::PreVoteResp(answer) if self.has(Bug::OnePeerEndsWindow) && answer.role != MemberRole::Leader => {
                for other in self.others(node) {
                    let from = Process { node: Self::id(other), ..from };
                    let answer = rollcall_election::PreVoteResp { granted: false, ..answer };
                    self.feed(node, Event::MessageReceived { from, message: Message::PreVoteResp(answer) });
                }
                message
            }
            _ => message,
        }
    }

    /// The process that a node takes for dead when the stream of `process` ends.
    pub(super) fn reported_dead_process(&mut self, node: usize, process: Process) -> Process {
        let Some(running) = &self.hosts[node].running else { return process };
        let present = |of: u8| running.linked[usize::from(of)];
        let leader = running.machine.leader().and_then(|(leader, _)| Some((leader, present(leader.0)?)));
        match (self.bug, leader, present(process.node.0)) {
            (Some(Bug::EndReleasesAnyPromise), Some((node, boot)), _) => Process { node, boot },
            (Some(Bug::EndMatchedByAddress), _, Some(boot)) => Process { boot, ..process },
            _ => process,
        }
    }

    /// Further effects of the end of a stream.
    pub(super) fn apply_bug_after_end(&mut self, node: usize) {
        if self.has(Bug::EndClearsVote)
            && let Some(running) = &mut self.hosts[node].running
        {
            let ballot = Ballot { term: running.machine.term(), voted_for: None };
            let host = &mut self.hosts[node];
            host.disk.replace(ballot);
            let early = host.clock.read(self.now).0.saturating_sub(host.rules.timings.election_timeout_min_ms + 1);
            let running = host.running.as_mut().expect("checked above");
            running.machine = Machine::new(host.rules.clone(), running.process.boot, Some(ballot), BootMs(early));
            self.schedule(0, self.hosts[node].process().expect("checked above"), SimEvent::Timer { serial: u32::MAX });
        }
    }
}
