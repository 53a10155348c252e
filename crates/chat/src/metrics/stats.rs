//! What the driver tells when it is asked how the peer is doing.

use crate::engine::{Counters, Engine};

/// A look at a running peer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PeerStats {
    /// What the engine counted.
    pub counters: Counters,
    /// What the driver gave up.
    pub drops: DropCounters,
    /// Linked peers of the mesh.
    pub links: usize,
    /// Peers of the LAN; `None` without a LAN.
    pub lan_peers: Option<usize>,
    /// Addresses of the mesh that are remembered.
    pub addresses: usize,
    /// Messages that are remembered.
    pub history: usize,
}

/// What was not sent, shown or kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DropCounters {
    /// Messages that were longer than a link takes, each once for each link.
    pub too_long: u64,
    /// Links whose other end read too slowly.
    pub slow_links: u64,
    /// Notices for which there was no room, since the person does not read.
    pub unread_notices: u64,
    /// Entries of the history that did not reach the disk.
    pub unsaved_entries: u64,
}

impl PeerStats {
    pub(crate) fn of(engine: &Engine, drops: DropCounters) -> Self {
        Self {
            counters: *engine.counters(),
            drops,
            links: engine.link_count(),
            lan_peers: engine.lan_peer_count(),
            addresses: engine.address_count(),
            history: engine.history().len(),
        }
    }
}
