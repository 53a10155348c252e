//! What a run came across. It is no part of the state, so that it does not tell apart what is alike.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rollcall_election::machine::{LogEvent, StepDownReason};

/// Something that a run is there to come across: one in which it never happens proves nothing about it.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Milestone {
    /// A boot window was over because it had lasted long enough.
    BootWindowExpired,
    /// A boot window was over because everybody had said that they do not lead.
    BootWindowEndedEarly,
    /// The others' word settled what a node may do that lost its ballot.
    LostBallotRecovered,
    /// A node that had lost its ballot voted again.
    WipedNodeVoted,
    /// A node that was started again voted.
    RestartedNodeVoted,
    /// A node that was started again served.
    RestartedNodeServed,
    /// A leader of a later term served after a node had been started again.
    SuccessorServedAfterRestart,
    /// A leader stepped down because it lost its majority.
    MajorityLost,
    /// A leader told another to stand.
    HandedOver,
    /// A follower heard its leader resign.
    Resigned,
    /// A follower saw its leader's process end.
    LeaderDied,
    /// A word of a term that its receiver had passed arrived.
    StaleMessageArrived,
}

#[derive(Debug, Default)]
pub(super) struct Milestones {
    expanded_states: AtomicUsize,
    milestones: AtomicU32,
}

impl Milestones {
    pub(super) fn receivers(&self, milestone: Milestone) {
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
            LogEvent::BootWindowEnded { early: true } => self.receivers(Milestone::BootWindowEndedEarly),
            LogEvent::BootWindowEnded { early: false } => self.receivers(Milestone::BootWindowExpired),
            LogEvent::BallotRecovered { .. } => self.receivers(Milestone::LostBallotRecovered),
            LogEvent::SteppedDown { reason: StepDownReason::LostMajority, .. } => {
                self.receivers(Milestone::MajorityLost)
            }
            LogEvent::HandoverStarted { .. } => self.receivers(Milestone::HandedOver),
            LogEvent::LeaderResigned { .. } => self.receivers(Milestone::Resigned),
            LogEvent::LeaderDied { .. } => self.receivers(Milestone::LeaderDied),
            _ => {}
        }
    }

    /// A state's steps are asked for.
    pub(super) fn count_expanded_state(&self) {
        self.expanded_states.fetch_add(1, Ordering::Relaxed);
    }

    /// Of how many states all steps were asked for.
    pub(super) fn expanded_states(&self) -> usize {
        self.expanded_states.load(Ordering::Relaxed)
    }
}
