//! Events that the connections send to the driver.

use std::net::IpAddr;

use bytes::Bytes;

use super::send_queue::SendQueue;
use crate::endpoint::PeerEndpoint;
use crate::engine::LinkId;
use crate::peer_id::PeerId;

/// Event of one connection.
#[derive(Debug)]
pub(crate) enum ConnectionEvent {
    /// The greetings were exchanged; the link is ready.
    Connected { link: LinkId, peer: PeerId, dialled: Option<PeerEndpoint>, remote: IpAddr, queue: SendQueue },
    /// A peer was dialled to which no second link may be opened.
    DialAvoided { endpoint: PeerEndpoint, peer: PeerId },
    /// Dialling or the exchange of greetings failed.
    DialFailed { endpoint: PeerEndpoint, reason: String },
    /// Messages were received. They are complete JSON objects, not parsed yet.
    Messages { link: LinkId, messages: Vec<Bytes> },
    /// The connection ended.
    Disconnected { link: LinkId, reason: String },
}
