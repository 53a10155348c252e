//! How far a run of the model goes: what may go wrong in it, and how often.

use std::sync::Arc;

use rollcall_core::{BootMs, Timings};
use rollcall_election::machine::Rules;
use rollcall_election::{BootId, NodeId, Process};

use super::milestones::Milestones;

pub(super) const NODES: u8 = 3;

/// Of each node's first process.
pub(super) const FIRST_BOOT: BootId = BootId(1);

/// Every clock shows this at any time: instead of going on, clocks are set back (`Machine::normalized`).
pub(super) const NOW: BootMs = BootMs(100_000);

/// How much time passes at once. With V = 1200 a lease (1000) lasts one tick and a promise (1201) two, so they differ by
/// one tick as the real ones do by a sixth of V; handovers (at most 1000) are over within one.
pub(super) const TICK_MS: u64 = 1100;

/// The highest term that any run goes to.
pub(super) const MAX_TERMS: usize = 6;

/// Every pause is as short as can be, because a node may be late for anything: all longer pauses are among the runs.
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

/// In what state a run begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Start {
    /// All three have just started with blank ballots, and nobody has heard of anybody.
    Cold,
    /// All three have blank ballots, their boot windows are over, and nobody leads.
    Idle,
    /// Node 0 serves in term 1, and both others have just promised.
    Serving,
}

/// Who may have to wait for the answers to its questions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SlowAnswers {
    Never,
    /// Nodes that were started again, and to them the first so many answers: those can end their boot windows, and settle
    /// their lost ballots.
    ToRestarted(u8),
    Always,
}

/// What one run may do.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent choices, not a state in disguise")]
pub(super) struct Bounds {
    pub(super) start: Start,
    /// Nobody goes to a later term than this.
    pub(super) terms: u64,
    /// How many processes are killed. They may start again at any later time, with their ballots.
    pub(super) kills: u8,
    /// Whose process may be killed and whose clock may lag, if not everybody's.
    pub(super) faulty_node: Option<u8>,
    /// Whether time passes. What it takes no time to break is found sooner without.
    pub(super) time_passes: bool,
    /// Whether who was killed starts again.
    pub(super) restarts: bool,
    /// How many of the killed find their ballots gone.
    pub(super) wipes: u8,
    /// How many leaders or followers are asked to stop: a leader hands over or resigns, no matter when it then ends.
    pub(super) stops: u8,
    /// How many ticks each node's clock may miss.
    pub(super) clock_skips: u8,
    /// How many writes are slow: other things happen, or the process dies, before or after they are on disk.
    pub(super) slow_writes: u8,
    /// Whose questions are answered in as much time as everything else takes. Others are answered at once or never.
    pub(super) slow_answers: SlowAnswers,
    /// Whether the death of a process is seen as an orderly end of its links (rule 5), and not as silence.
    pub(super) orderly_ends: bool,
    /// Whether words of terms that their receiver has passed arrive too. If not, they are lost.
    pub(super) stale_messages: bool,
    pub(super) bug: Option<Bug>,
    /// What was come across; shared by all states.
    pub(super) milestones: Arc<Milestones>,
}

impl Bounds {
    /// A run in which nothing goes wrong but that words are late, lost or out of order, and nodes slow.
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
            bug: None,
            milestones: Arc::default(),
        }
    }

    pub(super) fn may_fail(&self, node: u8) -> bool {
        self.faulty_node.is_none_or(|faulty_node| faulty_node == node)
    }

    /// Whether the next answer to `asker` is slow, after so many that were.
    pub(super) fn is_slow_to_answer(&self, asker: Process, used: u8) -> bool {
        match self.slow_answers {
            SlowAnswers::Never => false,
            SlowAnswers::ToRestarted(most) => asker.boot > FIRST_BOOT && used < most,
            SlowAnswers::Always => true,
        }
    }

    /// What `node` goes by; the same for all but for two bugs.
    pub(super) fn rules(&self, node: u8) -> Rules {
        let v = match self.bug {
            Some(Bug::LeaseAsLongAsPromise) if node == 0 => 1440,
            Some(Bug::DifferentTimings) if node == 0 => 2700,
            _ => 1200,
        };
        rules(node, v)
    }

    /// Before this it makes no difference to any node when a heartbeat was sent.
    pub(super) fn oldest_beat(&self) -> BootMs {
        let looks_back = (0..NODES).map(|node| self.rules(node).max_lookback_ms()).max();
        BootMs(NOW.0 - looks_back.unwrap_or_default())
    }

    /// Whatever was asked at this moment is not waited for any more.
    pub(super) fn oldest_asked(&self) -> BootMs {
        BootMs(NOW.0 - self.rules(0).timings.net_timeout_ms - 1)
    }
}

/// Bugs that must be found. They are planted around the machine, so that the machine needs no switches for them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bug {
    /// The leader's lease is as long as the promises: its V is 6/5 of the others'.
    LeaseAsLongAsPromise,
    /// Node 0 has other timings than the rest, and they let it in.
    DifferentTimings,
    /// A node that starts holds still for no time: it is told at once that nobody leads.
    NoBootWindow,
    /// The lease counts from the receipt of an acknowledgement.
    LeaseFromReceipt,
    /// A leader that hands over goes on leading.
    HandoverKeepsLease,
    /// The vote is not on disk, only the term.
    VolatileVote,
    /// A living leader ends a link in order, without a Bye.
    ClosesWithoutBye,
    /// A node that lost its ballot begins with a blank one.
    WipedNodeVotes,
    /// An end of stream voids whatever was promised.
    EndVoidsAnyPromise,
    /// An end of stream is taken for the death of whoever is at that address now.
    EndByAddress,
    /// An end of stream makes a node forget its vote along with the promise.
    EndClearsVote,
    /// One node's word that it does not lead ends the boot window.
    OnePeerEndsWindow,
}
