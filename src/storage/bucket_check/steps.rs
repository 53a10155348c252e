//! Steps of a check: each is timed, reported to the caller, and remembered if it failed.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A finished step of a check.
#[derive(Clone, Debug)]
pub struct CheckStep {
    /// Short name of the step.
    pub name: &'static str,
    /// Duration of the step.
    pub duration: Duration,
    /// Findings of the step; or the cause of its failure, and the remedy.
    pub result: Result<Findings, String>,
}

/// Findings of a step that has not failed, one line each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// Profiles that cannot be read. The registry works without their users.
    pub unreadable: Vec<String>,
    /// Fields of profiles that are not shown to clients.
    pub ignored: Vec<String>,
    /// Answers to what the documents of the store leave open.
    pub facts: Vec<String>,
}

/// Runs and reports steps.
pub(super) struct Steps<'s, R> {
    report: R,
    stop: &'s CancellationToken,
    has_failed: bool,
}

impl<'s, R: FnMut(&CheckStep)> Steps<'s, R> {
    pub(super) fn new(stop: &'s CancellationToken, report: R) -> Self {
        Self { report, stop, has_failed: false }
    }

    /// Whether a step has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Runs a step to its end. Returns its findings; `None` if it failed.
    pub(super) async fn run(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<Findings, String>>,
    ) -> Option<Findings> {
        let start = Instant::now();
        let result = work.await;
        let step = CheckStep { name, duration: start.elapsed(), result };
        (self.report)(&step);
        self.has_failed |= step.result.is_err();
        step.result.ok()
    }

    /// Like [`Self::run`], but a stopped check does not start the step. A write that has started is
    /// finished: after an abandoned one, the clean-up could come before the write takes effect.
    pub(super) async fn run_write(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<Findings, String>>,
    ) -> Option<Findings> {
        if self.stop.is_cancelled() { None } else { self.run(name, work).await }
    }

    /// Like [`Self::run`], but a stopped check abandons the step. For steps that only read.
    pub(super) async fn run_unless_stopped(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<Findings, String>>,
    ) -> Option<Findings> {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.run(name, work)).await.flatten()
    }
}
