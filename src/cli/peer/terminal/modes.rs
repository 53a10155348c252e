//! The modes of the terminal: as they were before a line was edited, and as they are meanwhile.

use std::io::{self, Write};
use std::sync::OnceLock;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Ends the mode in which the terminal marks what is pasted, and clears below a line that was being edited.
const LEAVE_LINE: &[u8] = b"\x1b[?2004l\r\n\x1b[J";

#[derive(Debug)]
pub(super) struct TerminalModes {
    before: Termios,
    editor: OnceLock<Termios>,
}

impl TerminalModes {
    pub(super) fn save() -> io::Result<Self> {
        Ok(Self { before: tcgetattr(io::stdin())?, editor: OnceLock::new() })
    }

    /// A line is being edited: the modes are those of the editor.
    pub(super) fn remember_editor_modes(&self) {
        if self.editor.get().is_none()
            && let Ok(modes) = tcgetattr(io::stdin())
        {
            // Whoever was faster saw the same.
            let _ = self.editor.set(modes);
        }
    }

    /// Gives the terminal the modes of the editor again.
    pub(super) fn restore_editor_modes(&self) {
        if let Some(modes) = self.editor.get() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }

    /// Gives the terminal its modes back, and leaves the line if one was being edited.
    pub(super) fn restore(&self, was_edited: bool) {
        // It fails only if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        if was_edited {
            let mut out = io::stdout().lock();
            let _ = out.write_all(LEAVE_LINE).and_then(|()| out.flush());
        }
    }
}
