//! How far a long command is, for a person at a terminal; nothing for anybody else.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(steps: usize, noun: &'static str) -> Self {
        // A single step has no middle to show.
        let is_shown = stderr().is_terminal() && steps > 1;
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(u64::try_from(steps).ok(), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(noun);
        Self(bar)
    }

    /// One more step is done.
    pub(super) fn advance(&self) {
        self.0.inc(1);
    }

    /// Does something that writes, without the bar in the way.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Removes the bar.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
