//! Forgets clients that are long offline, a part of the rows at a time.

use super::client_rows::{ClientRow, ClientRows};
use super::presence_clock::PresenceMs;
use rollcall_core::Username;

/// The least time from one sweep's end to the next one's begin.
const SWEEP_INTERVAL_MS: u64 = 60 * 1000;

/// ClientRows that one step of a sweep looks at.
pub(super) const ROWS_PER_STEP: usize = 1000;

/// How far the sweep under way is, or when the last one ended.
#[derive(Debug, Default)]
pub(super) struct RetentionSweep {
    finished_at: PresenceMs,
    /// The row that the sweep under way looked at last.
    cursor: Option<Username>,
}

impl RetentionSweep {
    /// Looks at a part of the rows and drops those that `keep` does not want. Looks at none for a
    /// minute once it has seen them all.
    pub(super) fn step(&mut self, rows: &mut ClientRows, now: PresenceMs, keep: impl Fn(&ClientRow) -> bool) {
        let starts = self.cursor.is_none();
        if starts && now.since(self.finished_at) < SWEEP_INTERVAL_MS {
            return;
        }
        self.cursor = rows.sweep(self.cursor.as_ref(), ROWS_PER_STEP, keep);
        if self.cursor.is_none() {
            self.finished_at = now;
        }
    }
}
