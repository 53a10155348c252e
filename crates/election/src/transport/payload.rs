//! Carries messages of other parts of the program over the election's links. They are opaque here, and never delay what
//! the election itself has to say by more than one of them.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::process::{NodeId, Peers, Process};
use rollcall_core::Term;

/// Messages that wait for one node; more are dropped, as a network would.
const OUTBOX_MESSAGES: usize = 64;

/// Messages that wait to be taken here; more are dropped.
const INBOX_MESSAGES: usize = 256;

/// The most bytes of one message. A heartbeat may have to wait until one of this size is written: on a link of 10 Mbit/s,
/// 50 ms.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 10;

/// A message that came in.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// From which process, as its link proves.
    pub from: Process,
    /// What it says.
    pub payload: Bytes,
}

/// This end of all links, for cargo.
#[derive(Debug)]
pub struct Transport {
    me: NodeId,
    count: usize,
    outboxes: HashMap<NodeId, mpsc::Sender<Bytes>>,
    inbound: mpsc::Receiver<Inbound>,
    may_take_over: watch::Sender<bool>,
    saved_term: watch::Receiver<Option<Term>>,
}

/// The election's end of the same.
#[derive(Debug)]
pub(crate) struct TransportHandle {
    pub(crate) outboxes: HashMap<NodeId, mpsc::Receiver<Bytes>>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    /// Whether this node knows enough to take over from a leader that can choose.
    pub(crate) may_take_over: watch::Receiver<bool>,
    pub(crate) saved_term: watch::Sender<Option<Term>>,
}

impl Transport {
    pub(crate) fn new(peers: &Peers) -> (Self, TransportHandle) {
        let (inbound_sender, inbound) = mpsc::channel(INBOX_MESSAGES);
        let (may_take_over, may_take_over_seen) = watch::channel(true);
        let (saved_term_in, saved_term) = watch::channel(None);
        let (mut senders, mut receivers) = (HashMap::new(), HashMap::new());
        for node in peers.others() {
            let (sender, receiver) = mpsc::channel(OUTBOX_MESSAGES);
            senders.insert(node, sender);
            receivers.insert(node, receiver);
        }
        let handle = TransportHandle {
            outboxes: receivers,
            inbound: inbound_sender,
            may_take_over: may_take_over_seen,
            saved_term: saved_term_in,
        };
        (Self { me: peers.me(), count: peers.count(), outboxes: senders, inbound, may_take_over, saved_term }, handle)
    }

    /// For tests of other parts: a carrier whose links lead nowhere, for as long as what comes with it is kept.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn unconnected(peers: &Peers) -> (Self, impl Sized + use<>) {
        Self::new(peers)
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// How many nodes the cluster has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Sends `payload` of at most [`MAX_PAYLOAD_BYTES`] to a node; false if it was dropped, because too much waits already.
    /// True does not mean that it arrives.
    #[must_use]
    pub fn send(&self, to: NodeId, payload: Bytes) -> bool {
        debug_assert!(payload.len() <= MAX_PAYLOAD_BYTES, "cargo of {} bytes", payload.len());
        self.outboxes.get(&to).is_some_and(|outbox| outbox.try_send(payload).is_ok())
    }

    /// The next message that came in; `None` once the election has ended.
    pub async fn receive(&mut self) -> Option<Inbound> {
        self.inbound.recv().await
    }

    /// The term that this node has on disk, so that it remembers it after any restart; `None` while it does not know.
    #[must_use]
    pub fn saved_term(&self) -> Option<Term> {
        *self.saved_term.borrow()
    }

    /// Tells the election whether this node knows enough to take over from a leader that can choose its successor.
    pub fn set_may_take_over(&self, may: bool) {
        self.may_take_over.send_if_modified(|before| std::mem::replace(before, may) != may);
    }
}
