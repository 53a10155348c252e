//! One link of the mesh, as the engine sees it.

use std::net::IpAddr;

use super::lazy_push::LazyPush;
use super::rules::Rules;
use crate::endpoint::PeerEndpoint;
use crate::mesh::MessageFormat;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// One link.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) dialled: Option<PeerEndpoint>,
    pub(super) remote: IpAddr,
    pub(super) form: MessageFormat,
    /// Whether the peer itself said something, here or on the link whose place this took: then its name is known, and the
    /// person was told of it.
    pub(super) has_spoken: bool,
    pub(super) pulse: Pulse,
    pub(super) push: LazyPush,
}

impl Link {
    pub(super) fn new(peer: PeerId, dialled: Option<PeerEndpoint>, remote: IpAddr, now: BootMs) -> Self {
        Self {
            peer,
            dialled,
            remote,
            form: MessageFormat::default(),
            has_spoken: false,
            pulse: Pulse { heard_at: now, beats: false, next_beat: now },
            push: LazyPush::default(),
        }
    }

    /// When something is due on it.
    pub(super) fn next_at(&self, rules: &Rules) -> BootMs {
        self.pulse.next_beat.min(self.pulse.silent_at(rules)).min(self.push.incoming.next_at())
    }
}

/// Heartbeats of both ends.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    pub(super) heard_at: BootMs,
    /// Whether the other end sends heartbeats; of one that never did, silence tells nothing.
    pub(super) beats: bool,
    pub(super) next_beat: BootMs,
}

impl Pulse {
    /// When the other end has been silent for too long.
    pub(super) fn silent_at(&self, rules: &Rules) -> BootMs {
        if self.beats { self.heard_at.plus(rules.patience_ms()) } else { BootMs::NEVER }
    }
}
