//! Text on its way to the terminal, above the line that is edited.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// With more text than this on its way, who can wait does so, and the log loses lines.
const MAX_PENDING_BYTES: usize = 256 * 1024;
/// The editor needs so long at most to draw the line after it was told to.
const FIRST_DRAW_TIMEOUT: Duration = Duration::from_secs(1);

/// Who writes to the terminal now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum EditorPhase {
    /// Whoever holds the lock: no line is edited.
    #[default]
    Inactive,
    /// The editor, which has not drawn anything yet and needs no waking.
    Starting,
    /// The editor.
    Editing,
    /// Whoever holds the lock, for good.
    Ended,
}

#[derive(Debug, Default)]
struct OutputState {
    phase: EditorPhase,
    /// What the editor has not shown yet; whole lines.
    pending: String,
    /// Whether the line must be drawn anew.
    needs_redraw: bool,
    /// Whether the editor was told that there is something to draw.
    is_woken: bool,
    /// Whether lines of the log were lost since something was shown.
    has_dropped_log_lines: bool,
}

/// What is to appear above the line that is edited.
#[derive(Debug, Default)]
pub(in crate::cli::peer) struct PendingOutput {
    state: Mutex<OutputState>,
    changed: Condvar,
    shown: Notify,
}

impl PendingOutput {
    /// Shows whole lines; at once, or as soon as the editor can.
    pub(in crate::cli::peer) fn write(&self, text: &str) {
        let mut state = self.state();
        match state.phase {
            EditorPhase::Inactive | EditorPhase::Ended => write_stdout(text),
            EditorPhase::Starting | EditorPhase::Editing => {
                state.pending.push_str(text);
                self.changed.notify_all();
            }
        }
    }

    /// Shows a line of the log, unless too much is on its way: the log waits for nobody.
    pub(super) fn write_log_line(&self, line: &str) {
        let mut state = self.state();
        if state.pending.len() < MAX_PENDING_BYTES {
            drop(state);
            self.write(&format!("{line}\n"));
        } else if !std::mem::replace(&mut state.has_dropped_log_lines, true) {
            state.pending.push_str("! lines of the log are left out\n");
        }
    }

    /// Waits until little is on its way.
    pub(in crate::cli::peer) async fn wait_for_room(&self) {
        loop {
            let shown = self.shown.notified();
            if self.state().pending.len() < MAX_PENDING_BYTES {
                return;
            }
            shown.await;
        }
    }

    /// The editor begins with a line; whether it may.
    pub(super) fn begin_line(&self) -> bool {
        let mut state = self.state();
        if state.phase != EditorPhase::Ended {
            state.phase = EditorPhase::Starting;
        }
        state.phase == EditorPhase::Starting
    }

    /// The editor draws the line: what must stand above it.
    pub(super) fn take_for_redraw(&self) -> String {
        let mut state = self.state();
        if state.phase == EditorPhase::Ended {
            return String::new();
        }
        state.phase = EditorPhase::Editing;
        state.is_woken = false;
        state.needs_redraw = false;
        state.has_dropped_log_lines = false;
        self.changed.notify_all();
        self.shown.notify_waiters();
        std::mem::take(&mut state.pending)
    }

    /// The editor is done with a line.
    pub(super) fn end_line(&self) {
        let mut state = self.state();
        if state.phase != EditorPhase::Ended {
            state.phase = EditorPhase::Inactive;
            self.flush(&mut state);
        }
    }

    /// Something else may have been written where the line is; whether one is edited.
    pub(super) fn request_redraw(&self) -> bool {
        let mut state = self.state();
        state.needs_redraw = true;
        self.changed.notify_all();
        state.phase == EditorPhase::Editing
    }

    /// Waits until the editor must be told that there is something to draw; whether it ever will be.
    pub(super) fn wait_for_redraw(&self) -> bool {
        let is_idle = |state: &mut OutputState| {
            let has_work = state.needs_redraw || !state.pending.is_empty();
            state.phase != EditorPhase::Ended && (state.phase != EditorPhase::Editing || state.is_woken || !has_work)
        };
        let mut state = self.changed.wait_while(self.state(), is_idle).unwrap_or_else(PoisonError::into_inner);
        state.is_woken = true;
        state.phase != EditorPhase::Ended
    }

    /// The first half of the end: a line that was begun is drawn first, so that the editor changes nothing of the terminal
    /// afterwards. Whether a line stands there.
    pub(super) fn begin_shutdown(&self) -> bool {
        let starts = |state: &mut OutputState| state.phase == EditorPhase::Starting;
        let waited = self.changed.wait_timeout_while(self.state(), FIRST_DRAW_TIMEOUT, starts);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let was_edited = matches!(state.phase, EditorPhase::Starting | EditorPhase::Editing);
        state.phase = EditorPhase::Ended;
        self.changed.notify_all();
        was_edited
    }

    /// The second half: shows what is left.
    pub(super) fn finish_shutdown(&self) {
        self.flush(&mut self.state());
    }

    fn flush(&self, state: &mut OutputState) {
        write_stdout(&std::mem::take(&mut state.pending));
        self.shown.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// If nobody reads it any more, the chat goes on for the others until the person ends it.
fn write_stdout(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
