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
    Linked { link: LinkId, peer: PeerId, dialled: Option<PeerEndpoint>, remote: IpAddr, outbox: SendQueue },
    /// A dialled address did not become a connection.
    DialFailed { endpoint: PeerEndpoint, why: String },
    /// Messages came in; what they say is not looked at yet.
    Heard { link: LinkId, messages: Vec<Bytes> },
    /// A connection ended.
    Unlinked { link: LinkId, why: String },
}
