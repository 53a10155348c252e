//! The log, and whatever else is written to standard error, above the line that is edited.

use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::dup2_stderr;

use super::pending_output::PendingOutput;
use rollcall_chat::console::log_line;

/// A longer line is broken.
const MAX_LINE_BYTES: u64 = 16 * 1024;
/// The number of descriptors that every program has: input, output and errors.
const FIRST_FREE_DESCRIPTOR: i32 = 3;

/// Standard error, while it is a pipe to this program.
pub(super) struct CapturedStderr {
    saved: OwnedFd,
    reader: JoinHandle<()>,
}

impl CapturedStderr {
    /// Takes standard error over, if it is a terminal.
    pub(super) fn capture(pending_output: Arc<PendingOutput>) -> io::Result<Option<Self>> {
        if !io::stderr().is_terminal() {
            return Ok(None);
        }
        let (from, to) = io::pipe()?;
        let saved = fcntl_dupfd_cloexec(io::stderr(), FIRST_FREE_DESCRIPTOR)?;
        let reader = thread::Builder::new().name("stderr".to_owned()).spawn(move || forward(from, &pending_output))?;
        dup2_stderr(&to)?;
        Ok(Some(Self { saved, reader }))
    }

    /// Gives it back; what was written before is shown before.
    pub(super) fn release(self) {
        // With this the last writer of the pipe is gone, so the reader ends.
        if dup2_stderr(&self.saved).is_ok() {
            let _ = self.reader.join();
        }
    }
}

fn forward(from: PipeReader, pending_output: &PendingOutput) {
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match from.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        pending_output.write_log_line(&log_line(text.trim_end_matches(['\r', '\n'])));
    }
}
