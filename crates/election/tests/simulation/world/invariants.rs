//! Checks of the invariants against the state and the messages of a node.

use rollcall_core::{BootMs, Term};
use rollcall_election::{Ballot, Message, RoleState};

use super::absurd::UNREACHABLE_TERM;
use super::{Bug, MS, Rule, SECOND, World};

/// Messages per second above which a machine counts as being in a busy loop.
const MAX_MESSAGES_PER_SECOND: u32 = 1000;

impl World {
    /// Checks the invariants after each event of `node`. Between two events leases can only expire.
    pub(super) fn check_invariants(&mut self, node: usize) {
        let (now, stretched) = (self.now, self.has(Bug::LeaseAsLongAsPromise));
        self.check_known_values(node);
        let host = &mut self.hosts[node];
        let Some(running) = &mut host.running else { return };
        let (me, term) = (running.process.node, running.machine.term());
        let RoleState::Leader { serves_until, .. } = running.machine.role_state() else {
            let keeps = self.bug == Some(Bug::HandoverKeepsLease) && running.machine.awaits_successor();
            running.serves_until = if keeps { running.kept_lease } else { 0 };
            return;
        };
        let extra_ms =
            if stretched && serves_until > BootMs(0) { host.rules.timings.election_timeout_min_ms / 6 } else { 0 };
        running.serves_until = host.clock.when(serves_until.plus(extra_ms), now);
        running.kept_lease = running.serves_until;
        let serves = running.serves_until > now;
        self.checks.leads(me, term);
        if serves {
            self.checks.serves(me, term);
            let serving: Vec<_> = (0..self.hosts.len()).filter(|node| self.serves(*node)).collect();
            if serving.len() > 1 {
                self.checks.broken(Rule::OneServingNode, format!("nodes {serving:?} serve at once at {} ms", now / MS));
            }
        }
    }

    /// Checks that no absurd message has had an effect.
    fn check_known_values(&mut self, node: usize) {
        let Some(running) = &self.hosts[node].running else { return };
        let (term, leader) = (running.machine.term(), running.machine.leader());
        if term >= UNREACHABLE_TERM {
            self.checks.broken(Rule::TermsLast, format!("node {node} has term {term}"));
        }
        if leader.is_some_and(|(leader, _)| usize::from(leader.0) >= self.hosts.len()) {
            self.checks.broken(Rule::KnownNodes, format!("node {node} names {leader:?} as the leader"));
        }
    }

    /// Checks that a node does not send without end. Two nodes that answer requests with requests
    /// would.
    pub(super) fn check_message_rate(&mut self, node: usize) {
        let now = self.now;
        let Some(running) = &mut self.hosts[node].running else { return };
        if now - running.message_rate.0 > SECOND {
            running.message_rate = (now, 0);
        }
        running.message_rate.1 += 1;
        if running.message_rate.1 > MAX_MESSAGES_PER_SECOND {
            self.checks.broken(Rule::NoBusyLoop, format!("node {node} sends messages without end at {} ms", now / MS));
        }
    }

    /// Checks rule 1 and I3 on a message.
    pub(super) fn check_durable(&mut self, node: usize, to: u8, message: Message) {
        let (term, vote) = match message {
            Message::Vote { term, .. } => (term, Some(node)),
            Message::VoteResp { term, granted: true, .. } => (term, Some(usize::from(to))),
            Message::VoteResp { term, .. } | Message::Ack { term, .. } | Message::Heartbeat { term, .. } => {
                (term, None)
            }
            _ => return,
        };
        let saved = self.hosts[node].disk.durable().unwrap_or_default();
        let voted = vote.map(Self::id);
        if term > Term(0) && (saved.term < term || (voted.is_some() && saved != Ballot { term, voted_for: voted })) {
            self.checks.broken(Rule::Durable, format!("node {node} sends {message:?}, but its disk holds {saved:?}"));
        }
        // A refusal reports a term only for information. It reports no term if none is on disk.
        let must_not_decrease = !matches!(message, Message::VoteResp { granted: false, .. });
        let highest_sent = &mut self.hosts[node].highest_sent_term;
        if must_not_decrease && term < *highest_sent {
            let text = format!("node {node} sent term {} after term {}", term.0, highest_sent.0);
            self.checks.broken(Rule::TermNeverDecreases, text);
        }
        *highest_sent = (*highest_sent).max(term);
    }
}
