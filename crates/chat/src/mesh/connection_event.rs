//! What the connections report to the driver.

use std::net::IpAddr;

use bytes::Bytes;

use super::send_queue::SendQueue;
use crate::endpoint::PeerEndpoint;
use crate::engine::LinkId;
use crate::peer_id::PeerId;

/// What happened on the connections.
#[derive(Debug)]
pub(crate) enum ConnectionEvent {
    /// A connection was greeted.
    Connected { link: LinkId, peer: PeerId, dialled: Option<PeerEndpoint>, remote: IpAddr, queue: SendQueue },
    /// A dialled address did not become a connection.
    DialFailed { endpoint: PeerEndpoint, why: String },
    /// Messages came in; what they say is not looked at yet.
    Messages { link: LinkId, messages: Vec<Bytes> },
    /// A connection ended.
    Disconnected { link: LinkId, why: String },
}
