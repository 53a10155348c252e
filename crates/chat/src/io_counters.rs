//! What the links and the registry's client count by themselves, each where it happens. Relaxed: nothing is decided by them.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter that several tasks share.
#[derive(Debug, Default)]
pub(crate) struct SharedCounter(AtomicU64);

impl SharedCounter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters since the start.
#[derive(Debug, Default)]
pub(crate) struct IoCounters {
    /// Bytes that were read from connections of the mesh, greetings apart.
    pub(crate) bytes_in: SharedCounter,
    /// Bytes that were written to them.
    pub(crate) bytes_out: SharedCounter,
    /// Connections that could not be accepted.
    pub(crate) accept_errors: SharedCounter,
    /// Accepted connections on which no peer greeted.
    pub(crate) failed_greetings: SharedCounter,
    /// Objects in a stream that are no messages.
    pub(crate) invalid_messages: SharedCounter,
    /// Streams that were no stream of objects.
    pub(crate) broken_streams: SharedCounter,
    /// Datagrams that nobody can understand.
    pub(crate) invalid_datagrams: SharedCounter,
    /// Datagrams that the system did not send.
    pub(crate) datagram_send_errors: SharedCounter,
    /// Rounds with the registry that failed.
    pub(crate) registry_failures: SharedCounter,
}
