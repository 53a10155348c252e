//! Events that the connections send to the driver.

use std::net::IpAddr;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::send_queue::SendQueue;
use crate::byte_budget::{ByteBudget, HeldBytes};
use crate::endpoint::PeerEndpoint;
use crate::engine::LinkId;
use crate::peer_id::PeerId;

/// Event of one connection.
#[derive(Debug)]
pub(crate) enum ConnectionEvent {
    /// The greetings were exchanged; the link is ready.
    Connected { link: LinkId, peer: PeerId, dialled: Option<PeerEndpoint>, remote: IpAddr, queue: SendQueue },
    /// The peer at a dialled address has sent its greeting. The connection greets too when `greet`
    /// is used, and ends when it is dropped.
    DialGreeted { endpoint: PeerEndpoint, peer: PeerId, greet: oneshot::Sender<()> },
    /// Dialling or the exchange of greetings failed.
    DialFailed { endpoint: PeerEndpoint, reason: String },
    /// Messages were received. They are complete JSON objects, not parsed yet.
    Messages { link: LinkId, messages: Vec<Bytes>, held: HeldBytes },
    /// The connection ended.
    Disconnected { link: LinkId, reason: String },
}

/// Capacity of the queue of events, in events. When the queue is full, the tasks that read the
/// connections wait.
const EVENT_QUEUE: usize = 1024;
/// Capacity of the queue of events, in bytes of their messages.
const EVENT_QUEUE_BYTES: u32 = 4 * 1024 * 1024;

/// Sending end of the queue of events.
#[derive(Clone, Debug)]
pub(crate) struct EventSender {
    events: mpsc::Sender<ConnectionEvent>,
    budget: ByteBudget,
}

/// Error: the driver has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DriverEnded;

impl EventSender {
    /// A queue of events, and its receiving end.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<ConnectionEvent>) {
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        (Self { events, budget: ByteBudget::new(EVENT_QUEUE_BYTES) }, receiver)
    }

    /// Adds an event. Waits while the queue is full.
    ///
    /// # Errors
    /// [`DriverEnded`].
    pub(super) async fn send(&self, event: ConnectionEvent) -> Result<(), DriverEnded> {
        self.events.send(event).await.map_err(|_| DriverEnded)
    }

    /// Adds received messages. Waits while the queue is full.
    ///
    /// # Errors
    /// [`DriverEnded`].
    pub(super) async fn send_messages(&self, link: LinkId, messages: Vec<Bytes>) -> Result<(), DriverEnded> {
        let held = self.budget.take(messages.iter().map(Bytes::len).sum()).await;
        self.send(ConnectionEvent::Messages { link, messages, held }).await
    }
}
