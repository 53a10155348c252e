//! Constants of an election, and the durations derived from them.

use crate::process::NodeId;
use rollcall_core::{Load, Timings};

/// Values that do not change while a node runs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Rules {
    /// This node.
    pub me: NodeId,
    /// Number of nodes in the cluster.
    pub nodes: usize,
    /// Timings, equal on every node. V is `election_timeout_min_ms`.
    pub timings: Timings,
    /// Whether an orderly end of a link proves that the process at its other end is dead (rule 5).
    pub trust_end_of_stream: bool,
}

/// Random number from 0 to 999, new for each event.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Entropy(pub u16);

/// Largest number of doublings of the pause after lost rounds. The limit keeps the pause short, so
/// that a cluster that regains its majority elects a leader quickly.
const MAX_DOUBLINGS: u32 = 4;

impl Rules {
    /// Number of nodes in a strict majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.nodes / 2 + 1
    }

    /// L, the length of the lease: 5/6 of V. Two leases cannot overlap while the clock rates differ
    /// by less than a fifth (V/L).
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        self.timings.election_timeout_min_ms * 5 / 6
    }

    /// Length of a promise from the receipt of the heartbeat: V plus one, because the receipt time
    /// is rounded down to milliseconds.
    pub(super) fn promise_duration_ms(&self) -> u64 {
        self.timings.election_timeout_min_ms + 1
    }

    /// Time after a restart in which a vote of the earlier process can still count, clock skew
    /// included.
    pub(super) fn vote_lifetime_ms(&self) -> u64 {
        self.timings.net_timeout_ms * 5 / 4
    }

    /// Rule 6: how long a follower waits for a silent leader. The load has more weight (7) than the
    /// random number (3), so that a less loaded node asks first.
    pub(super) fn election_timeout_ms(&self, load: Load, entropy: Entropy) -> u64 {
        let span = self.timings.election_timeout_max_ms.saturating_sub(self.timings.election_timeout_min_ms);
        let share = 7 * u64::from(load.permille()) + 3 * u64::from(entropy.0);
        self.timings.election_timeout_min_ms + span * share / 10_000
    }

    /// Pause before a campaign when it is known that no node leads. It grows with the load, so that
    /// a less loaded node campaigns first.
    pub(super) fn leaderless_pause_ms(&self, load: Load, entropy: Entropy) -> u64 {
        let share = 4 * u64::from(load.permille()) + 2 * u64::from(entropy.0);
        self.timings.election_retry_ms * share / 10_000
    }

    /// Rule 8: pause after `lost_rounds` lost rounds in a row. It doubles with each lost round. A
    /// random factor from 0.5 to 1.5 is applied to it.
    pub(super) fn backoff_ms(&self, lost_rounds: u8, entropy: Entropy) -> u64 {
        let pause = self.timings.election_retry_ms << u32::from(lost_rounds).min(MAX_DOUBLINGS);
        (pause / 2 + pause * u64::from(entropy.0) / 1000).max(1)
    }

    /// Wait for votes, or for a candidate that got this node's vote: the pause after a
    /// lost round, plus time for a few disk writes.
    pub(super) fn vote_timeout_ms(&self, lost_rounds: u8, entropy: Entropy) -> u64 {
        3 * self.timings.election_retry_ms + self.backoff_ms(lost_rounds, entropy)
    }

    /// Longest time that any rule looks back, in milliseconds. No rule distinguishes two heartbeats
    /// or elections that are older. For the model check.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn max_lookback_ms(&self) -> u64 {
        let heartbeats = self.timings.heartbeat_interval_ms.saturating_mul(2);
        // `u64::MAX` switches handovers off. Then no rule looks back for terms.
        let terms = self.timings.leader_term_ms.checked_mul(2).unwrap_or(0);
        self.timings.election_timeout_min_ms.max(heartbeats).max(terms) + 1
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The documented defaults for a cluster of `nodes` nodes, on node `me`.
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
    fn a_light_node_always_asks_before_a_much_more_loaded_one() {
        let rules = defaults(0, 3);
        let light_at_worst = rules.election_timeout_ms(Load::from_permille(100), Entropy(999));
        let heavy_at_best = rules.election_timeout_ms(Load::from_permille(600), Entropy(0));
        assert!(light_at_worst < heavy_at_best, "{light_at_worst} {heavy_at_best}");
    }

    #[test]
    fn the_election_timeout_is_between_min_and_max() {
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
