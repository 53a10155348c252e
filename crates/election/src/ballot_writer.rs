//! Thread that writes ballots, so that a slow disk does not delay heartbeats.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tokio::sync::mpsc;

use crate::abort::AbortOnPanic;
use crate::ballot::BallotFile;
use crate::process::Ballot;

/// Largest number of ballots that wait for the disk.
const MAX_QUEUED_WRITES: usize = 16;

/// A ballot and the result of its write.
pub(crate) type WriteResult = (Ballot, io::Result<()>);

/// Starts a thread that writes ballots in order. Returns the sender of ballots and the receiver of
/// write results.
pub(crate) fn start(file: BallotFile) -> (SyncSender<Ballot>, mpsc::Receiver<WriteResult>) {
    let (ballot_sender, ballots) = sync_channel(MAX_QUEUED_WRITES);
    let (result_sender, results) = mpsc::channel(MAX_QUEUED_WRITES);
    let spawned = thread::Builder::new().name("ballot".into()).spawn(move || {
        let _guard = AbortOnPanic;
        while let Ok(ballot) = ballots.recv() {
            let result = file.save(ballot);
            if result_sender.blocking_send((ballot, result)).is_err() {
                return;
            }
        }
    });
    spawned.expect("a process that cannot start a thread cannot take part in an election");
    (ballot_sender, results)
}
