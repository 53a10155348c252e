//! Transport for messages of other subsystems over the election's links.
//!
//! The election does not interpret the messages. A message of the election waits for at most one of
//! them.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::process::{NodeId, Peers, Process};
use rollcall_core::{NodeAddr, Term};

/// Largest number of messages that wait for one node. Further messages are dropped, as a network
/// would drop them.
const OUTBOX_MESSAGES: usize = 64;

/// Largest number of received messages that wait for [`Transport::receive`]. Further messages are
/// dropped.
const INBOX_MESSAGES: usize = 256;

/// Largest size of one message, in bytes. A heartbeat may wait while one such message is written:
/// 50 ms on a link of 10 Mbit/s.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// A received message.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Sending process, authenticated by its link.
    pub from: Process,
    /// Content of the message.
    pub payload: Bytes,
}

/// Sends and receives messages of other subsystems.
#[derive(Debug)]
pub struct Transport {
    peers: Peers,
    outboxes: HashMap<NodeId, mpsc::Sender<Bytes>>,
    inbound: mpsc::Receiver<Inbound>,
    may_take_over: watch::Sender<bool>,
    saved_term: watch::Receiver<Option<Term>>,
}

/// The election's side of a [`Transport`].
#[derive(Debug)]
pub(crate) struct TransportHandle {
    /// Payloads to send, per node.
    pub(crate) outboxes: HashMap<NodeId, mpsc::Receiver<Bytes>>,
    /// Received payloads.
    pub(crate) inbound: mpsc::Sender<Inbound>,
    /// Whether this node is ready for a planned takeover. See [`Transport::set_may_take_over`].
    pub(crate) may_take_over: watch::Receiver<bool>,
    /// The term on disk, see [`Transport::saved_term`].
    pub(crate) saved_term: watch::Sender<Option<Term>>,
}

impl Transport {
    pub(crate) fn new(peers: &Peers) -> (Self, TransportHandle) {
        let (inbound_sender, inbound) = mpsc::channel(INBOX_MESSAGES);
        let (may_take_over, may_take_over_receiver) = watch::channel(true);
        let (saved_term_sender, saved_term) = watch::channel(None);
        let (mut senders, mut receivers) = (HashMap::new(), HashMap::new());
        for node in peers.others() {
            let (sender, receiver) = mpsc::channel(OUTBOX_MESSAGES);
            senders.insert(node, sender);
            receivers.insert(node, receiver);
        }
        let handle = TransportHandle {
            outboxes: receivers,
            inbound: inbound_sender,
            may_take_over: may_take_over_receiver,
            saved_term: saved_term_sender,
        };
        (Self { peers: peers.clone(), outboxes: senders, inbound, may_take_over, saved_term }, handle)
    }

    /// A transport without links, for tests of other subsystems. The second value must live as long
    /// as the transport.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn unconnected(peers: &Peers) -> (Self, impl Sized + use<>) {
        Self::new(peers)
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.peers.me()
    }

    /// Address of a node that sent a message.
    #[must_use]
    pub fn addr(&self, node: NodeId) -> NodeAddr {
        self.peers.addr(node)
    }

    /// Number of nodes in the cluster.
    #[must_use]
    pub fn count(&self) -> usize {
        self.peers.count()
    }

    /// Sends `payload` of at most [`MAX_PAYLOAD_BYTES`] bytes to a node. Returns false if the queue
    /// is full and the payload was dropped. True does not mean that it arrives.
    #[must_use]
    pub fn send(&self, to: NodeId, payload: Bytes) -> bool {
        debug_assert!(payload.len() <= MAX_PAYLOAD_BYTES, "payload of {} bytes", payload.len());
        self.outboxes.get(&to).is_some_and(|outbox| outbox.try_send(payload).is_ok())
    }

    /// Receives the next message. `None` once the election has ended.
    pub async fn receive(&mut self) -> Option<Inbound> {
        self.inbound.recv().await
    }

    /// The term that this node has on disk. It survives every restart. `None` while this node has
    /// lost its ballot.
    #[must_use]
    pub fn saved_term(&self) -> Option<Term> {
        *self.saved_term.borrow()
    }

    /// Tells the election whether this node has enough data for a planned takeover. A leader
    /// chooses only such a node as its successor.
    pub fn set_may_take_over(&self, may: bool) {
        self.may_take_over.send_if_modified(|before| std::mem::replace(before, may) != may);
    }
}
