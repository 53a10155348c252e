//! Terminal with an editable input line at the bottom. Messages and log lines appear above it.
//!
//! Invariant: while a line is edited, only the thread of the line editor writes to the terminal.
//! All other output goes to [`PendingOutput`].

mod editor;
mod input_history;
mod modes;
mod paste;
mod pending_output;
mod stderr;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::process::Signal as SignalNumber;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::warn;

use super::input::InputSource;
use editor::LineEditor;
use input_history::InputHistory;
use modes::TerminalModes;
pub(super) use pending_output::PendingOutput;
use rollcall_chat::PeerRequest;
use stderr::CapturedStderr;

/// Terminal with a line editor. Dropping it restores the original modes.
pub(super) struct Terminal {
    pending_output: Arc<PendingOutput>,
    modes: Arc<TerminalModes>,
    stderr: Option<CapturedStderr>,
    editor: Option<JoinHandle<()>>,
    /// SIGCONT, which the process receives when it continues after a stop.
    continued: Signal,
}

impl Terminal {
    /// Starts the line editor on this terminal; `None` if the terminal cannot move its cursor.
    ///
    /// The typed lines are stored in `dir`. Without `dir` they are not stored, because they are
    /// part of conversations.
    ///
    /// # Errors
    /// An error of the terminal, or a thread that cannot be started.
    pub(super) fn open(
        dir: Option<&Path>,
        requests: mpsc::Sender<PeerRequest>,
    ) -> io::Result<Option<(Self, InputSource)>> {
        let modes = Arc::new(TerminalModes::save()?);
        let continued = signal(SignalKind::from_raw(SignalNumber::CONT.as_raw()))?;
        let pending_output = Arc::new(PendingOutput::default());
        let history = dir.and_then(|dir| match InputHistory::open(dir) {
            Ok(history) => Some(history),
            Err(error) => {
                warn!(dir = %dir.display(), %error, "the input history is not stored");
                None
            }
        });
        let Some((editor, waker)) = LineEditor::new(Arc::clone(&pending_output), Arc::clone(&modes), requests, history)
        else {
            return Ok(None);
        };
        let stderr = CapturedStderr::capture(Arc::clone(&pending_output))?;
        // The editor waits for the reply to each input, so a capacity of one is enough.
        let (inputs, input_source) = mpsc::channel(1);
        let mut terminal = Self { pending_output, modes, stderr, editor: None, continued };
        thread::Builder::new().name("waker".to_owned()).spawn(move || waker.run())?;
        let editor = thread::Builder::new().name("editor".to_owned()).spawn(move || editor.run(&inputs))?;
        terminal.editor = Some(editor);
        Ok(Some((terminal, InputSource::from_channel(input_source))))
    }

    /// Queue for output above the input line.
    pub(super) fn pending_output(&self) -> Arc<PendingOutput> {
        Arc::clone(&self.pending_output)
    }

    /// Waits until the process continues after a stop (Ctrl-Z, then `fg`), and restores the modes
    /// of the editor.
    ///
    /// The editor also restores them, but perhaps too early. It sends the stop signal to the
    /// process, and another thread may receive it. Then the editor sets its modes before the
    /// process stops, and the shell changes them afterwards.
    pub(super) async fn resumed(&mut self) {
        self.continued.recv().await;
        if self.pending_output.request_redraw() {
            self.modes.restore_editor_modes();
        }
    }

    /// Whether the editor thread panicked. Call it only after the input has ended.
    pub(super) fn has_editor_panicked(&mut self) -> bool {
        self.editor.take().is_some_and(|editor| editor.join().is_err())
    }

    /// Restores the terminal and writes the pending output. The editor thread may still wait for a
    /// key; it ends with the process.
    pub(super) fn close(&mut self) {
        let was_edited = self.pending_output.begin_shutdown();
        self.modes.restore(was_edited);
        self.pending_output.finish_shutdown();
        if let Some(stderr) = self.stderr.take() {
            stderr.release();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}
