//! Terminal modes: the original modes, and the modes of the line editor.

use std::io::{self, Write};
use std::sync::OnceLock;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Ends the bracketed paste mode, moves below the input line and clears the rest of the screen.
const LEAVE_LINE: &[u8] = b"\x1b[?2004l\r\n\x1b[J";

/// Saved modes of the terminal.
#[derive(Debug)]
pub(super) struct TerminalModes {
    original: Termios,
    editor: OnceLock<Termios>,
}

impl TerminalModes {
    /// Saves the current modes as the original modes.
    pub(super) fn save() -> io::Result<Self> {
        Ok(Self { original: tcgetattr(io::stdin())?, editor: OnceLock::new() })
    }

    /// Saves the modes of the editor at the first call. Must be called while a line is edited.
    pub(super) fn remember_editor_modes(&self) {
        if self.editor.get().is_none()
            && let Ok(modes) = tcgetattr(io::stdin())
        {
            // Another thread may have saved the same modes.
            let _ = self.editor.set(modes);
        }
    }

    /// Sets the modes of the editor again.
    pub(super) fn restore_editor_modes(&self) {
        if let Some(modes) = self.editor.get() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }

    /// Sets the original modes, and moves below the input line if one was edited.
    pub(super) fn restore(&self, was_edited: bool) {
        // The call fails only if the terminal is closed.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.original);
        if was_edited {
            let mut out = io::stdout().lock();
            let _ = out.write_all(LEAVE_LINE).and_then(|()| out.flush());
        }
    }
}
