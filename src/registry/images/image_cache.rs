//! Cache of images read from the bucket.
//!
//! With it, responses with images do not read the same images from the bucket each time. An image
//! never changes, so a cached image is never outdated. But an operator can delete images from the
//! bucket, so entries expire after a minute. Missing images are not cached, because another leader
//! may have stored them since.

use bytes::Bytes;

use super::lru_cache::LruCache;
use rollcall_core::{BootMs, ImageName, Username};

/// Maximum size of all entries in bytes: several thousand ordinary images, or 64 of the largest.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Approximate memory of an entry besides the image, in bytes. It limits how many tiny
/// images fit into the cache.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// Lifetime of an entry after the read from the bucket, in milliseconds.
const TTL_MS: u64 = 60 * 1000;

type ImageKey = (Username, ImageName);

/// Cached images, each with the time at which it was read. The least recently used one is evicted
/// first.
#[derive(Debug)]
pub(super) struct ImageCache(LruCache<ImageKey, (Bytes, BootMs)>);

impl Default for ImageCache {
    fn default() -> Self {
        Self(LruCache::new(MAX_BYTES))
    }
}

impl ImageCache {
    /// The image, if it was read less than [`TTL_MS`] before `now`.
    pub(super) fn get(&mut self, name: &ImageKey, now: BootMs) -> Option<Bytes> {
        let (bytes, read_at) = self.0.get(name)?.clone();
        if now.since(read_at) >= TTL_MS {
            self.0.remove(name);
            return None;
        }
        Some(bytes)
    }

    /// Inserts an image that was read at `read_at`.
    pub(super) fn insert(&mut self, name: ImageKey, bytes: Bytes, read_at: BootMs) {
        let cost = bytes.len() + ENTRY_OVERHEAD_BYTES;
        self.0.insert(name, (bytes, read_at), cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_image_expires_after_a_minute_even_if_it_is_used() {
        let mut cache = ImageCache::default();
        let image = ImageName::parse("1733511234-00000001.png").unwrap();
        let key = (Username::parse("alice").unwrap(), image);
        cache.insert(key.clone(), vec![7; 10].into(), BootMs(5));
        assert!(cache.get(&key, BootMs(5 + TTL_MS - 1)).is_some());
        assert!(cache.get(&key, BootMs(5 + TTL_MS)).is_none());
        assert!(cache.get(&key, BootMs(5)).is_none(), "it was removed");
    }
}
