//! The wish that the program may end: SIGTERM from a service manager, SIGINT from Ctrl-C, SIGHUP from a terminal that is
//! closed.

use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{HUNG_UP, INTERRUPTED, TERMINATED};

/// The signals. From its creation on none of them ends the process by itself.
pub(super) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if whoever started the process (`nohup`) wanted it to outlive the terminal.
    hangup: Option<Signal>,
}

/// What Linux tells of this process, the signals it ignores among it.
const STATUS: &str = "/proc/self/status";

/// A signal that came, as the exit code of a process that obeys it at once.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct SignalExit(u8);

impl ShutdownSignals {
    pub(super) fn listen() -> std::io::Result<Self> {
        // Where the system does not tell, a hangup is heeded as by any other program.
        let ignores_hangup = std::fs::read_to_string(STATUS).is_ok_and(|status| ignores_hangup(&status));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if ignores_hangup { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> SignalExit {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => SignalExit(TERMINATED),
            _ = self.interrupt.recv() => SignalExit(INTERRUPTED),
            _ = hangup => SignalExit(HUNG_UP),
        }
    }
}

impl SignalExit {
    /// Ends the process without any further step.
    pub(super) fn exit_now(&self) -> ! {
        process::exit(i32::from(self.0))
    }
}

/// Whether SIGHUP, which is the lowest bit, is among the ignored signals.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_terminal_that_is_closed_is_a_wish_to_end() {
        let mut signals = ShutdownSignals::listen().unwrap();
        if signals.hangup.is_none() {
            // These tests run under `nohup`.
            return;
        }
        kill_process(getpid(), Signal::HUP).unwrap();
        assert_eq!(signals.next().await, SignalExit(129));
    }

    #[test]
    fn what_was_started_to_outlive_its_terminal_does() {
        assert!(ignores_hangup("Name:\trollcall\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
