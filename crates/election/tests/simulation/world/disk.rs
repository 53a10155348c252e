//! Ballot file of one node, with all faults that can happen to a file.

use std::collections::VecDeque;

use rollcall_election::{Ballot, Peers, decode_ballot, encode_ballot};

/// Number of ballots that may wait for the disk, as in the driver. A further write fails at once.
const MAX_QUEUED_BALLOTS: usize = 16;

/// Content of a file, and the ballot in it if it is valid.
#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Option<Vec<u8>>,
    ballot: Option<Ballot>,
}

/// The file as a process reads it, the file after a power failure, and the queue of writes.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    peers: Peers,
    /// Content that a process reads.
    visible: Content,
    /// Content after a power failure. It differs from `visible` between a rename and the sync of
    /// the directory.
    durable: Content,
    /// Ballot before the last write, for a seeded bug.
    older: Option<Ballot>,
    queue: VecDeque<Ballot>,
    /// Shortest and longest duration of a write, in microseconds.
    pub(crate) latency: (u64, u64),
    /// Probability that a write stalls for five seconds, in thousandths.
    pub(crate) stalls: u64,
    /// Probability that a write fails, in thousandths.
    pub(crate) fails: u64,
}

/// Result of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WriteOutcome {
    Written,
    /// The write fails, and a process reads the old ballot.
    FailedAndOld,
    /// The write fails, but a process reads the new ballot.
    FailedAndNew,
}

impl Disk {
    /// The file of a new node: its first start has written a blank ballot. Only a lost file has no
    /// ballot.
    pub(crate) fn new(peers: Peers) -> Self {
        let blank = Ballot::default();
        let content = Content { bytes: Some(encode_ballot(blank, &peers)), ballot: Some(blank) };
        Self {
            peers,
            visible: content.clone(),
            durable: content,
            older: None,
            queue: VecDeque::new(),
            latency: (1000, 8000),
            stalls: 0,
            fails: 0,
        }
    }

    /// The ballot that a process finds. With `syncs` it is synced before use. `None` if there is no
    /// valid ballot.
    pub(crate) fn load(&mut self, syncs: bool) -> Option<Ballot> {
        if syncs {
            self.durable.clone_from(&self.visible);
        }
        self.visible.ballot
    }

    /// The ballot that remains after a power failure.
    pub(crate) fn durable(&self) -> Option<Ballot> {
        self.durable.ballot
    }

    /// The ballot before the last write.
    pub(crate) fn older_ballot(&self) -> Option<Ballot> {
        self.older
    }

    fn content(&self, bytes: Option<Vec<u8>>) -> Content {
        let ballot = bytes.as_ref().and_then(|bytes| decode_ballot(bytes, &self.peers).ok());
        Content { bytes, ballot }
    }

    /// Queues a ballot. `None` if the queue is full, else whether the disk was idle.
    pub(crate) fn accept(&mut self, ballot: Ballot) -> Option<bool> {
        (self.queue.len() < MAX_QUEUED_BALLOTS).then(|| {
            self.queue.push_back(ballot);
            self.queue.len() == 1
        })
    }

    /// Completes the write in progress. Returns its ballot, and whether another write waits.
    pub(crate) fn finish(&mut self, outcome: WriteOutcome) -> Option<(Ballot, bool)> {
        let ballot = self.queue.pop_front()?;
        if outcome != WriteOutcome::FailedAndOld {
            self.older = self.visible.ballot;
            self.visible = self.content(Some(encode_ballot(ballot, &self.peers)));
        }
        if outcome == WriteOutcome::Written {
            self.durable.clone_from(&self.visible);
        }
        Some((ballot, !self.queue.is_empty()))
    }

    /// Replaces the ballot on disk, for a seeded bug.
    pub(crate) fn replace(&mut self, ballot: Ballot) {
        self.queue.clear();
        self.visible = self.content(Some(encode_ballot(ballot, &self.peers)));
        self.durable.clone_from(&self.visible);
    }

    /// Ends the write in progress, because the process has ended. `renamed` tells whether it had
    /// reached the rename.
    pub(crate) fn abandon(&mut self, renamed: bool) {
        if renamed {
            self.finish(WriteOutcome::FailedAndNew);
        }
        self.queue.clear();
    }

    /// Loses the content that was not synced, because the host lost power.
    pub(crate) fn lose_power(&mut self) {
        self.visible.clone_from(&self.durable);
    }

    /// Deletes the file, or truncates it to `keeps` bytes.
    pub(crate) fn damage(&mut self, keeps: Option<usize>) {
        let old_bytes = self.visible.bytes.take();
        let bytes = old_bytes.and_then(|bytes| Some(bytes[..keeps?.min(bytes.len().saturating_sub(1))].to_vec()));
        self.visible = self.content(bytes);
        self.durable.clone_from(&self.visible);
    }
}
