//! Fixed limits and intervals of the engine.

/// Interval between two heartbeats to a peer that is not known to be of this program, in
/// milliseconds. Such peers may end a link on which nothing arrived for 5 s, and must get a message
/// every 2 s. The rest is for a late timer.
pub(super) const FOREIGN_HEARTBEAT_INTERVAL_MS: u64 = 1_500;
/// Largest number of own posts that wait for the first link. Within the time for an orderly end, as
/// many can be sent to a peer of another program.
pub(super) const MAX_UNSENT_POSTS: usize = 300;
/// Delay before the first redial of an address, in milliseconds.
pub(super) const MIN_REDIAL_DELAY_MS: u64 = 1_000;
/// Largest redial delay before jitter, in milliseconds.
pub(super) const MAX_REDIAL_DELAY_MS: u64 = 300_000;
/// Number of failures in a row after which a learned address may be evicted to make room for
/// another.
pub(super) const EVICTABLE_FAILURES: u32 = 8;
/// Largest number of addresses in the address book.
pub(super) const MAX_ADDRESSES: usize = 512;
/// Largest number of learned addresses of one host. So nobody can fill the address book with the
/// ports of one host.
pub(super) const MAX_ADDRESSES_PER_HOST: usize = 32;
/// Largest number of addresses of one host that are being dialled, configured ones included. So
/// they leave slots for other hosts.
pub(super) const MAX_DIALS_PER_HOST: usize = 8;
/// Number of dials in a burst to learned addresses of one host at which no peer has greeted yet.
pub(super) const UNPROVEN_DIAL_BURST: u64 = 64;
/// Time between two such dials after the burst, in milliseconds.
pub(super) const UNPROVEN_DIAL_INTERVAL_MS: u64 = 10_000;
/// Largest delay before the first dial of a learned address, in milliseconds. The delay is random.
/// So two peers that learn of each other at the same time seldom dial each other at the same time.
pub(super) const FIRST_DIAL_JITTER_MS: u64 = 300;
/// Largest number of authors whose numbers are kept.
pub(super) const MAX_AUTHORS: usize = 512;
/// Largest memory of the history, in bytes, for all senders together. Six senders with a full
/// history of the longest texts take a third of it.
pub(super) const MAX_HISTORY_BYTES: usize = 16 * 1024 * 1024;
/// Largest number of messages in one history batch.
pub(super) const MAX_BATCH_MESSAGES: usize = 64;
/// Largest size of the texts in one history batch, in bytes. See also
/// `EngineConfig::history_batch_bytes`.
pub(super) const MAX_BATCH_BYTES: usize = 128 * 1024;
/// Largest number of ranges in a history request for an author without missing chat.
pub(super) const MAX_RANGES_PER_AUTHOR: usize = 8;
/// Largest number of ranges in a history request for an author with missing chat.
pub(super) const MAX_RANGES_PER_MISSING_AUTHOR: usize = 64;
/// Largest number of ranges in a history request. With this limit, a request always fits into one
/// mesh message: a range takes at most 44 bytes, and each author 40 more.
pub(super) const MAX_RANGES_PER_REQUEST: usize = 900;

/// The shared UDP port of the LAN.
pub const LAN_PORT: u16 = 50_999;
/// Interval between two LAN announcements, in milliseconds.
pub(super) const ANNOUNCE_INTERVAL_MS: u64 = 30_000;
/// Time in milliseconds without a datagram after which a LAN peer is removed.
pub(super) const LAN_PEER_TIMEOUT_MS: u64 = 300_000;
/// Largest number of LAN peers in the table.
pub(super) const MAX_LAN_PEERS: usize = 1_024;
/// Largest number of LAN peers whose datagrams come from one host. The names are free, the host is
/// not.
pub(super) const MAX_LAN_PEERS_PER_HOST: usize = 128;
/// Number of message ids kept per LAN peer for deduplication.
pub(super) const MAX_RECENT_IDS: usize = 100;
/// Number of LAN replies to one source address in a burst.
pub(super) const REPLY_BURST: u64 = 16;
/// Number of LAN replies to one source address per second after the burst.
pub(super) const REPLIES_PER_SECOND: u64 = 2;

/// Largest number of evicted authors in a history request. The rest of the request is for other
/// authors.
pub(super) const MAX_REPEATED_AUTHORS: usize = 128;
