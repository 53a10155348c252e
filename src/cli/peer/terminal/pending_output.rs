//! Queue of output that the line editor draws above the input line.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Size of the queue, in bytes. When it is full, [`PendingOutput::wait_for_room`] waits and log
/// lines are dropped.
const MAX_PENDING_BYTES: usize = 256 * 1024;
/// Longest wait at the shutdown for a line that the editor is about to draw.
const FIRST_DRAW_TIMEOUT: Duration = Duration::from_secs(1);

/// State of the line editor. It determines which thread may write to the terminal.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum EditorPhase {
    /// No line is edited; the holder of the lock writes.
    #[default]
    Inactive,
    /// The editor is about to draw the line, so no wake-up is necessary.
    Starting,
    /// A line is edited; only the editor writes.
    Editing,
    /// The editor has ended; the holder of the lock writes.
    Ended,
}

/// Phase of the line editor, and its queue.
#[derive(Debug, Default)]
struct OutputState {
    phase: EditorPhase,
    /// Complete lines that are not drawn yet.
    pending: String,
    /// Whether the line must be redrawn.
    needs_redraw: bool,
    /// Whether the editor was woken since its latest redraw.
    is_woken: bool,
    /// Whether log lines were dropped since the latest redraw.
    has_dropped_log_lines: bool,
}

/// Queue of output lines, shared between the session, the log and the line editor.
#[derive(Debug, Default)]
pub(in crate::cli::peer) struct PendingOutput {
    state: Mutex<OutputState>,
    /// Notified when the phase or the queue changes.
    changed: Condvar,
    /// Notified when pending output was drawn or written.
    shown: Notify,
}

impl PendingOutput {
    /// Writes complete lines: immediately if no line is edited, otherwise at the next redraw.
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

    /// Writes a log line. Drops it if the queue is full, because logging must not block.
    pub(super) fn write_log_line(&self, line: &str) {
        let mut state = self.state();
        if state.pending.len() < MAX_PENDING_BYTES {
            drop(state);
            self.write(&format!("{line}\n"));
        } else if !std::mem::replace(&mut state.has_dropped_log_lines, true) {
            state.pending.push_str("! log lines were dropped\n");
        }
    }

    /// Waits until the queue is not full.
    pub(in crate::cli::peer) async fn wait_for_room(&self) {
        loop {
            let next_drawing = self.shown.notified();
            if self.state().pending.len() < MAX_PENDING_BYTES {
                return;
            }
            next_drawing.await;
        }
    }

    /// Called by the editor before it reads a line. Returns `false` after the shutdown.
    pub(super) fn begin_line(&self) -> bool {
        let mut state = self.state();
        if state.phase != EditorPhase::Ended {
            state.phase = EditorPhase::Starting;
        }
        state.phase == EditorPhase::Starting
    }

    /// Called by the editor when it draws the line. Returns the text to draw above it.
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

    /// Called by the editor after a line. Writes the pending lines.
    pub(super) fn end_line(&self) {
        let mut state = self.state();
        if state.phase != EditorPhase::Ended {
            state.phase = EditorPhase::Inactive;
            self.flush(&mut state);
        }
    }

    /// Requests a redraw, because other output may have overwritten the line. Returns whether a
    /// line is edited.
    pub(super) fn request_redraw(&self) -> bool {
        let mut state = self.state();
        state.needs_redraw = true;
        self.changed.notify_all();
        state.phase == EditorPhase::Editing
    }

    /// Waits until the editor must be woken for a redraw. Returns `false` after the shutdown.
    pub(super) fn wait_for_redraw(&self) -> bool {
        let is_idle = |state: &mut OutputState| {
            let has_work = state.needs_redraw || !state.pending.is_empty();
            state.phase != EditorPhase::Ended && (state.phase != EditorPhase::Editing || state.is_woken || !has_work)
        };
        let mut state = self.changed.wait_while(self.state(), is_idle).unwrap_or_else(PoisonError::into_inner);
        state.is_woken = true;
        state.phase != EditorPhase::Ended
    }

    /// First half of the shutdown: if the editor is about to draw a line, waits until it is drawn.
    /// So the editor does not write afterwards. Returns whether a line is on the screen.
    pub(super) fn begin_shutdown(&self) -> bool {
        let is_starting = |state: &mut OutputState| state.phase == EditorPhase::Starting;
        let waited = self.changed.wait_timeout_while(self.state(), FIRST_DRAW_TIMEOUT, is_starting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let was_edited = matches!(state.phase, EditorPhase::Starting | EditorPhase::Editing);
        state.phase = EditorPhase::Ended;
        self.changed.notify_all();
        was_edited
    }

    /// Second half of the shutdown: writes the pending lines.
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

/// Writes to standard output. Errors are ignored: without a reader the peer continues until the
/// user ends it.
fn write_stdout(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
