//! The fixed numbers of an election and the waits that follow from them.

use crate::process::NodeId;
use rollcall_core::{Load, Timings};

/// What never changes while a node runs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Rules {
    /// This node.
    pub me: NodeId,
    /// How many nodes the cluster has.
    pub nodes: usize,
    /// The same on every node. V is `election_timeout_min_ms`.
    pub timings: Timings,
    /// Whether an orderly end of a link proves that the process at its other end is dead (rule 5).
    pub trust_end_of_stream: bool,
}

/// A number from 0 to 999, drawn anew for each event.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Entropy(pub u16);

/// A lost round doubles the pause at most this many times, so that a cluster that comes back is found quickly.
const MAX_DOUBLINGS: u32 = 4;

impl Rules {
    /// How many nodes are a strict majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.nodes / 2 + 1
    }

    /// L, the lease: 5/6 of V, so that clocks may differ by almost a fifth in speed before two leases could overlap.
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        self.timings.election_timeout_min_ms * 5 / 6
    }

    /// How long a promise lasts from its receipt: V, plus one because receipts are rounded down to whole milliseconds.
    pub(super) fn promise_duration_ms(&self) -> u64 {
        self.timings.election_timeout_min_ms + 1
    }

    /// How long after a start no vote that was given before it can still be counted, clocks apart
    /// included.
    pub(super) fn vote_lifetime_ms(&self) -> u64 {
        self.timings.net_timeout_ms * 5 / 4
    }

    /// Rule 6: how long to bear a leader's silence. Load weighs more than chance, so that a light node asks first.
    pub(super) fn election_timeout_ms(&self, load: Load, entropy: Entropy) -> u64 {
        let span = self.timings.election_timeout_max_ms.saturating_sub(self.timings.election_timeout_min_ms);
        let share = 7 * u64::from(load.permille()) + 3 * u64::from(entropy.0);
        self.timings.election_timeout_min_ms + span * share / 10_000
    }

    /// The pause before standing when it is known that nobody leads: long enough for a lighter node to come first.
    pub(super) fn leaderless_pause_ms(&self, load: Load, entropy: Entropy) -> u64 {
        let share = 4 * u64::from(load.permille()) + 2 * u64::from(entropy.0);
        self.timings.election_retry_ms * share / 10_000
    }

    /// Rule 8: the pause after the `lost_rounds`-th round in a row, with jitter of one half to both sides.
    pub(super) fn backoff_ms(&self, lost_rounds: u8, entropy: Entropy) -> u64 {
        let pause = self.timings.election_retry_ms << u32::from(lost_rounds).min(MAX_DOUBLINGS);
        (pause / 2 + pause * u64::from(entropy.0) / 1000).max(1)
    }

    /// How long to wait for votes, or for a candidate that got ours: a few disk writes more than after a lost round.
    pub(super) fn vote_timeout_ms(&self, lost_rounds: u8, entropy: Entropy) -> u64 {
        3 * self.timings.election_retry_ms + self.backoff_ms(lost_rounds, entropy)
    }

    /// After this long it makes no difference any more when a heartbeat was sent or a term won: every rule that looks
    /// back looks back less far. For the model check.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn max_lookback_ms(&self) -> u64 {
        let beats = self.timings.heartbeat_interval_ms.saturating_mul(2);
        // Whoever never looks for a lighter node does not look back for one either.
        let terms = self.timings.leader_term_ms.checked_mul(2).unwrap_or(0);
        self.timings.election_timeout_min_ms.max(beats).max(terms) + 1
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The documented defaults for `nodes` nodes, seen from `me`.
    pub(in crate::machine) fn defaults(me: u8, nodes: usize) -> Rules {
        Rules {
            me: NodeId(me),
            nodes,
            timings: Timings {
                heartbeat_interval_ms: 1000,
                election_timeout_min_ms: 3000,
                election_timeout_max_ms: 5000,
                leader_term_ms: 10_000,
                net_timeout_ms: 2000,
                election_retry_ms: 100,
            },
            trust_end_of_stream: true,
        }
    }

    #[test]
    fn a_light_node_always_asks_before_a_much_heavier_one() {
        let rules = defaults(0, 3);
        let light_at_worst = rules.election_timeout_ms(Load::from_permille(100), Entropy(999));
        let heavy_at_best = rules.election_timeout_ms(Load::from_permille(600), Entropy(0));
        assert!(light_at_worst < heavy_at_best, "{light_at_worst} {heavy_at_best}");
    }

    #[test]
    fn silence_is_borne_between_min_and_max() {
        let rules = defaults(0, 3);
        assert_eq!(rules.election_timeout_ms(Load::from_permille(0), Entropy(0)), 3000);
        assert!(rules.election_timeout_ms(Load::from_permille(1000), Entropy(999)) <= 5000);
    }

    #[test]
    fn the_backoff_doubles_and_is_capped() {
        let rules = defaults(0, 3);
        assert_eq!(rules.backoff_ms(0, Entropy(500)), 100);
        assert_eq!(rules.backoff_ms(1, Entropy(500)), 200);
        assert_eq!(rules.backoff_ms(4, Entropy(500)), 1600);
        assert_eq!(rules.backoff_ms(200, Entropy(500)), 1600);
    }

    #[test]
    fn majorities_are_strict() {
        assert_eq!([1, 2, 3, 4, 5, 7].map(|nodes| defaults(0, nodes).majority()), [1, 2, 2, 3, 3, 4]);
    }
}
