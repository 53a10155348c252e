//! LRU cache of images read from the bucket.
//!
//! With it, responses with images do not read the same images from the bucket each time. An image
//! never changes, so a cached image is never outdated. But an operator can delete images from the
//! bucket, so entries expire after a minute. Missing images are not cached, because another leader
//! may have stored them since.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use rollcall_core::{BootMs, ImageName, Username};

/// Maximum size of all entries in bytes: several thousand ordinary images, or 64 of the largest.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Approximate memory of an entry besides the image, in bytes. It limits how many tiny
/// images fit into the cache.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// Lifetime of an entry after the read from the bucket, in milliseconds.
const TTL_MS: u64 = 60 * 1000;

type ImageKey = (Username, ImageName);

/// Cached images, evicted in order of their last use.
///
/// Invariant: `by_use` has exactly one entry for each image in `entries`, at its `last_use`. The
/// costs add up to `cost`, which is at most `max_cost`.
#[derive(Debug)]
pub(super) struct ImageCache {
    entries: HashMap<ImageKey, CachedImage>,
    by_use: BTreeMap<u64, ImageKey>,
    /// Number of uses so far. It orders the entries by their last use.
    use_counter: u64,
    cost: usize,
    max_cost: usize,
}

#[derive(Debug)]
struct CachedImage {
    bytes: Bytes,
    last_use: u64,
    read_at: BootMs,
}

impl Default for ImageCache {
    fn default() -> Self {
        Self::with_max_bytes(MAX_BYTES)
    }
}

impl ImageCache {
    /// An empty cache with this maximum size in bytes.
    fn with_max_bytes(max_cost: usize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), use_counter: 0, cost: 0, max_cost }
    }

    /// The image, if it was read less than [`TTL_MS`] before `now`.
    pub(super) fn get(&mut self, name: &ImageKey, now: BootMs) -> Option<Bytes> {
        let entry = self.entries.get_mut(name)?;
        if now.since(entry.read_at) >= TTL_MS {
            self.remove(name);
            return None;
        }
        self.use_counter += 1;
        let name = self.by_use.remove(&entry.last_use)?;
        self.by_use.insert(self.use_counter, name);
        entry.last_use = self.use_counter;
        Some(entry.bytes.clone())
    }

    /// Inserts an image that was read at `read_at`. Evicts the least recently used ones if
    /// necessary.
    pub(super) fn insert(&mut self, name: ImageKey, bytes: Bytes, read_at: BootMs) {
        self.remove(&name);
        let cost = cost(&bytes);
        if cost > self.max_cost {
            return;
        }
        while self.cost + cost > self.max_cost
            && let Some((_, oldest)) = self.by_use.first_key_value()
        {
            self.remove(&oldest.clone());
        }
        self.use_counter += 1;
        self.cost += cost;
        self.by_use.insert(self.use_counter, name.clone());
        self.entries.insert(name, CachedImage { bytes, last_use: self.use_counter, read_at });
    }

    fn remove(&mut self, name: &ImageKey) {
        if let Some(entry) = self.entries.remove(name) {
            self.by_use.remove(&entry.last_use);
            self.cost -= cost(&entry.bytes);
        }
    }
}

fn cost(bytes: &Bytes) -> usize {
    bytes.len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u32) -> ImageKey {
        let image = ImageName::parse(&format!("1733511234-{n:08x}.png")).unwrap();
        (Username::parse("alice").unwrap(), image)
    }

    fn bytes(length: usize) -> Bytes {
        vec![7; length].into()
    }

    #[test]
    fn the_least_recently_used_image_is_evicted() {
        let mut cache = ImageCache::with_max_bytes(3 * (100 + ENTRY_OVERHEAD_BYTES));
        (1..=3).for_each(|n| cache.insert(key(n), bytes(100), BootMs(0)));
        assert_eq!(cache.get(&key(1), BootMs(1)), Some(bytes(100)));
        cache.insert(key(4), bytes(100), BootMs(1));
        let found: Vec<bool> = (1..=4).map(|n| cache.get(&key(n), BootMs(1)).is_some()).collect();
        assert_eq!(found, [true, false, true, true]);
    }

    #[test]
    fn a_cached_image_expires_after_a_minute_even_if_it_is_used() {
        let mut cache = ImageCache::default();
        cache.insert(key(1), bytes(10), BootMs(5));
        assert!(cache.get(&key(1), BootMs(5 + TTL_MS - 1)).is_some());
        assert!(cache.get(&key(1), BootMs(5 + TTL_MS)).is_none());
        assert_eq!((cache.cost, cache.by_use.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn the_size_stays_within_its_bound_and_is_the_sum_of_the_entries(
            steps in proptest::collection::vec((0_u32..12, 0_usize..900, any::<bool>()), 1..200),
        ) {
            let mut cache = ImageCache::with_max_bytes(3000);
            for (n, length, keep) in steps {
                if keep {
                    cache.insert(key(n), bytes(length), BootMs(0));
                    prop_assert_eq!(cache.get(&key(n), BootMs(0)), Some(bytes(length)));
                } else {
                    cache.get(&key(n), BootMs(0));
                }
                prop_assert!(cache.cost <= 3000);
                prop_assert_eq!(cache.cost, cache.entries.values().map(|entry| cost(&entry.bytes)).sum::<usize>());
                let last_use: Vec<(&u64, &ImageKey)> = cache.by_use.iter().collect();
                prop_assert_eq!(last_use.len(), cache.entries.len());
                prop_assert!(last_use.iter().all(|(last_use, name)| cache.entries[name].last_use == **last_use));
            }
        }
    }
}
