//! Counters of the sockets and the registry task, shared between tasks. Only the metrics read them,
//! so relaxed ordering is enough.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counter that several tasks increment.
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

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct IoCounters {
    /// Bytes read from mesh connections, without greetings.
    pub(crate) bytes_in: SharedCounter,
    /// Bytes written to mesh connections, without greetings.
    pub(crate) bytes_out: SharedCounter,
    /// Errors of `accept`.
    pub(crate) accept_errors: SharedCounter,
    /// Accepted connections without a valid greeting.
    pub(crate) failed_greetings: SharedCounter,
    /// JSON objects that are not valid mesh messages.
    pub(crate) invalid_messages: SharedCounter,
    /// Connections whose bytes are not a sequence of JSON objects.
    pub(crate) broken_streams: SharedCounter,
    /// Datagrams that could not be parsed.
    pub(crate) invalid_datagrams: SharedCounter,
    /// Datagrams that the system refused to send.
    pub(crate) datagram_send_errors: SharedCounter,
    /// Failed registry rounds.
    pub(crate) registry_failures: SharedCounter,
}
