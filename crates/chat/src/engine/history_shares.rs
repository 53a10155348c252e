//! Memory of the history by deliverer, for eviction from the largest share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chat_entry::ChatEntry;
use super::deliverer::{Deliverer, ShareSizes};

/// The entries of all deliverers.
///
/// Invariant: `sizes` has the bytes of each share, and `bytes` is their sum; no share is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct HistoryShares {
    /// The entries of each deliverer, by the number of their arrival.
    shares: BTreeMap<Option<Deliverer>, BTreeMap<u64, Arc<ChatEntry>>>,
    sizes: ShareSizes,
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
        self.sizes.add(entry.via, bytes);
        self.bytes += bytes;
        self.shares.entry(entry.via).or_default().insert(arrival, entry);
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, arrival: u64, via: Option<Deliverer>) {
        let Some(share) = self.shares.get_mut(&via) else { return };
        let Some(entry) = share.remove(&arrival) else { return };
        self.sizes.subtract(via, entry.memory_bytes());
        self.bytes -= entry.memory_bytes();
        if share.is_empty() {
            self.shares.remove(&via);
        }
    }

    /// The oldest entry of the largest share, with its arrival number.
    pub(super) fn oldest_of_largest(&self) -> Option<(u64, &Arc<ChatEntry>)> {
        let (arrival, entry) = self.shares.get(&self.sizes.largest())?.first_key_value()?;
        Some((*arrival, entry))
    }
}
