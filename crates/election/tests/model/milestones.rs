//! Milestones that a run has reached. They are not part of the state, because they must not
//! distinguish equal states.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rollcall_election::machine::{LogEvent, StepDownReason};

/// Milestone of a run. A run that does not reach it proves nothing about it.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Milestone {
    /// A boot window ended because its time was over.
    BootWindowExpired,
    /// A boot window ended because all other nodes had reported that they do not lead.
    BootWindowEndedEarly,
    /// A lost ballot was recovered from the reports of the other nodes.
    LostBallotRecovered,
    /// A node that had lost its ballot voted again.
    WipedNodeVoted,
    /// A restarted node voted.
    RestartedNodeVoted,
    /// A restarted node served.
    RestartedNodeServed,
    /// A leader of a later term served after a node had restarted.
    SuccessorServedAfterRestart,
    /// A leader stepped down because it lost its majority.
    MajorityLost,
    /// A leader asked another node to take over.
    HandedOver,
    /// A follower received the resignation of its leader.
    Resigned,
    /// A follower saw the end of its leader's process.
    LeaderDied,
    /// A message of a term that its receiver had passed arrived.
    StaleMessageArrived,
    /// A node ignored an absurd message.
    AbsurdMessageIgnored,
}

#[derive(Debug, Default)]
pub(super) struct Milestones {
    expanded_states: AtomicUsize,
    milestones: AtomicU32,
}

impl Milestones {
    pub(super) fn reach(&self, milestone: Milestone) {
        let bit = 1 << milestone as u32;
        if self.milestones.load(Ordering::Relaxed) & bit == 0 {
            self.milestones.fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub(super) fn reached(&self, milestone: Milestone) -> bool {
        self.milestones.load(Ordering::Relaxed) & (1 << milestone as u32) != 0
    }

    pub(super) fn record(&self, note: LogEvent) {
        match note {
            LogEvent::BootWindowEnded { early: true } => self.reach(Milestone::BootWindowEndedEarly),
            LogEvent::BootWindowEnded { early: false } => self.reach(Milestone::BootWindowExpired),
            LogEvent::BallotRecovered { .. } => self.reach(Milestone::LostBallotRecovered),
            LogEvent::SteppedDown { reason: StepDownReason::LostMajority, .. } => {
                self.reach(Milestone::MajorityLost);
            }
            LogEvent::HandoverStarted { .. } => self.reach(Milestone::HandedOver),
            LogEvent::LeaderResigned { .. } => self.reach(Milestone::Resigned),
            LogEvent::LeaderDied { .. } => self.reach(Milestone::LeaderDied),
            LogEvent::MessageIgnored { .. } => self.reach(Milestone::AbsurdMessageIgnored),
            _ => {}
        }
    }

    /// Counts a state whose steps are enumerated.
    pub(super) fn count_expanded_state(&self) {
        self.expanded_states.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of states whose steps were enumerated.
    pub(super) fn expanded_states(&self) -> usize {
        self.expanded_states.load(Ordering::Relaxed)
    }
}
