//! The wish that the program may end: SIGTERM from a service manager, SIGINT from Ctrl-C.

use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals. From its creation on neither ends the process by itself.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// What a shell reports for a process that a signal ended is 128 and the signal's number.
const EXIT_TERMINATED: i32 = 128 + 15;
const EXIT_INTERRUPTED: i32 = 128 + 2;

/// A signal that came, as the exit code of a process that obeys it at once.
pub(super) struct ExitAtOnce(i32);

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> ExitAtOnce {
        tokio::select! {
            _ = self.terminate.recv() => ExitAtOnce(EXIT_TERMINATED),
            _ = self.interrupt.recv() => ExitAtOnce(EXIT_INTERRUPTED),
        }
    }
}

impl ExitAtOnce {
    /// Ends the process without any further step.
    pub(super) fn obey(&self) -> ! {
        process::exit(self.0)
    }
}
