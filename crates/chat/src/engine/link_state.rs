//! One link of the mesh, as the engine sees it.

use std::net::IpAddr;

use super::config::EngineConfig;
use super::lazy_push::LazyPush;
use crate::endpoint::PeerEndpoint;
use crate::mesh::MessageFormat;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// One link.
#[derive(Clone, Debug)]
pub(super) struct LinkState {
    pub(super) peer: PeerId,
    pub(super) dialled: Option<PeerEndpoint>,
    pub(super) remote: IpAddr,
    pub(super) format: MessageFormat,
    /// Whether the peer itself said something, here or on the link whose place this took: then its name is known, and the
    /// person was told of it.
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

    /// When something is due on it.
    pub(super) fn next_deadline(&self, config: &EngineConfig) -> BootMs {
        self.heartbeats.next_heartbeat_at.min(self.heartbeats.timeout_at(config)).min(self.push.receive.next_deadline())
    }
}

/// Heartbeats of both ends.
#[derive(Clone, Debug)]
pub(super) struct LinkHeartbeats {
    pub(super) last_seen_at: BootMs,
    /// Whether the other end sends heartbeats; of one that never did, silence tells nothing.
    pub(super) peer_sends: bool,
    pub(super) next_heartbeat_at: BootMs,
}

impl LinkHeartbeats {
    /// When the other end has been silent for too long.
    pub(super) fn timeout_at(&self, config: &EngineConfig) -> BootMs {
        if self.peer_sends { self.last_seen_at.plus(config.silence_timeout_ms()) } else { BootMs::NEVER }
    }
}
