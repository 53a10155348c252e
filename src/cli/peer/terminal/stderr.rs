//! Capture of standard error, so that log lines appear above the input line.

use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::dup2_stderr;

use super::pending_output::PendingOutput;
use rollcall_chat::console::log_line;

/// Longest line, in bytes. A longer line is split.
const MAX_LINE_BYTES: u64 = 16 * 1024;
/// Lowest file descriptor for the copy of standard error: above 0 to 2, the standard streams.
const FIRST_FREE_DESCRIPTOR: i32 = 3;

/// Standard error, redirected into a pipe to this process.
pub(super) struct CapturedStderr {
    /// Copy of the original standard error.
    saved: OwnedFd,
    reader: JoinHandle<()>,
}

impl CapturedStderr {
    /// Redirects standard error if it is a terminal; `None` otherwise.
    ///
    /// # Errors
    /// The pipe, the file descriptor or the thread cannot be created.
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

    /// Restores standard error, and waits until everything in the pipe is shown.
    pub(super) fn release(self) {
        // This closes the last write end of the pipe, so the reader ends.
        if dup2_stderr(&self.saved).is_ok() {
            let _ = self.reader.join();
        }
    }
}

/// Passes each line of the pipe to the output above the input line, until the pipe is closed.
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
