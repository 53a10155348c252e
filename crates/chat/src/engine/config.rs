//! Settings of one peer: its identity, the mesh and the LAN.

use std::net::IpAddr;

use crate::endpoint::PeerEndpoint;
use crate::lan_user_id::LanUserId;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;

/// What an engine is told at its start.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Who this peer is.
    pub id: PeerId,
    /// What it is called.
    pub name: Nickname,
    /// Where it listens for the mesh, if it does.
    pub listen: Option<PeerEndpoint>,
    /// Peers of the mesh that are dialled for ever.
    pub peers: Vec<PeerEndpoint>,
    /// The most peers of the mesh at once, whoever dialled.
    pub max_connections: usize,
    /// Between two heartbeats on a link.
    pub heartbeat_interval_ms: u64,
    /// How late a heartbeat may be before the link counts as dead.
    pub heartbeat_timeout_ms: u64,
    /// How many runs of numbers are remembered of a sender, so at least as many messages.
    pub dedup_cache_size: usize,
    /// How many messages of a sender are kept.
    pub history_size: usize,
    /// The most bytes, as they are written, of one part of an answer to a question for history; one message always fits.
    /// An outbox must have room for them, or the link is lost over them again and again.
    pub history_batch_bytes: usize,
    /// The LAN, if this peer takes part in it.
    pub lan: Option<LanConfig>,
}

impl EngineConfig {
    /// How long who sends heartbeats may be silent.
    pub(super) fn silence_timeout_ms(&self) -> u64 {
        self.heartbeat_interval_ms.saturating_add(self.heartbeat_timeout_ms)
    }
}

/// What an engine is told of the LAN.
#[derive(Clone, Debug)]
pub struct LanConfig {
    /// Who this peer is there.
    pub user: LanUserId,
    /// The port at which others answer.
    pub port: u16,
    /// The addresses of this machine.
    pub own_ips: Vec<IpAddr>,
}

impl LanConfig {
    /// Whether the address is of this machine.
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own_ips.contains(&ip)
    }

    /// Whether a peer that claims to be there may write from here. All addresses of this machine are one.
    pub(super) fn is_valid_claim(&self, user: &LanUserId, source: IpAddr) -> bool {
        user.claimed_ip().is_some_and(|claimed| claimed == source || (self.is_own(claimed) && self.is_own(source)))
    }

    /// Whether two addresses are of one host. All addresses of this machine are.
    pub(super) fn is_same_host(&self, one: IpAddr, other: IpAddr) -> bool {
        let (one, other) = (one.to_canonical(), other.to_canonical());
        one == other || (self.is_own(one) && self.is_own(other))
    }
}
