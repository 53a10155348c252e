//! Bounds of a model run: which faults can happen in it, and how often.

use std::sync::Arc;

use rollcall_core::{BootMs, Term, Timings};
use rollcall_election::machine::Rules;
use rollcall_election::{BootId, NodeId, Process};

use super::milestones::Milestones;

pub(super) const NODES: u8 = 3;

/// Boot id of each node's first process.
pub(super) const FIRST_BOOT: BootId = BootId(1);

/// Present time on every clock. Time does not advance: clocks are set back instead
/// (`Machine::normalized`).
pub(super) const NOW: BootMs = BootMs(100_000);

/// Length of one step of time. With V = 1200 a lease (1000) lasts one tick and a promise (1201)
/// two. So they differ by one tick, as real leases and promises differ by a sixth of V. Handovers
/// (at most 1000) end within one tick.
pub(super) const TICK_MS: u64 = 1100;

/// The highest term of any run.
pub(super) const MAX_TERMS: usize = 6;

/// A term that no run reaches, and that the nodes would accept. It is the term of an absurd message
/// for a node without the bound on terms.
pub(super) const UNREACHABLE_TERM: Term = Term(1 << 31);

/// Every pause has its minimum length. A node may always act late, so the runs include all longer
/// pauses.
fn rules(me: u8, v: u64) -> Rules {
    Rules {
        me: NodeId(me),
        nodes: usize::from(NODES),
        timings: Timings {
            heartbeat_interval_ms: 500,
            election_timeout_min_ms: v,
            election_timeout_max_ms: 1200,
            leader_term_ms: u64::MAX,
            net_timeout_ms: 1000,
            election_retry_ms: 0,
        },
        trust_end_of_stream: true,
    }
}

/// Initial state of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Start {
    /// All three nodes have just started with blank ballots and know nothing of each other.
    Cold,
    /// All three nodes have blank ballots, their boot windows are over, and no node leads.
    Idle,
    /// Node 0 serves in term 1, and both other nodes have just made a promise.
    Serving,
}

/// Which nodes may get the responses to their pre-vote requests late.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SlowAnswers {
    Never,
    /// Only restarted nodes, and only this many of their first responses. Such responses can end a
    /// boot window and recover a lost ballot.
    ToRestarted(u8),
    Always,
}

/// The events that can happen in one run.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent choices, not one state")]
pub(super) struct Bounds {
    pub(super) start: Start,
    /// Highest term of the run.
    pub(super) terms: u64,
    /// Number of processes that are killed. They may restart at any later time, with their ballots.
    pub(super) kills: u8,
    /// The only node whose process may be killed and whose clock may lag. `None` stands for all
    /// nodes.
    pub(super) faulty_node: Option<u8>,
    /// Whether time passes. Violations that need no time are found sooner without it.
    pub(super) time_passes: bool,
    /// Whether killed nodes restart.
    pub(super) restarts: bool,
    /// Number of killed nodes that lose their ballots.
    pub(super) wipes: u8,
    /// Number of nodes that are asked to stop. A leader that is asked to stop hands over or
    /// resigns.
    pub(super) stops: u8,
    /// Number of ticks that each node's clock may miss.
    pub(super) clock_skips: u8,
    /// Number of slow writes. Other steps may happen, or the process may die, before the ballot is
    /// on disk.
    pub(super) slow_writes: u8,
    /// Which responses may arrive at any later time. Other responses arrive at once or never.
    pub(super) slow_answers: SlowAnswers,
    /// Whether a killed process ends its links in order (rule 5). If not, the other nodes only
    /// receive no more messages.
    pub(super) orderly_ends: bool,
    /// Whether messages of terms that their receiver has passed arrive. If not, they are lost.
    pub(super) stale_messages: bool,
    /// Number of messages with impossible terms, or with nodes that do not exist. A faulty member
    /// sends them.
    pub(super) absurd_messages: u8,
    pub(super) bug: Option<Bug>,
    /// Milestones of the run, shared by all states.
    pub(super) milestones: Arc<Milestones>,
}

impl Bounds {
    /// A run without faults, except that messages are late, lost or out of order, and nodes are
    /// slow.
    pub(super) fn quiet(start: Start) -> Self {
        Self {
            start,
            terms: 2,
            kills: 0,
            faulty_node: None,
            time_passes: true,
            restarts: true,
            wipes: 0,
            stops: 0,
            clock_skips: 0,
            slow_writes: 0,
            slow_answers: SlowAnswers::Never,
            orderly_ends: true,
            stale_messages: false,
            absurd_messages: 0,
            bug: None,
            milestones: Arc::default(),
        }
    }

    pub(super) fn may_fail(&self, node: u8) -> bool {
        self.faulty_node.is_none_or(|faulty_node| faulty_node == node)
    }

    /// Whether the next response to `requester` is slow, after `used` slow responses.
    pub(super) fn is_slow_to_answer(&self, requester: Process, used: u8) -> bool {
        match self.slow_answers {
            SlowAnswers::Never => false,
            SlowAnswers::ToRestarted(most) => requester.boot > FIRST_BOOT && used < most,
            SlowAnswers::Always => true,
        }
    }

    /// Rules of `node`. They are the same for all nodes, except with two of the bugs.
    pub(super) fn rules(&self, node: u8) -> Rules {
        let v = match self.bug {
            Some(Bug::LeaseAsLongAsPromise) if node == 0 => 1440,
            Some(Bug::DifferentTimings) if node == 0 => 2700,
            _ => 1200,
        };
        rules(node, v)
    }

    /// No node distinguishes heartbeats that were sent before this moment.
    pub(super) fn oldest_heartbeat(&self) -> BootMs {
        let looks_back = (0..NODES).map(|node| self.rules(node).max_lookback_ms()).max();
        BootMs(NOW.0 - looks_back.unwrap_or_default())
    }

    /// No node waits for responses to requests of this moment or earlier.
    pub(super) fn oldest_asked(&self) -> BootMs {
        BootMs(NOW.0 - self.rules(0).timings.net_timeout_ms - 1)
    }
}

/// Seeded bugs that the check must find. They are injected around the machine, so that the machine
/// needs no switches for them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bug {
    /// The leader's lease is as long as the promises: its V is 6/5 of the others'.
    LeaseAsLongAsPromise,
    /// Node 0 has other timings than the other nodes, and they admit it.
    DifferentTimings,
    /// A node that starts has no boot window: it receives a report at once that no node leads.
    NoBootWindow,
    /// The lease counts from the receipt of an acknowledgement.
    LeaseFromReceipt,
    /// A leader continues to lead after a handover.
    HandoverKeepsLease,
    /// The term is on disk, but the vote is not.
    VolatileVote,
    /// A living leader ends a link in order, without a Bye.
    ClosesWithoutBye,
    /// A node that lost its ballot starts with a blank one.
    WipedNodeVotes,
    /// An end of stream releases any promise.
    EndReleasesAnyPromise,
    /// An end of stream counts as the death of the process that has that address now.
    EndByAddress,
    /// An end of stream makes a node forget its vote together with the promise.
    EndClearsVote,
    /// The report of one node that it does not lead ends the boot window.
    OnePeerEndsWindow,
    /// A node accepts a message of any term.
    NoTermBound,
}
