//! The modes of the terminal, as they were before a line was edited.

use std::io::{self, Write};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Ends the mode in which the terminal marks what is pasted, and clears below a line that was being edited.
const LEAVE_LINE: &[u8] = b"\x1b[?2004l\r\n\x1b[J";

pub(super) struct Modes(Termios);

impl Modes {
    pub(super) fn save() -> io::Result<Self> {
        Ok(Self(tcgetattr(io::stdin())?))
    }

    /// Gives the terminal its modes back, and leaves the line if one was being edited.
    pub(super) fn restore(&self, was_edited: bool) {
        // It fails only if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        if was_edited {
            let mut out = io::stdout().lock();
            let _ = out.write_all(LEAVE_LINE).and_then(|()| out.flush());
        }
    }
}
