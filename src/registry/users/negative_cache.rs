//! Negative cache: names recently found not to be registered.
//!
//! With it, repeated requests for such a name do not read the bucket each time.

use std::collections::{HashSet, VecDeque};

use rollcall_core::{BootMs, Username};

/// Lifetime of an entry, in milliseconds. Short, because another leader may register the name at
/// any time.
const TTL_MS: u64 = 2000;

/// Maximum number of names; the oldest is evicted.
const MAX_NAMES: usize = 4096;

/// Names known not to be registered.
///
/// Invariant: `names` and `by_age` hold the same names, each once; `by_age` starts with the oldest.
#[derive(Debug, Default)]
pub(super) struct NegativeCache {
    names: HashSet<Username>,
    by_age: VecDeque<(BootMs, Username)>,
}

impl NegativeCache {
    /// Adds a name that was not registered at `now`.
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

    /// Whether `name` is in the cache and not expired at `now`.
    pub(super) fn contains(&mut self, name: &Username, now: BootMs) -> bool {
        self.expire(now);
        self.names.contains(name)
    }

    /// Removes all names.
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
    fn an_entry_expires_exactly_at_its_ttl() {
        let mut cache = NegativeCache::default();
        let name = Username::parse("nobody").unwrap();
        cache.insert(&name, BootMs(10));
        assert!(cache.contains(&name, BootMs(10 + TTL_MS - 1)));
        assert!(!cache.contains(&name, BootMs(10 + TTL_MS)));
    }

    #[test]
    fn a_full_cache_evicts_the_oldest_name() {
        let mut cache = NegativeCache::default();
        let name = |n: usize| Username::parse(&format!("n{n}")).unwrap();
        (0..=MAX_NAMES).for_each(|n| cache.insert(&name(n), BootMs(0)));
        assert_eq!((cache.names.len(), cache.by_age.len()), (MAX_NAMES, MAX_NAMES));
        assert!(!cache.contains(&name(0), BootMs(0)));
        assert!(cache.contains(&name(1), BootMs(0)));
        assert!(cache.contains(&name(MAX_NAMES), BootMs(0)));
    }
}
