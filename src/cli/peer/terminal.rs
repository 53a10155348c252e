//! A terminal with a line that is edited while messages appear above it.
//!
//! One rule keeps the line intact: while it is edited, only the line editor's thread writes to the terminal; everybody else
//! leaves the text with [`PendingOutput`].

mod editor;
mod input_history;
mod modes;
mod pending_output;
mod stderr;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::process::Signal as Number;
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

/// A terminal that was taken over. However this ends, the terminal is afterwards as it was before.
pub(super) struct Terminal {
    pending_output: Arc<PendingOutput>,
    modes: Arc<TerminalModes>,
    stderr: Option<CapturedStderr>,
    editor: Option<JoinHandle<()>>,
    continued: Signal,
}

impl Terminal {
    /// Takes the terminal over; `None` if it is one that cannot move its cursor.
    ///
    /// What is typed is kept in `dir`. Without one nothing of a peer is kept, and neither are these lines, which are
    /// somebody's conversation.
    pub(super) fn open(
        dir: Option<&Path>,
        requests: mpsc::Sender<PeerRequest>,
    ) -> io::Result<Option<(Self, InputSource)>> {
        let modes = Arc::new(TerminalModes::save()?);
        let continued = signal(SignalKind::from_raw(Number::CONT.as_raw()))?;
        let pending_output = Arc::new(PendingOutput::default());
        let history = dir.and_then(|dir| match InputHistory::open(dir) {
            Ok(history) => Some(history),
            Err(error) => {
                warn!("what is typed is not kept in {}: {error}", dir.display());
                None
            }
        });
        let Some((editor, waker)) = LineEditor::new(Arc::clone(&pending_output), Arc::clone(&modes), requests, history)
        else {
            return Ok(None);
        };
        let stderr = CapturedStderr::capture(Arc::clone(&pending_output))?;
        // Each awaited input holds the editor back, so one place is enough.
        let (inputs, input_source) = mpsc::channel(1);
        let mut terminal = Self { pending_output, modes, stderr, editor: None, continued };
        thread::Builder::new().name("waker".to_owned()).spawn(move || waker.run())?;
        let editor = thread::Builder::new().name("editor".to_owned()).spawn(move || editor.run(&inputs))?;
        terminal.editor = Some(editor);
        Ok(Some((terminal, InputSource::from_channel(input_source))))
    }

    /// Where text goes that is to appear.
    pub(super) fn pending_output(&self) -> Arc<PendingOutput> {
        Arc::clone(&self.pending_output)
    }

    /// Waits until the program goes on after it was stopped (Ctrl-Z, then `fg`), and takes the terminal over again. The
    /// editor does that, too, but may do it before the program stops: it asks for the stop, and another thread gets it. Then
    /// the shell has changed the modes since.
    pub(super) async fn resumed(&mut self) {
        self.continued.recv().await;
        if self.pending_output.request_redraw() {
            self.modes.restore_editor_modes();
        }
    }

    /// Whether the editor broke; it must have ended.
    pub(super) fn has_editor_panicked(&mut self) -> bool {
        self.editor.take().is_some_and(|editor| editor.join().is_err())
    }

    /// Gives the terminal back. The editor's thread may wait for a key still, and ends with the process.
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
