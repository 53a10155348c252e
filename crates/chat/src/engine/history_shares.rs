//! Memory of the history by deliverer, for eviction from the largest share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chat_entry::ChatEntry;
use super::deliverer::{Deliverer, largest_share};

/// The entries of one deliverer, by the number of their arrival.
#[derive(Clone, Debug, Default)]
struct HistoryShare {
    entries: BTreeMap<u64, Arc<ChatEntry>>,
    bytes: usize,
}

/// The entries of all deliverers.
///
/// Invariant: `bytes` is the sum over all shares; no share is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct HistoryShares {
    shares: BTreeMap<Option<Deliverer>, HistoryShare>,
    bytes: usize,
}

impl HistoryShares {
    /// Memory of all entries, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an entry with a new arrival number.
    pub(super) fn insert(&mut self, arrival: u64, entry: Arc<ChatEntry>) {
        let bytes = entry.memory_bytes();
        let share = self.shares.entry(entry.via).or_default();
        share.entries.insert(arrival, entry);
        share.bytes += bytes;
        self.bytes += bytes;
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, arrival: u64, via: Option<Deliverer>) {
        let Some(share) = self.shares.get_mut(&via) else { return };
        let Some(entry) = share.entries.remove(&arrival) else { return };
        share.bytes -= entry.memory_bytes();
        self.bytes -= entry.memory_bytes();
        if share.entries.is_empty() {
            self.shares.remove(&via);
        }
    }

    /// The oldest entry of the largest share, with its arrival number.
    pub(super) fn oldest_of_largest(&self) -> Option<(u64, &Arc<ChatEntry>)> {
        let via = largest_share(self.shares.iter().map(|(via, share)| (*via, share.bytes)));
        let (arrival, entry) = self.shares.get(&via)?.entries.first_key_value()?;
        Some((*arrival, entry))
    }
}
