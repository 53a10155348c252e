//! The configured numbers, and the fixed ones with their reasons.

use std::net::IpAddr;

use crate::endpoint::PeerEndpoint;
use crate::lan_user_id::LanUserId;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;

/// The wait before the first try to dial a peer again.
pub(super) const FIRST_RETRY_MS: u64 = 1_000;
/// The longest wait, before jitter.
pub(super) const LONGEST_RETRY_MS: u64 = 300_000;
/// After so many failures in a row an address that was only heard of may be forgotten for another.
pub(super) const MOST_FAILURES: u32 = 8;
/// The most addresses that are remembered.
pub(super) const MAX_ENDPOINTS: usize = 512;
/// An address that was heard of is dialled within so many milliseconds, so that two peers that heard of each other at once
/// seldom dial each other at once.
pub(super) const FIRST_DIAL_WITHIN_MS: u64 = 300;
/// The most senders whose numbers and history are remembered.
pub(super) const MAX_SENDERS: usize = 512;
/// The most messages, and bytes of text, of one part of an answer to a question for history.
pub(super) const PART_MESSAGES: usize = 64;
/// See [`PART_MESSAGES`] and [`Rules::answer_bytes`].
pub(super) const PART_BYTES: usize = 128 * 1024;
/// The most runs of one sender's numbers in a question for history.
pub(super) const ASKED_RUNS: usize = 8;
/// Of a sender of whom something is missing it has so many.
pub(super) const MISSING_RUNS: usize = 64;
/// The most runs of all senders' numbers in it, so that it is no longer than a message may be: a run takes 44 bytes at most,
/// and each sender 40 besides.
pub(super) const ASKED_RUNS_IN_ALL: usize = 900;

/// The shared port of the LAN.
pub const LAN_PORT: u16 = 50_999;
/// Between two announcements.
pub(super) const ANNOUNCE_EVERY_MS: u64 = 30_000;
/// A peer of the LAN that was not heard for as long is gone.
pub(super) const EXPIRES_AFTER_MS: u64 = 300_000;
/// The most peers of the LAN that are remembered.
pub(super) const MAX_LAN_PEERS: usize = 1_024;
/// The numbers of messages that are remembered of a peer of the LAN.
pub(super) const LAN_REMEMBERED: usize = 100;
/// How many answers one source address gets at once, and then a second.
pub(super) const ANSWERS_AT_ONCE: u64 = 16;
/// See [`ANSWERS_AT_ONCE`].
pub(super) const ANSWERS_A_SECOND: u64 = 2;

/// The most forgotten senders that a question for history names; the others have the rest of its places.
pub(super) const MAX_REPEATED: usize = 128;

/// What an engine is told at its start.
#[derive(Clone, Debug)]
pub struct Rules {
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
    pub answer_bytes: usize,
    /// The LAN, if this peer takes part in it.
    pub lan: Option<LanRules>,
}

impl Rules {
    /// How long who sends heartbeats may be silent.
    pub(super) fn patience_ms(&self) -> u64 {
        self.heartbeat_interval_ms.saturating_add(self.heartbeat_timeout_ms)
    }
}

/// What an engine is told of the LAN.
#[derive(Clone, Debug)]
pub struct LanRules {
    /// Who this peer is there.
    pub user: LanUserId,
    /// The port at which others answer.
    pub port: u16,
    /// The addresses of this machine.
    pub own_ips: Vec<IpAddr>,
}

impl LanRules {
    /// Whether the address is of this machine.
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own_ips.contains(&ip)
    }

    /// Whether a peer that claims to be there may write from here. All addresses of this machine are one.
    pub(super) fn is_match(&self, user: &LanUserId, source: IpAddr) -> bool {
        user.claimed_ip().is_some_and(|claimed| claimed == source || (self.is_own(claimed) && self.is_own(source)))
    }

    /// Whether two addresses are of one host. All addresses of this machine are.
    pub(super) fn is_one_host(&self, one: IpAddr, other: IpAddr) -> bool {
        let (one, other) = (one.to_canonical(), other.to_canonical());
        one == other || (self.is_own(one) && self.is_own(other))
    }
}
