//! What a run came across. It is no part of the state, so that it does not tell apart what is alike.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rollcall_election::machine::{Note, SteppedDownBecause};

/// Something that a run is there to come across: one in which it never happens proves nothing about it.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Sight {
    /// A boot window was over because it had lasted long enough.
    WindowRanOut,
    /// A boot window was over because everybody had said that they do not lead.
    WindowEndedEarly,
    /// The others' word settled what a node may do that lost its ballot.
    LostBallotSettled,
    /// A node that had lost its ballot voted again.
    WipedNodeVoted,
    /// A node that was started again voted.
    ReturnedNodeVoted,
    /// A node that was started again served.
    ReturnedNodeServed,
    /// A leader of a later term served after a node had been started again.
    SuccessorServedAfterReturn,
    /// A leader stepped down because it lost its majority.
    MajorityLost,
    /// A leader told another to stand.
    HandedOver,
    /// A follower heard its leader resign.
    Resigned,
    /// A follower saw its leader's process end.
    LeaderDied,
    /// A word of a term that its receiver had passed arrived.
    StaleArrived,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    looked_into: AtomicUsize,
    sights: AtomicU32,
}

impl Seen {
    pub(super) fn see(&self, sight: Sight) {
        let bit = 1 << sight as u32;
        if self.sights.load(Ordering::Relaxed) & bit == 0 {
            self.sights.fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub(super) fn has(&self, sight: Sight) -> bool {
        self.sights.load(Ordering::Relaxed) & (1 << sight as u32) != 0
    }

    pub(super) fn read(&self, note: Note) {
        match note {
            Note::BootWindowEnded { early: true } => self.see(Sight::WindowEndedEarly),
            Note::BootWindowEnded { early: false } => self.see(Sight::WindowRanOut),
            Note::MemorySettled { .. } => self.see(Sight::LostBallotSettled),
            Note::SteppedDown { why: SteppedDownBecause::LostMajority, .. } => self.see(Sight::MajorityLost),
            Note::HandsOver { .. } => self.see(Sight::HandedOver),
            Note::LeaderResigned { .. } => self.see(Sight::Resigned),
            Note::LeaderDied { .. } => self.see(Sight::LeaderDied),
            _ => {}
        }
    }

    /// A state's steps are asked for.
    pub(super) fn look_into(&self) {
        self.looked_into.fetch_add(1, Ordering::Relaxed);
    }

    /// Of how many states all steps were asked for.
    pub(super) fn looked_into(&self) -> usize {
        self.looked_into.load(Ordering::Relaxed)
    }
}
