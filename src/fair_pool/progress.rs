//! Progress of the work that holds a piece of a pool, as one atomic number.
//!
//! The work stores its state; the pool reads it when it looks for a piece to displace. So progress
//! costs no lock and no allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::ledger::Activity;

/// The last bits of the number are the kind of the state.
const KIND_BITS: u32 = 2;
const IDLE: u64 = 0;
const WAITING: u64 = 1;
const WORKING: u64 = 2;

/// State of a piece's work. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct PieceProgress {
    /// Start of the time in `state`. It is equal for all pieces of a pool.
    epoch: Instant,
    /// Milliseconds since `epoch`, and the kind of the state.
    state: Arc<AtomicU64>,
}

impl PieceProgress {
    /// Idle since now.
    pub(super) fn new(epoch: Instant) -> Self {
        let progress = Self { epoch, state: Arc::default() };
        progress.set_idle();
        progress
    }

    /// There is no work: the client may send its next request.
    pub(crate) fn set_idle(&self) {
        self.store(self.now_ms(), IDLE);
    }

    /// The work waits for its client since now.
    pub(crate) fn set_waiting(&self) {
        self.store(self.now_ms(), WAITING);
    }

    /// The work does not wait for its client. It reads no clock.
    pub(crate) fn set_working(&self) {
        self.store(0, WORKING);
    }

    /// Whether the work does not wait for its client.
    pub(crate) fn is_working(&self) -> bool {
        self.load().1 == WORKING
    }

    /// The start of the idle time. `None` if there is work.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let (ms, kind) = self.load();
        (kind == IDLE).then(|| self.epoch + Duration::from_millis(ms))
    }

    fn now_ms(&self) -> u64 {
        ms_since(self.epoch)
    }

    fn store(&self, ms: u64, kind: u64) {
        self.state.store(ms << KIND_BITS | kind, Ordering::Relaxed);
    }

    fn load(&self) -> (u64, u64) {
        let state = self.state.load(Ordering::Relaxed);
        (state >> KIND_BITS, state & ((1 << KIND_BITS) - 1))
    }
}

impl Activity for PieceProgress {
    fn waiting_since_ms(&self) -> Option<u64> {
        let (ms, kind) = self.load();
        (kind != WORKING).then_some(ms)
    }
}

/// Milliseconds since `epoch`.
pub(super) fn ms_since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).expect("a process does not run for so long")
}
