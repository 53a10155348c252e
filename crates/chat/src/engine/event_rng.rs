//! Random numbers for one event, from a seed that the caller passes in.

/// Generator seeded by the caller for one event (`SplitMix64`). The same seed gives the same
/// numbers.
#[derive(Clone, Copy, Debug)]
pub struct EventRng(pub u64);

impl EventRng {
    /// A number below `bound`, or 0 if `bound` is 0. The modulo bias is below `bound` / 2^64, which
    /// is negligible for delays.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    /// A delay between 80 % and 120 % of `ms`.
    pub(super) fn jittered(&mut self, ms: u64) -> u64 {
        ms - ms / 5 + self.below(ms * 2 / 5 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_changes_a_delay_by_at_most_a_fifth() {
        let mut rng = EventRng(1);
        let delays: Vec<u64> = (0..1000).map(|_| rng.jittered(1000)).collect();
        assert!(delays.iter().all(|delay| (800..=1200).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 850) && delays.iter().any(|delay| *delay > 1150));
        assert_eq!(rng.below(0), 0);
    }
}
