//! A terminal with a line that is edited while messages appear above it.
//!
//! One rule keeps the line intact: while it is edited, only the line editor's thread writes to the terminal; everybody else
//! leaves the text with [`Above`].

mod above;
mod editor;
mod modes;
mod stderr;
mod typed;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::warn;

use super::keyboard::Keyboard;
pub(super) use above::Above;
use editor::LineEditor;
use modes::Modes;
use rollcall_chat::Ask;
use stderr::Stderr;
use typed::TypedLines;

/// A terminal that was taken over. However this ends, the terminal is afterwards as it was before.
pub(super) struct Terminal {
    above: Arc<Above>,
    modes: Arc<Modes>,
    stderr: Option<Stderr>,
    editor: Option<JoinHandle<()>>,
    continued: Signal,
}

impl Terminal {
    /// Takes the terminal over; `None` if it is one that cannot move its cursor.
    ///
    /// What is typed is kept in `dir`. Without one nothing of a peer is kept, and neither are these lines, which are
    /// somebody's conversation.
    pub(super) fn open(dir: Option<&Path>, asks: mpsc::Sender<Ask>) -> io::Result<Option<(Self, Keyboard)>> {
        let modes = Arc::new(Modes::save()?);
        let continued = signal(SignalKind::from_raw(Number::CONT.as_raw()))?;
        let above = Arc::new(Above::default());
        let typed = dir.and_then(|dir| match TypedLines::open(dir) {
            Ok(typed) => Some(typed),
            Err(error) => {
                warn!("what is typed is not kept in {}: {error}", dir.display());
                None
            }
        });
        let Some((editor, waker)) = LineEditor::new(Arc::clone(&above), Arc::clone(&modes), asks, typed) else {
            return Ok(None);
        };
        let stderr = Stderr::capture(Arc::clone(&above))?;
        // Each awaited input holds the editor back, so one place is enough.
        let (inputs, keyboard) = mpsc::channel(1);
        let mut terminal = Self { above, modes, stderr, editor: None, continued };
        thread::Builder::new().name("waker".to_owned()).spawn(move || waker.run())?;
        let editor = thread::Builder::new().name("editor".to_owned()).spawn(move || editor.run(&inputs))?;
        terminal.editor = Some(editor);
        Ok(Some((terminal, Keyboard::of(keyboard))))
    }

    /// Where text goes that is to appear.
    pub(super) fn above(&self) -> Arc<Above> {
        Arc::clone(&self.above)
    }

    /// Waits until the program goes on after it was stopped (Ctrl-Z, then `fg`), and takes the terminal over again. The
    /// editor does that, too, but may do it before the program stops: it asks for the stop, and another thread gets it. Then
    /// the shell has changed the modes since.
    pub(super) async fn resumed(&mut self) {
        self.continued.recv().await;
        if self.above.spoil() {
            self.modes.edit_again();
        }
    }

    /// Whether the editor broke; it must have ended.
    pub(super) fn is_broken(&mut self) -> bool {
        self.editor.take().is_some_and(|editor| editor.join().is_err())
    }

    /// Gives the terminal back. The editor's thread may wait for a key still, and ends with the process.
    pub(super) fn close(&mut self) {
        let was_edited = self.above.begin_end();
        self.modes.restore(was_edited);
        self.above.end_for_good();
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
