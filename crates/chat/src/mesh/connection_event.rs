//! Events that the connections send to the driver.

use std::net::IpAddr;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::send_queue::SendQueue;
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
    Messages { link: LinkId, messages: Vec<Bytes> },
    /// The connection ended.
    Disconnected { link: LinkId, reason: String },
}
