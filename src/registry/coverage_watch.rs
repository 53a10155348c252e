//! The coverage of this node on one `watch` channel: components raise it, requests wait for it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::coverage::TermCoverage;
use rollcall_core::Term;

/// The coverage of this node, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct CoverageWatch(watch::Sender<TermCoverage>);

impl CoverageWatch {
    /// The coverage at this moment.
    pub(super) fn now(&self) -> TermCoverage {
        *self.0.borrow()
    }

    /// Follows the coverage.
    pub(super) fn subscribe(&self) -> watch::Receiver<TermCoverage> {
        self.0.subscribe()
    }

    /// NetChanges the coverage, and wakes those who wait if it is another one.
    pub(super) fn change(&self, change: impl FnOnce(&mut TermCoverage)) {
        self.0.send_if_modified(|coverage| {
            let before = *coverage;
            change(coverage);
            *coverage != before
        });
    }

    /// Waits until `is_enough`, but no longer than `term` lasts, nor longer than `max`. Whether it
    /// is enough.
    pub(super) async fn wait_for(&self, term: Term, max: Duration, is_enough: impl Fn(&TermCoverage) -> bool) -> bool {
        // Most often, without a receiver and a timer.
        if is_enough(&self.0.borrow()) {
            return true;
        }
        let mut coverage = self.0.subscribe();
        let decided = coverage.wait_for(|coverage| is_enough(coverage) || coverage.is_after(term));
        // The sender lives as long as this, so the channel is not closed.
        timeout(max, decided).await.is_ok_and(|decided| decided.is_ok_and(|coverage| is_enough(&coverage)))
    }
}
