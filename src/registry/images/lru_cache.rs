//! LRU cache with a maximum cost. Pure.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values evicted in the order of their last use.
///
/// Invariant: `by_use` has exactly one entry for each key in `entries`, at its `last_use`. The
/// costs add up to `cost`, which is at most `max_cost`.
#[derive(Debug)]
pub(super) struct LruCache<K, V> {
    entries: HashMap<K, CachedValue<V>>,
    by_use: BTreeMap<u64, K>,
    /// Number of uses so far. It orders the entries by their last use.
    use_counter: u64,
    cost: usize,
    max_cost: usize,
}

#[derive(Debug)]
struct CachedValue<V> {
    value: V,
    cost: usize,
    last_use: u64,
}

impl<K: Clone + Eq + Hash, V> LruCache<K, V> {
    /// An empty cache with this maximum cost.
    pub(super) fn new(max_cost: usize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), use_counter: 0, cost: 0, max_cost }
    }

    /// The value of a key, which counts as used.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.use_counter += 1;
        let key = self.by_use.remove(&entry.last_use)?;
        self.by_use.insert(self.use_counter, key);
        entry.last_use = self.use_counter;
        Some(&entry.value)
    }

    /// Inserts or replaces a value. Evicts the least recently used ones if necessary. A value that
    /// costs more than the whole cache is not inserted.
    pub(super) fn insert(&mut self, key: K, value: V, cost: usize) {
        self.remove(&key);
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
        self.by_use.insert(self.use_counter, key.clone());
        self.entries.insert(key, CachedValue { value, cost, last_use: self.use_counter });
    }

    /// Removes a value and returns it.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let CachedValue { value, cost, last_use } = self.entries.remove(key)?;
        self.by_use.remove(&last_use);
        self.cost -= cost;
        Some(value)
    }

    /// Removes all values.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_use.clear();
        self.cost = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_least_recently_used_value_is_evicted() {
        let mut cache = LruCache::new(3);
        (1..=3).for_each(|n| cache.insert(n, n, 1));
        assert_eq!(cache.get(&1), Some(&1));
        cache.insert(4, 4, 1);
        assert_eq!([1, 2, 3, 4].map(|n| cache.get(&n).is_some()), [true, false, true, true]);
    }

    #[test]
    fn a_value_that_costs_more_than_the_cache_evicts_nothing_but_the_previous_value_of_its_key() {
        let mut cache = LruCache::new(3);
        cache.insert(1, "a", 1);
        cache.insert(2, "b", 1);
        cache.insert(1, "c", 4);
        assert_eq!([1, 2].map(|key| cache.get(&key).copied()), [None, Some("b")]);
        assert_eq!(cache.cost, 1);
        cache.clear();
        assert_eq!((cache.get(&2).is_none(), cache.cost, cache.by_use.len()), (true, 0, 0));
    }

    proptest! {
        #[test]
        fn the_cost_stays_within_its_bound_and_is_the_sum_of_the_entries(
            steps in proptest::collection::vec((0_u32..12, 0_usize..900, 0..3), 1..200),
        ) {
            let mut cache = LruCache::new(3000);
            for (key, cost, step) in steps {
                match step {
                    0 => {
                        cache.insert(key, cost, cost);
                        prop_assert_eq!(cache.get(&key), Some(&cost));
                    }
                    1 => drop(cache.get(&key)),
                    _ => drop(cache.remove(&key)),
                }
                prop_assert!(cache.cost <= 3000);
                prop_assert_eq!(cache.cost, cache.entries.values().map(|entry| entry.value).sum::<usize>());
                prop_assert_eq!(cache.by_use.len(), cache.entries.len());
                prop_assert!(cache.by_use.iter().all(|(last_use, key)| cache.entries[key].last_use == *last_use));
            }
        }
    }
}
