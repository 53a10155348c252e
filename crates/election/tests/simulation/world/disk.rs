//! The file that holds a node's ballot, with everything that can befall a file.

use std::collections::VecDeque;

use rollcall_election::{Ballot, Peers, decode_ballot, encode_ballot};

/// Ballots that the driver lets wait for the disk; one more is a failed write at once.
const QUEUE: usize = 16;

/// A file's content and the ballot that it stands for, if it is whole.
#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Option<Vec<u8>>,
    ballot: Option<Ballot>,
}

/// What a node reads when it starts, what it would read after a loss of power, and what waits to be written.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    peers: Peers,
    /// What a process reads.
    visible: Content,
    /// What is left after a loss of power. Differs from `visible` between a rename and the sync of its directory.
    durable: Content,
    /// What was read before the last write, for a planted bug.
    older: Option<Ballot>,
    queue: VecDeque<Ballot>,
    /// How long a write takes, in microseconds.
    pub(crate) latency: (u64, u64),
    /// How often, in thousandths, a write stalls for five seconds.
    pub(crate) stalls: u64,
    /// How often, in thousandths, a write fails.
    pub(crate) fails: u64,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WriteOutcome {
    Written,
    FailedAndOld,
    FailedAndNew,
}

impl Disk {
    /// A node's first start writes a blank ballot; only a lost one is no ballot at all.
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

    /// The ballot that a process finds, which syncs it before it relies on it; `None` if there is no whole one.
    pub(crate) fn load(&mut self, syncs: bool) -> Option<Ballot> {
        if syncs {
            self.durable.clone_from(&self.visible);
        }
        self.visible.ballot
    }

    /// The ballot that a loss of power would leave.
    pub(crate) fn durable(&self) -> Option<Ballot> {
        self.durable.ballot
    }

    /// What a process would have found before the last write.
    pub(crate) fn older_ballot(&self) -> Option<Ballot> {
        self.older
    }

    fn content(&self, bytes: Option<Vec<u8>>) -> Content {
        let ballot = bytes.as_ref().and_then(|bytes| decode_ballot(bytes, &self.peers).ok());
        Content { bytes, ballot }
    }

    /// Takes a ballot to be written; `None` if too many wait, else whether the disk was idle.
    pub(crate) fn accept(&mut self, ballot: Ballot) -> Option<bool> {
        (self.queue.len() < QUEUE).then(|| {
            self.queue.push_back(ballot);
            self.queue.len() == 1
        })
    }

    /// Ends the write that is under way; the ballot, and whether another waits.
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

    /// The disk holds this ballot now, for a planted bug.
    pub(crate) fn replace(&mut self, ballot: Ballot) {
        self.queue.clear();
        self.visible = self.content(Some(encode_ballot(ballot, &self.peers)));
        self.durable.clone_from(&self.visible);
    }

    /// The process is gone. What was under way may have got as far as the rename, or not.
    pub(crate) fn abandon(&mut self, renamed: bool) {
        if renamed {
            self.finish(WriteOutcome::FailedAndNew);
        }
        self.queue.clear();
    }

    /// The host lost its power: what was not synced is gone.
    pub(crate) fn lose_power(&mut self) {
        self.visible.clone_from(&self.durable);
    }

    /// The file is gone, or cut off after `keeps` bytes.
    pub(crate) fn damage(&mut self, keeps: Option<usize>) {
        let whole = self.visible.bytes.take();
        let bytes = whole.and_then(|bytes| Some(bytes[..keeps?.min(bytes.len().saturating_sub(1))].to_vec()));
        self.visible = self.content(bytes);
        self.durable.clone_from(&self.visible);
    }
}
