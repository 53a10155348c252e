//! Names that were just looked up in vain, so that a client that goes on asking does not cost a read each time.

use std::collections::{HashSet, VecDeque};

use rollcall_core::{BootMs, Username};

/// For how long a miss is remembered: short, since another leader may register the name at any time.
const REMEMBER_MS: u64 = 2000;

/// The most names that are remembered; the oldest makes room.
const MOST: usize = 4096;

/// Invariant: `names` and `ages` hold the same names, each once, the oldest in front.
#[derive(Debug, Default)]
pub(super) struct NegativeCache {
    names: HashSet<Username>,
    ages: VecDeque<(BootMs, Username)>,
}

impl NegativeCache {
    /// Notes that nobody was registered as `name` at `now`.
    pub(super) fn insert(&mut self, name: &Username, now: BootMs) {
        self.expire(now);
        if self.names.contains(name) {
            return;
        }
        if self.ages.len() == MOST {
            self.drop_oldest();
        }
        self.names.insert(name.clone());
        self.ages.push_back((now, name.clone()));
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
        while self.ages.front().is_some_and(|(missed_at, _)| now.since(*missed_at) >= REMEMBER_MS) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, name)) = self.ages.pop_front() {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_forgotten_exactly_after_its_time() {
        let mut misses = NegativeCache::default();
        let name = Username::parse("nobody").unwrap();
        misses.insert(&name, BootMs(10));
        assert!(misses.contains(&name, BootMs(10 + REMEMBER_MS - 1)));
        assert!(!misses.contains(&name, BootMs(10 + REMEMBER_MS)));
    }

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let mut misses = NegativeCache::default();
        let name = |n: usize| Username::parse(&format!("n{n}")).unwrap();
        (0..=MOST).for_each(|n| misses.insert(&name(n), BootMs(0)));
        assert_eq!((misses.names.len(), misses.ages.len()), (MOST, MOST));
        assert!(!misses.contains(&name(0), BootMs(0)));
        assert!(misses.contains(&name(1), BootMs(0)));
        assert!(misses.contains(&name(MOST), BootMs(0)));
    }
}
