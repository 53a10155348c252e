//! Key ring of a node: the pairs that it read from the bucket, and the one that it presents. Pure.
//!
//! Rotation: a new pair is accepted as soon as this node has read it, and presented some minutes
//! later, when all other nodes have read it too. A pair that was deleted from the bucket is neither
//! accepted nor presented any more.

use std::collections::BTreeMap;

use rollcall_core::BootMs;
use rollcall_election::NodeKeyPair;

/// Time between the first read of a new pair and its first use, in milliseconds. Five reads of the
/// bucket.
pub(super) const PRESENT_AFTER_MS: u64 = 5 * 60 * 1000;

/// The pairs of the cluster, by their numbers.
///
/// Invariant: it is never empty, and `presented` is one of the pairs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct NodeKeyRing {
    pairs: BTreeMap<u32, ReadPair>,
    presented: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct ReadPair {
    pair: NodeKeyPair,
    first_read: BootMs,
}

impl NodeKeyRing {
    /// The ring of a node that starts. `None` if there is no pair.
    pub(super) fn new(pairs: BTreeMap<u32, NodeKeyPair>, now: BootMs) -> Option<Self> {
        let first_read = now;
        let presented = *pairs.keys().next()?;
        let pairs = pairs.into_iter().map(|(number, pair)| (number, ReadPair { pair, first_read })).collect();
        Some(Self { pairs, presented })
    }

    /// The number of the pair that this node presents.
    pub(super) fn presented_number(&self) -> u32 {
        self.presented
    }

    /// The pair that this node presents.
    pub(super) fn presented(&self) -> &NodeKeyPair {
        &self.pairs[&self.presented].pair
    }

    /// The numbers of all pairs that this node accepts, ascending.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.pairs.keys().copied()
    }

    /// The pair with this number, if this node accepts it.
    pub(super) fn pair(&self, number: u32) -> Option<&NodeKeyPair> {
        self.pairs.get(&number).map(|read| &read.pair)
    }

    /// All pairs that this node accepts.
    pub(super) fn accepted(&self) -> impl Iterator<Item = &NodeKeyPair> {
        self.pairs.values().map(|read| &read.pair)
    }

    /// Takes over the pairs that the bucket has now. Returns false and changes nothing if there are
    /// none: a node without a pair could not link to any other.
    pub(super) fn update(&mut self, pairs: BTreeMap<u32, NodeKeyPair>, now: BootMs) -> bool {
        if pairs.is_empty() {
            return false;
        }
        let mut before = std::mem::take(&mut self.pairs);
        self.pairs = pairs
            .into_iter()
            .map(|(number, pair)| {
                let known = before.remove(&number).filter(|read| read.pair == pair);
                (number, known.unwrap_or(ReadPair { pair, first_read: now }))
            })
            .collect();
        // The newest pair that all nodes know. While there is none, the oldest: a node that starts
        // reads all pairs at once, and the others know the oldest for certain.
        let is_known_to_all = |read: &ReadPair| now.since(read.first_read) >= PRESENT_AFTER_MS;
        let known_to_all = self.pairs.iter().rev().find(|(_, read)| is_known_to_all(read));
        let oldest = self.pairs.iter().next();
        self.presented = *known_to_all.or(oldest).expect("there is a pair").0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(numbers: &[u32]) -> BTreeMap<u32, NodeKeyPair> {
        let pair = |number: u32| NodeKeyPair::from_der(number.to_be_bytes().to_vec(), Vec::new());
        numbers.iter().map(|number| (*number, pair(*number))).collect()
    }

    fn ring(numbers: &[u32]) -> NodeKeyRing {
        NodeKeyRing::new(pairs(numbers), BootMs(0)).unwrap()
    }

    fn update(ring: &mut NodeKeyRing, numbers: &[u32], now: u64) -> u32 {
        assert!(ring.update(pairs(numbers), BootMs(now)));
        assert_eq!(ring.accepted().count(), numbers.len());
        ring.presented_number()
    }

    #[test]
    fn a_new_pair_is_accepted_at_once_and_presented_exactly_five_minutes_later() {
        let mut ring = ring(&[1]);
        assert_eq!(update(&mut ring, &[1, 2], 1000), 1);
        assert_eq!(update(&mut ring, &[1, 2], 1000 + PRESENT_AFTER_MS - 1), 1);
        assert_eq!(update(&mut ring, &[1, 2], 1000 + PRESENT_AFTER_MS), 2);
        assert_eq!(update(&mut ring, &[2], 1001 + PRESENT_AFTER_MS), 2);
    }

    #[test]
    fn a_pair_that_is_alone_is_presented_at_once() {
        assert_eq!(ring(&[7]).presented_number(), 7);
        assert_eq!(update(&mut ring(&[1]), &[2], 1), 2);
    }

    #[test]
    fn a_node_that_starts_during_a_rotation_presents_the_pair_that_all_know() {
        let mut ring = ring(&[1, 2]);
        assert_eq!(ring.presented_number(), 1);
        assert_eq!(update(&mut ring, &[1, 2], PRESENT_AFTER_MS), 2);
    }

    /// Three nodes read the bucket once a minute, each at its own second. One of them restarts. The
    /// old pair is deleted ten minutes after both the new pair was made and the node was restarted.
    #[test]
    fn during_a_rotation_every_node_accepts_what_the_others_present() {
        const READ_INTERVAL_MS: u64 = PRESENT_AFTER_MS / 5;
        let read_at = [0, 1000, READ_INTERVAL_MS - 1000];
        for restart in (1000..2 * PRESENT_AFTER_MS).step_by(17_000) {
            let deleted = restart + 2 * PRESENT_AFTER_MS;
            let stored = |now| pairs(if now < deleted { &[1, 2] } else { &[2] });
            let mut rings = [(); 3].map(|()| ring(&[1]));
            for now in (0..deleted + 2 * READ_INTERVAL_MS).step_by(1000) {
                if now == restart {
                    rings[0] = NodeKeyRing::new(stored(now), BootMs(now)).unwrap();
                }
                for (ring, second) in rings.iter_mut().zip(read_at) {
                    assert!(now % READ_INTERVAL_MS != second || ring.update(stored(now), BootMs(now)));
                }
                for other in &rings {
                    let is_accepted = |ring: &NodeKeyRing| ring.accepted().any(|pair| pair == other.presented());
                    assert!(rings.iter().all(is_accepted), "restart at {restart}, now {now}: {rings:?}");
                }
            }
            assert!(rings.iter().all(|ring| ring.presented_number() == 2 && ring.accepted().count() == 1));
        }
    }

    #[test]
    fn a_pair_that_was_replaced_counts_as_new() {
        let mut ring = ring(&[1, 2]);
        let mut replaced = pairs(&[1, 2]);
        replaced.insert(2, NodeKeyPair::from_der(vec![9], Vec::new()));
        assert!(ring.update(replaced, BootMs(PRESENT_AFTER_MS)));
        assert_eq!(ring.presented_number(), 1);
    }

    #[test]
    fn an_empty_bucket_changes_nothing() {
        let mut ring = ring(&[1]);
        let before = ring.clone();
        assert!(!ring.update(BTreeMap::new(), BootMs(1)));
        assert_eq!(ring, before);
        assert_eq!(NodeKeyRing::new(BTreeMap::new(), BootMs(0)), None);
    }
}
