//! State of one mesh link in the engine.

use std::net::{IpAddr, SocketAddr};

use super::config::EngineConfig;
use super::event::Now;
use super::lazy_push::LazyPush;
use super::limits::FOREIGN_HEARTBEAT_INTERVAL_MS;
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
    /// Time of the opening, in Unix seconds.
    pub(super) opened_unix_s: i64,
    /// IP address of the other end.
    pub(super) remote: IpAddr,
    pub(super) format: MessageFormat,
    /// Whether a message written by the peer itself was received on a link to this peer. From then
    /// on the name of the peer is known, and the user was notified of the peer.
    pub(super) is_confirmed: bool,
    pub(super) heartbeats: LinkHeartbeats,
    pub(super) push: LazyPush,
}

impl LinkState {
    pub(super) fn new(peer: PeerId, dialled: Option<PeerEndpoint>, remote: IpAddr, now: Now) -> Self {
        Self {
            peer,
            dialled,
            opened_unix_s: now.unix_s,
            remote,
            format: MessageFormat::default(),
            is_confirmed: false,
            heartbeats: LinkHeartbeats { last_seen_at: now.boot, peer_sends: false, sent_at: now.boot },
            push: LazyPush::default(),
        }
    }

    /// Whether the peer is not known to be of this program. Such a peer may be of a program that
    /// forgets a peer when one of two links to it ends.
    pub(super) fn is_foreign(&self) -> bool {
        !self.format.extended
    }

    /// The dialled address with the IP address to which its host name led; `None` if the other
    /// peer dialled.
    pub(super) fn dialled_at(&self) -> Option<PeerEndpoint> {
        let dialled = self.dialled.as_ref()?;
        Some(PeerEndpoint::of(SocketAddr::new(self.remote, dialled.port())))
    }

    /// Time of the next heartbeat to the peer.
    pub(super) fn next_heartbeat_at(&self, config: &EngineConfig) -> BootMs {
        let interval_ms = config.heartbeat_interval_ms;
        let interval_ms = if self.is_foreign() { interval_ms.min(FOREIGN_HEARTBEAT_INTERVAL_MS) } else { interval_ms };
        self.heartbeats.sent_at.plus(interval_ms)
    }

    /// Time of the next heartbeat, timeout or history request.
    pub(super) fn next_deadline(&self, config: &EngineConfig) -> BootMs {
        let heartbeat = self.next_heartbeat_at(config).min(self.heartbeats.timeout_at(config));
        heartbeat.min(self.push.receive.next_deadline())
    }
}

/// State of the heartbeats in both directions.
#[derive(Clone, Debug)]
pub(super) struct LinkHeartbeats {
    /// Time of the latest message of the peer, or of the opening of the link.
    pub(super) last_seen_at: BootMs,
    /// Whether the other peer sends heartbeats. A peer that never sent one does not time out.
    pub(super) peer_sends: bool,
    /// Time of this peer's latest heartbeat on the link. The first one is sent when it opens.
    pub(super) sent_at: BootMs,
}

impl LinkHeartbeats {
    /// Time at which the link times out if no message arrives.
    pub(super) fn timeout_at(&self, config: &EngineConfig) -> BootMs {
        if self.peer_sends { self.last_seen_at.plus(config.silence_timeout_ms()) } else { BootMs::NEVER }
    }
}
