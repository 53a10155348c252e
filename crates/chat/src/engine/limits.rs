//! Fixed limits of the engine, with the reason for each.

/// The wait before the first try to dial a peer again.
pub(super) const MIN_REDIAL_DELAY_MS: u64 = 1_000;
/// The longest wait, before jitter.
pub(super) const MAX_REDIAL_DELAY_MS: u64 = 300_000;
/// After so many failures in a row an address that was only heard of may be forgotten for another.
pub(super) const EVICTABLE_FAILURES: u32 = 8;
/// The most addresses that are remembered.
pub(super) const MAX_ADDRESSES: usize = 512;
/// An address that was heard of is dialled within so many milliseconds, so that two peers that heard of each other at once
/// seldom dial each other at once.
pub(super) const FIRST_DIAL_JITTER_MS: u64 = 300;
/// The most senders whose numbers and history are remembered.
pub(super) const MAX_AUTHORS: usize = 512;
/// The most messages, and bytes of text, of one part of an answer to a question for history.
pub(super) const MAX_BATCH_MESSAGES: usize = 64;
/// See [`MAX_BATCH_MESSAGES`] and [`EngineConfig::history_batch_bytes`].
pub(super) const MAX_BATCH_BYTES: usize = 128 * 1024;
/// The most runs of one sender's numbers in a question for history.
pub(super) const MAX_RANGES_PER_AUTHOR: usize = 8;
/// Of a sender of whom something is missing it has so many.
pub(super) const MAX_RANGES_PER_MISSING_AUTHOR: usize = 64;
/// The most runs of all senders' numbers in it, so that it is no longer than a message may be: a run takes 44 bytes at most,
/// and each sender 40 besides.
pub(super) const MAX_RANGES_PER_REQUEST: usize = 900;

/// The shared port of the LAN.
pub const LAN_PORT: u16 = 50_999;
/// Between two announcements.
pub(super) const ANNOUNCE_INTERVAL_MS: u64 = 30_000;
/// A peer of the LAN that was not heard for as long is gone.
pub(super) const LAN_PEER_TIMEOUT_MS: u64 = 300_000;
/// The most peers of the LAN that are remembered.
pub(super) const MAX_LAN_PEERS: usize = 1_024;
/// The numbers of messages that are remembered of a peer of the LAN.
pub(super) const MAX_RECENT_NUMBERS: usize = 100;
/// How many answers one source address gets at once, and then a second.
pub(super) const REPLY_BURST: u64 = 16;
/// See [`REPLY_BURST`].
pub(super) const REPLIES_PER_SECOND: u64 = 2;

/// The most forgotten senders that a question for history names; the others have the rest of its places.
pub(super) const MAX_REPEATED_AUTHORS: usize = 128;
