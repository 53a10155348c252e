//! Forgets clients that are long offline, a part of the rows at a time.

use super::rows::{Row, Rows};
use super::stall::PresenceMs;
use rollcall_core::Username;

/// The least time from one sweep's end to the next one's begin.
const SWEEP_EVERY_MS: u64 = 60 * 1000;

/// Rows that one step of a sweep looks at.
pub(super) const ROWS_A_SWEEP: usize = 1000;

/// How far the sweep under way is, or when the last one ended.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    at: PresenceMs,
    /// The row that the sweep under way looked at last.
    to: Option<Username>,
}

impl Sweep {
    /// Looks at a part of the rows and drops those that `keep` does not want. Looks at none for a
    /// minute once it has seen them all.
    pub(super) fn go_on(&mut self, rows: &mut Rows, now: PresenceMs, keep: impl Fn(&Row) -> bool) {
        let begins = self.to.is_none();
        if begins && now.since(self.at) < SWEEP_EVERY_MS {
            return;
        }
        self.to = rows.sweep(self.to.as_ref(), ROWS_A_SWEEP, keep);
        if self.to.is_none() {
            self.at = now;
        }
    }
}
