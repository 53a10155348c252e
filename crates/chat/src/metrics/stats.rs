//! Snapshot of counters and sizes that the driver returns to the metrics server.

use crate::engine::{Counters, Engine};

/// Snapshot of a running peer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PeerStats {
    /// Counters of the engine.
    pub counters: Counters,
    /// Counters of the driver.
    pub drops: DropCounters,
    /// Number of mesh links.
    pub links: usize,
    /// Number of LAN peers; `None` if the peer does not use the LAN transport.
    pub lan_peers: Option<usize>,
    /// Number of known mesh addresses.
    pub addresses: usize,
    /// Number of messages in the history.
    pub history: usize,
}

/// Counters of the messages, links, notices and entries that the driver dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DropCounters {
    /// Messages that were too long for a link, counted per link.
    pub too_long: u64,
    /// Links closed because the peer read too slowly.
    pub slow_links: u64,
    /// Notices dropped because the reader of the notices was too slow.
    pub unread_notices: u64,
    /// History entries that were not stored on disk.
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
