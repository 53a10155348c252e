//! Configuration of one peer: its identity, the mesh and the LAN.

use std::net::IpAddr;

use crate::endpoint::PeerEndpoint;
use crate::lan_user_id::LanUserId;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;

/// Configuration of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Id of this peer.
    pub id: PeerId,
    /// Nickname of this peer.
    pub name: Nickname,
    /// The address at which this peer accepts mesh connections, if it does.
    pub listen: Option<PeerEndpoint>,
    /// Configured peers of the mesh. They are redialled forever.
    pub peers: Vec<PeerEndpoint>,
    /// Largest number of linked peers, dialled and accepted ones together.
    pub max_connections: usize,
    /// Interval between two heartbeats on a link, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// Time in milliseconds by which a heartbeat may be late before the link is closed.
    pub heartbeat_timeout_ms: u64,
    /// Largest number of ranges of received numbers per author, for deduplication. Each range
    /// covers at least one message.
    pub dedup_cache_size: usize,
    /// Largest number of messages kept per author.
    pub history_size: usize,
    /// Largest size of one history batch as written to the link, in bytes. A batch of one message
    /// may be larger. The send queue must have room for a batch; otherwise each batch would
    /// overflow the queue and close the link.
    pub history_batch_bytes: usize,
    /// Configuration of the LAN; `None` if this peer does not use it.
    pub lan: Option<LanConfig>,
}

impl EngineConfig {
    /// Time in milliseconds without a message after which a link is closed, if the other peer sends
    /// heartbeats.
    pub(super) fn silence_timeout_ms(&self) -> u64 {
        self.heartbeat_interval_ms.saturating_add(self.heartbeat_timeout_ms)
    }
}

/// Configuration of the LAN transport.
#[derive(Clone, Debug)]
pub struct LanConfig {
    /// User id of this peer on the LAN.
    pub user: LanUserId,
    /// The UDP port at which this peer receives replies.
    pub port: u16,
    /// The IP addresses of this host.
    pub own_ips: Vec<IpAddr>,
}

impl LanConfig {
    /// Whether the address belongs to this host.
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own_ips.contains(&ip)
    }

    /// Whether the address that a user id claims is the source of its datagrams. All addresses of
    /// this host count as one.
    pub(super) fn is_valid_claim(&self, user: &LanUserId, source: IpAddr) -> bool {
        user.claimed_ip().is_some_and(|claimed| claimed == source || (self.is_own(claimed) && self.is_own(source)))
    }

    /// Whether two addresses are known to belong to the same host: they are equal, or both belong
    /// to this host.
    pub(super) fn is_same_host(&self, one: IpAddr, other: IpAddr) -> bool {
        let (one, other) = (one.to_canonical(), other.to_canonical());
        one == other || (self.is_own(one) && self.is_own(other))
    }
}
