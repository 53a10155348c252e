//! Text on its way to the terminal, above the line that is edited.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// With more text than this on its way, who can wait does so, and the log loses lines.
const MOST_BYTES: usize = 256 * 1024;
/// The editor needs so long at most to draw the line after it was told to.
const DRAWN_WITHIN: Duration = Duration::from_secs(1);

/// Who writes to the terminal now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Phase {
    /// Whoever holds the lock: no line is edited.
    #[default]
    Away,
    /// The editor, which has not drawn anything yet and needs no waking.
    Starting,
    /// The editor.
    Editing,
    /// Whoever holds the lock, for good.
    Over,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// What the editor has not shown yet; whole lines.
    pending: String,
    /// Whether the line must be drawn anew.
    is_spoilt: bool,
    /// Whether the editor was told that there is something to draw.
    is_told: bool,
    /// Whether lines of the log were lost since something was shown.
    has_lost: bool,
}

/// What is to appear above the line that is edited.
#[derive(Debug, Default)]
pub(in crate::cli::peer) struct Above {
    state: Mutex<State>,
    changed: Condvar,
    shown: Notify,
}

impl Above {
    /// Shows whole lines; at once, or as soon as the editor can.
    pub(in crate::cli::peer) fn write(&self, text: &str) {
        let mut state = self.state();
        match state.phase {
            Phase::Away | Phase::Over => show(text),
            Phase::Starting | Phase::Editing => {
                state.pending.push_str(text);
                self.changed.notify_all();
            }
        }
    }

    /// Shows a line of the log, unless too much is on its way: the log waits for nobody.
    pub(super) fn note(&self, line: &str) {
        let mut state = self.state();
        if state.pending.len() < MOST_BYTES {
            drop(state);
            self.write(&format!("{line}\n"));
        } else if !std::mem::replace(&mut state.has_lost, true) {
            state.pending.push_str("! lines of the log are left out\n");
        }
    }

    /// Waits until little is on its way.
    pub(in crate::cli::peer) async fn room(&self) {
        loop {
            let shown = self.shown.notified();
            if self.state().pending.len() < MOST_BYTES {
                return;
            }
            shown.await;
        }
    }

    /// The editor begins with a line; whether it may.
    pub(super) fn begin_line(&self) -> bool {
        let mut state = self.state();
        if state.phase != Phase::Over {
            state.phase = Phase::Starting;
        }
        state.phase == Phase::Starting
    }

    /// The editor draws the line: what must stand above it.
    pub(super) fn take(&self) -> String {
        let mut state = self.state();
        if state.phase == Phase::Over {
            return String::new();
        }
        state.phase = Phase::Editing;
        state.is_told = false;
        state.is_spoilt = false;
        state.has_lost = false;
        self.changed.notify_all();
        self.shown.notify_waiters();
        std::mem::take(&mut state.pending)
    }

    /// The editor is done with a line.
    pub(super) fn end_line(&self) {
        let mut state = self.state();
        if state.phase != Phase::Over {
            state.phase = Phase::Away;
            self.flush(&mut state);
        }
    }

    /// Something else may have been written where the line is; whether one is edited.
    pub(super) fn spoil(&self) -> bool {
        let mut state = self.state();
        state.is_spoilt = true;
        self.changed.notify_all();
        state.phase == Phase::Editing
    }

    /// Waits until the editor must be told that there is something to draw; whether it ever will be.
    pub(super) fn wait(&self) -> bool {
        let is_idle = |state: &mut State| {
            let has_work = state.is_spoilt || !state.pending.is_empty();
            state.phase != Phase::Over && (state.phase != Phase::Editing || state.is_told || !has_work)
        };
        let mut state = self.changed.wait_while(self.state(), is_idle).unwrap_or_else(PoisonError::into_inner);
        state.is_told = true;
        state.phase != Phase::Over
    }

    /// The first half of the end: a line that was begun is drawn first, so that the editor changes nothing of the terminal
    /// afterwards. Whether a line stands there.
    pub(super) fn begin_end(&self) -> bool {
        let starts = |state: &mut State| state.phase == Phase::Starting;
        let waited = self.changed.wait_timeout_while(self.state(), DRAWN_WITHIN, starts);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let was_edited = matches!(state.phase, Phase::Starting | Phase::Editing);
        state.phase = Phase::Over;
        self.changed.notify_all();
        was_edited
    }

    /// The second half: shows what is left.
    pub(super) fn end_for_good(&self) {
        self.flush(&mut self.state());
    }

    fn flush(&self, state: &mut State) {
        show(&std::mem::take(&mut state.pending));
        self.shown.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// If nobody reads it any more, the chat goes on for the others until the person ends it.
fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
