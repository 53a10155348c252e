//! State of one mesh link in the engine.

use std::net::IpAddr;

use super::config::EngineConfig;
use super::lazy_push::LazyPush;
use crate::endpoint::PeerEndpoint;
use crate::mesh::MessageFormat;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// State of one link.
#[derive(Clone, Debug)]
pub(super) struct LinkState {
    pub(super) peer: PeerId,
    /// The address that this peer dialled; `None` if the other peer dialled.
    pub(super) dialled: Option<PeerEndpoint>,
    /// IP address of the other end.
    pub(super) remote: IpAddr,
    pub(super) format: MessageFormat,
    /// Whether a message written by the peer itself was received on this link, or on the link that
    /// this one replaced. From then on the name of the peer is known, and the user was notified of
    /// the peer.
    pub(super) is_confirmed: bool,
    pub(super) heartbeats: LinkHeartbeats,
    pub(super) push: LazyPush,
}

impl LinkState {
    pub(super) fn new(peer: PeerId, dialled: Option<PeerEndpoint>, remote: IpAddr, now: BootMs) -> Self {
        Self {
            peer,
            dialled,
            remote,
            format: MessageFormat::default(),
            is_confirmed: false,
            heartbeats: LinkHeartbeats { last_seen_at: now, peer_sends: false, next_heartbeat_at: now },
            push: LazyPush::default(),
        }
    }

    /// Time of the next heartbeat, timeout or history request.
    pub(super) fn next_deadline(&self, config: &EngineConfig) -> BootMs {
        self.heartbeats.next_heartbeat_at.min(self.heartbeats.timeout_at(config)).min(self.push.receive.next_deadline())
    }
}

/// State of the heartbeats in both directions.
#[derive(Clone, Debug)]
pub(super) struct LinkHeartbeats {
    /// Time of the latest message on the link, or of its opening.
    pub(super) last_seen_at: BootMs,
    /// Whether the other peer sends heartbeats. A peer that never sent one does not time out.
    pub(super) peer_sends: bool,
    /// Time at which this peer sends its next heartbeat.
    pub(super) next_heartbeat_at: BootMs,
}

impl LinkHeartbeats {
    /// Time at which the link times out if no message arrives.
    pub(super) fn timeout_at(&self, config: &EngineConfig) -> BootMs {
        if self.peer_sends { self.last_seen_at.plus(config.silence_timeout_ms()) } else { BootMs::NEVER }
    }
}
