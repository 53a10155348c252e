//! The pictures that were read last, so that lists with pictures do not read each of them from the bucket again and again.
//!
//! A picture never changes, so what is kept is right; but it can be deleted by whoever runs the bucket, so nothing is kept
//! for long. What the bucket was asked for in vain is not remembered: another leader may have stored it since.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use rollcall_core::{BootMs, ImageName, Username};

/// The bytes of all pictures that are kept: some thousand ordinary ones, or 64 of the largest.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What a picture takes besides its bytes, roughly, so that tiny ones are bounded too.
const OVERHEAD: usize = 256;

/// How long after it was read a picture is given without a look at the bucket.
const KEPT_MS: u64 = 60 * 1000;

type Name = (Username, ImageName);

/// The pictures that were read last.
///
/// Invariant: `by_use` holds exactly one entry for each picture in `kept`, under its `used`; their costs add up to `cost`,
/// which is at most `most`.
#[derive(Debug)]
pub(super) struct ImageCache {
    kept: HashMap<Name, Kept>,
    by_use: BTreeMap<u64, Name>,
    uses: u64,
    cost: usize,
    most: usize,
}

#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    used: u64,
    read_at: BootMs,
}

impl Default for ImageCache {
    fn default() -> Self {
        Self::of(MOST_BYTES)
    }
}

impl ImageCache {
    /// A cache of at most so many bytes.
    fn of(most: usize) -> Self {
        Self { kept: HashMap::new(), by_use: BTreeMap::new(), uses: 0, cost: 0, most }
    }

    /// The picture, if it was read a short while before `now`.
    pub(super) fn find(&mut self, name: &Name, now: BootMs) -> Option<Bytes> {
        let kept = self.kept.get_mut(name)?;
        if now.since(kept.read_at) >= KEPT_MS {
            self.remove(name);
            return None;
        }
        self.uses += 1;
        let name = self.by_use.remove(&kept.used)?;
        self.by_use.insert(self.uses, name);
        kept.used = self.uses;
        Some(kept.bytes.clone())
    }

    /// Keeps a picture that was read at `read_at`, in the place of those that were not asked for the longest.
    pub(super) fn keep(&mut self, name: Name, bytes: Bytes, read_at: BootMs) {
        self.remove(&name);
        let cost = cost(&bytes);
        if cost > self.most {
            return;
        }
        while self.cost + cost > self.most
            && let Some((_, oldest)) = self.by_use.first_key_value()
        {
            self.remove(&oldest.clone());
        }
        self.uses += 1;
        self.cost += cost;
        self.by_use.insert(self.uses, name.clone());
        self.kept.insert(name, Kept { bytes, used: self.uses, read_at });
    }

    fn remove(&mut self, name: &Name) {
        if let Some(kept) = self.kept.remove(name) {
            self.by_use.remove(&kept.used);
            self.cost -= cost(&kept.bytes);
        }
    }
}

fn cost(bytes: &Bytes) -> usize {
    bytes.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(n: u32) -> Name {
        let image = ImageName::parse(&format!("1733511234-{n:08x}.png")).unwrap();
        (Username::parse("alice").unwrap(), image)
    }

    fn bytes(length: usize) -> Bytes {
        vec![7; length].into()
    }

    #[test]
    fn the_picture_that_was_not_asked_for_the_longest_makes_room() {
        let mut cache = ImageCache::of(3 * (100 + OVERHEAD));
        (1..=3).for_each(|n| cache.keep(picture(n), bytes(100), BootMs(0)));
        assert_eq!(cache.find(&picture(1), BootMs(1)), Some(bytes(100)));
        cache.keep(picture(4), bytes(100), BootMs(1));
        let found: Vec<bool> = (1..=4).map(|n| cache.find(&picture(n), BootMs(1)).is_some()).collect();
        assert_eq!(found, [true, false, true, true]);
    }

    #[test]
    fn a_picture_is_kept_for_a_minute_however_often_it_is_asked_for() {
        let mut cache = ImageCache::default();
        cache.keep(picture(1), bytes(10), BootMs(5));
        assert!(cache.find(&picture(1), BootMs(5 + KEPT_MS - 1)).is_some());
        assert!(cache.find(&picture(1), BootMs(5 + KEPT_MS)).is_none());
        assert_eq!((cache.cost, cache.by_use.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn the_bytes_stay_within_their_bound_and_are_counted_right(
            steps in proptest::collection::vec((0_u32..12, 0_usize..900, any::<bool>()), 1..200),
        ) {
            let mut cache = ImageCache::of(3000);
            for (n, length, keep) in steps {
                if keep {
                    cache.keep(picture(n), bytes(length), BootMs(0));
                    prop_assert_eq!(cache.find(&picture(n), BootMs(0)), Some(bytes(length)));
                } else {
                    cache.find(&picture(n), BootMs(0));
                }
                prop_assert!(cache.cost <= 3000);
                prop_assert_eq!(cache.cost, cache.kept.values().map(|kept| cost(&kept.bytes)).sum::<usize>());
                let used: Vec<(&u64, &Name)> = cache.by_use.iter().collect();
                prop_assert_eq!(used.len(), cache.kept.len());
                prop_assert!(used.iter().all(|(used, name)| cache.kept[name].used == **used));
            }
        }
    }
}
