//! What happened how often.

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Messages of the mesh that came in, of any kind.
    pub messages_in: u64,
    /// Messages of the mesh that went out, each once for each link.
    pub messages_out: u64,
    /// Chat that was heard before.
    pub duplicates: u64,
    /// Heartbeats that were sent.
    pub heartbeats_out: u64,
    /// Addresses that were dialled.
    pub dials: u64,
    /// Dialled addresses that did not answer.
    pub failed_dials: u64,
    /// Links that ended.
    pub lost_links: u64,
    /// Datagrams that came in.
    pub datagrams_in: u64,
    /// Datagrams that went out; one to everybody counts once.
    pub datagrams_out: u64,
    /// Answers that were not given because the source had too many.
    pub unanswered: u64,
}
