//! Shutdown signals: SIGTERM from a service manager, SIGINT from Ctrl-C, SIGHUP from a terminal
//! that is closed.

use std::pin::pin;
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{CommandError, HUNG_UP, INTERRUPTED, SYSTEM, TERMINATED};

/// Listens for the shutdown signals. After the first `listen` these signals no longer end the
/// process by default.
pub(super) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the process was started to survive its terminal, as with `nohup`.
    hangup: Option<Signal>,
}

/// Linux file with the state of this process, which includes its ignored signals.
const PROCESS_STATUS_FILE: &str = "/proc/self/status";

/// A received signal. It holds the exit code of a process that the signal ends at once.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct SignalExit(u8);

impl ShutdownSignals {
    pub(super) fn listen() -> std::io::Result<Self> {
        // On systems other than Linux the file is missing. There SIGHUP always counts as a shutdown
        // signal.
        let ignores_hangup = std::fs::read_to_string(PROCESS_STATUS_FILE).is_ok_and(|status| ignores_hangup(&status));
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
    /// Exits the process at once, without cleanup.
    pub(super) fn exit_now(&self) -> ! {
        process::exit(i32::from(self.0))
    }
}

/// Runs `work`, and cancels `stop` at the first shutdown signal. A second signal ends the process
/// at once.
pub(super) async fn run_until_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, CommandError> {
    let mut signals = ShutdownSignals::listen()
        .map_err(|error| CommandError::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            signal = signals.next() => {
                if stop.is_cancelled() {
                    signal.exit_now();
                }
                stop.cancel();
            }
        }
    }
}

/// Whether the process ignores SIGHUP, which is the lowest bit of `SigIgn`.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn sighup_is_a_shutdown_signal() {
        let mut signals = ShutdownSignals::listen().unwrap();
        if signals.hangup.is_none() {
            // The tests run under `nohup`.
            return;
        }
        kill_process(getpid(), Signal::HUP).unwrap();
        assert_eq!(signals.next().await, SignalExit(129));
    }

    #[test]
    fn sighup_is_ignored_if_the_process_was_started_to_ignore_it() {
        assert!(ignores_hangup("Name:\trollcall\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
