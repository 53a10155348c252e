//! Progress bar for a long command. It is shown on a terminal only.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress bar on standard error.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for this number of steps. `noun` names the things that are counted.
    pub(super) fn new(steps: usize, noun: &'static str) -> Self {
        // One step has no progress to show.
        Self::with_steps(steps, noun, steps > 1)
    }

    /// A bar whose steps are added later, because their number is not known yet.
    pub(super) fn open_ended(noun: &'static str) -> Self {
        Self::with_steps(0, noun, true)
    }

    fn with_steps(steps: usize, noun: &'static str, is_worth_showing: bool) -> Self {
        let is_shown = stderr().is_terminal() && is_worth_showing;
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(u64::try_from(steps).ok(), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(noun);
        Self(bar)
    }

    /// Adds steps to the length of the bar.
    pub(super) fn add_steps(&self, steps: usize) {
        self.0.inc_length(u64::try_from(steps).unwrap_or(u64::MAX));
    }

    /// Advances the bar by one step.
    pub(super) fn advance(&self) {
        self.0.inc(1);
    }

    /// Hides the bar while `write` writes to the terminal.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Removes the bar.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
