//! The coverage of this node in a `watch` channel: components raise it, requests wait for it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::coverage::TermCoverage;
use rollcall_core::Term;

/// The current coverage of this node, with subscribers.
#[derive(Debug, Default)]
pub(super) struct CoverageWatch(watch::Sender<TermCoverage>);

impl CoverageWatch {
    /// The current coverage.
    pub(super) fn now(&self) -> TermCoverage {
        *self.0.borrow()
    }

    /// Subscribes to changes of the coverage.
    pub(super) fn subscribe(&self) -> watch::Receiver<TermCoverage> {
        self.0.subscribe()
    }

    /// Changes the coverage and notifies the subscribers if the value differs.
    pub(super) fn change(&self, change: impl FnOnce(&mut TermCoverage)) {
        self.0.send_if_modified(|coverage| {
            let before = *coverage;
            change(coverage);
            *coverage != before
        });
    }

    /// Waits until `is_enough` holds, `term` is over, or `max` has passed. Returns whether it
    /// holds.
    pub(super) async fn wait_for(&self, term: Term, max: Duration, is_enough: impl Fn(&TermCoverage) -> bool) -> bool {
        // Fast path for the common case: needs no receiver and no timer.
        if is_enough(&self.0.borrow()) {
            return true;
        }
        let mut coverage = self.0.subscribe();
        let decided = coverage.wait_for(|coverage| is_enough(coverage) || coverage.is_after(term));
        // The channel stays open, because `self` owns the sender.
        timeout(max, decided).await.is_ok_and(|decided| decided.is_ok_and(|coverage| is_enough(&coverage)))
    }
}
