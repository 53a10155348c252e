//! Names that were just looked up in vain, so that a client that goes on asking does not cost a read each time.

use std::collections::{HashSet, VecDeque};

use rollcall_core::{BootMs, Username};

/// For how long a miss is remembered: short, since another leader may register the name at any time.
const TTL_MS: u64 = 2000;

/// The most names that are remembered; the oldest makes room.
const MAX_NAMES: usize = 4096;

/// Invariant: `names` and `by_age` hold the same names, each once, the oldest in front.
#[derive(Debug, Default)]
pub(super) struct NegativeCache {
    names: HashSet<Username>,
    by_age: VecDeque<(BootMs, Username)>,
}

impl NegativeCache {
    /// Notes that nobody was registered as `name` at `now`.
    pub(super) fn insert(&mut self, name: &Username, now: BootMs) {
        self.expire(now);
        if self.names.contains(name) {
            return;
        }
        if self.by_age.len() == MAX_NAMES {
            self.drop_oldest();
        }
        self.names.insert(name.clone());
        self.by_age.push_back((now, name.clone()));
    }

    /// Whether `name` was missed a moment before `now`.
    pub(super) fn contains(&mut self, name: &Username, now: BootMs) -> bool {
        self.expire(now);
        self.names.contains(name)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn expire(&mut self, now: BootMs) {
        while self.by_age.front().is_some_and(|(added_at, _)| now.since(*added_at) >= TTL_MS) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, name)) = self.by_age.pop_front() {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_forgotten_exactly_after_its_time() {
        let mut cache = NegativeCache::default();
        let name = Username::parse("nobody").unwrap();
        cache.insert(&name, BootMs(10));
        assert!(cache.contains(&name, BootMs(10 + TTL_MS - 1)));
        assert!(!cache.contains(&name, BootMs(10 + TTL_MS)));
    }

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let mut cache = NegativeCache::default();
        let name = |n: usize| Username::parse(&format!("n{n}")).unwrap();
        (0..=MAX_NAMES).for_each(|n| cache.insert(&name(n), BootMs(0)));
        assert_eq!((cache.names.len(), cache.by_age.len()), (MAX_NAMES, MAX_NAMES));
        assert!(!cache.contains(&name(0), BootMs(0)));
        assert!(cache.contains(&name(1), BootMs(0)));
        assert!(cache.contains(&name(MAX_NAMES), BootMs(0)));
    }
}
