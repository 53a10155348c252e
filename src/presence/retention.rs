//! Retention sweep: removes clients that have been offline for long, in batches of rows.

use super::client_rows::{ClientRow, ClientRows};
use super::presence_clock::PresenceMs;
use rollcall_core::Username;

/// Pause between two sweeps, in milliseconds.
const SWEEP_INTERVAL_MS: u64 = 60 * 1000;

/// Rows visited in one step of a sweep.
pub(super) const ROWS_PER_STEP: usize = 1000;

/// Progress of the current sweep, or the end of the last one.
#[derive(Debug, Default)]
pub(super) struct RetentionSweep {
    finished_at: PresenceMs,
    /// The last row visited by the current sweep; `None` between two sweeps.
    cursor: Option<Username>,
}

impl RetentionSweep {
    /// Visits the next batch of rows and removes those for which `keep` is false. Does nothing for
    /// a minute after a complete sweep.
    pub(super) fn step(&mut self, rows: &mut ClientRows, now: PresenceMs, keep: impl Fn(&ClientRow) -> bool) {
        let is_new_sweep = self.cursor.is_none();
        if is_new_sweep && now.since(self.finished_at) < SWEEP_INTERVAL_MS {
            return;
        }
        self.cursor = rows.sweep(self.cursor.as_ref(), ROWS_PER_STEP, keep);
        if self.cursor.is_none() {
            self.finished_at = now;
        }
    }
}
