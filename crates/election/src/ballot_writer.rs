//! Thread that writes ballots, so that a slow disk does not delay heartbeats.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use crate::abort::AbortOnPanic;
use crate::ballot::BallotFile;
use crate::process::Ballot;

/// Largest number of ballots that wait for the disk.
const MAX_QUEUED_WRITES: usize = 16;

/// Time without a ballot after which the ballast is made, if it is missing. After a full disk there
/// may be space again.
const BALLAST_INTERVAL: Duration = Duration::from_secs(30);

/// A ballot and the result of its write.
pub(crate) type WriteResult = (Ballot, io::Result<()>);

/// Starts a thread that writes ballots in order. Returns the sender of ballots and the receiver of
/// write results.
pub(crate) fn start(file: BallotFile) -> (SyncSender<Ballot>, mpsc::Receiver<WriteResult>) {
    let (ballot_sender, ballots) = sync_channel(MAX_QUEUED_WRITES);
    let (result_sender, results) = mpsc::channel(MAX_QUEUED_WRITES);
    let spawned = thread::Builder::new().name("ballot".into()).spawn(move || {
        let _guard = AbortOnPanic;
        let mut is_logged = false;
        let mut make_ballast = || {
            let made = file.make_ballast();
            if let Err(error) = &made
                && !is_logged
            {
                warn!(%error, "there is no space for the ballast: on a full disk this node cannot save a ballot");
            }
            is_logged = made.is_err();
        };
        make_ballast();
        loop {
            match ballots.recv_timeout(BALLAST_INTERVAL) {
                Ok(ballot) => {
                    let result = file.save(ballot);
                    if result_sender.blocking_send((ballot, result)).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => make_ballast(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    spawned.expect("a process that cannot start a thread cannot take part in an election");
    (ballot_sender, results)
}
