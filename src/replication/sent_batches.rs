//! A leader's record of the batches that each follower has.

use std::collections::{BTreeMap, VecDeque};

use crate::registry::RowNo;
use rollcall_core::BootMs;
use rollcall_election::NodeId;

/// Largest number of unacknowledged bytes in flight to one follower. A batch that would exceed it
/// is not sent; the follower pulls it later.
const MAX_IN_FLIGHT_BYTES: usize = 512 * 1024;

/// Time since its last acknowledgement during which a follower counts as alive, in milliseconds.
const FOLLOWER_ALIVE_MS: u64 = 1000;

/// A leader's batches, and the acknowledgements of its followers.
#[derive(Debug, Default)]
pub(super) struct SentBatches {
    /// The number of the last batch.
    pub(super) last_batch: u64,
    followers: BTreeMap<NodeId, FollowerProgress>,
    /// Batches with new users that no majority has acknowledged: the number of the batch, and the
    /// row number up to which it and the batches before it hold all new users.
    unconfirmed: VecDeque<(u64, RowNo)>,
}

/// The batches that one follower has, and those in flight to it.
#[derive(Debug, Default)]
struct FollowerProgress {
    /// The follower has the batches after number `after`, up to and including `up_to`.
    after: u64,
    up_to: u64,
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
    acknowledged_at: BootMs,
}

impl SentBatches {
    /// Records the new users of batch `number`. `new_users` is the row number up to which all new
    /// users have been sent with it; `None` if the batch has no new users.
    pub(super) fn record_batch(&mut self, number: u64, new_users: Option<RowNo>) {
        if let Some(new_users) = new_users {
            self.unconfirmed.push_back((number, new_users));
        }
    }

    /// Whether the last batch, of this many bytes, may be sent to a follower now. If so, its bytes
    /// count as in flight.
    pub(super) fn try_reserve(&mut self, to: NodeId, bytes: usize) -> bool {
        let number = self.last_batch;
        let follower = self.followers.entry(to).or_default();
        if follower.in_flight_bytes + bytes > MAX_IN_FLIGHT_BYTES {
            return false;
        }
        follower.in_flight_bytes += bytes;
        follower.in_flight.push_back((number, bytes));
        true
    }

    /// Records an acknowledgement of the batches after `after`, up to and including `up_to`.
    /// Returns the row number up to which a majority of `nodes` has the new users, if it has grown.
    pub(super) fn handle_ack(
        &mut self,
        by: NodeId,
        (after, up_to): (u64, u64),
        nodes: usize,
        now: BootMs,
    ) -> Option<RowNo> {
        let follower = self.followers.entry(by).or_default();
        (follower.after, follower.up_to, follower.acknowledged_at) = (after, up_to, now);
        while let Some((number, bytes)) = follower.in_flight.front().copied()
            && number <= up_to
        {
            follower.in_flight_bytes -= bytes;
            follower.in_flight.pop_front();
        }
        self.newly_confirmed(nodes)
    }

    /// The row number up to which a majority of `nodes` has the new users, if it has grown.
    pub(super) fn newly_confirmed(&mut self, nodes: usize) -> Option<RowNo> {
        let mut confirmed = None;
        while let Some((number, new_users)) = self.unconfirmed.front().copied() {
            let has_batch = |follower: &&FollowerProgress| follower.after < number && number <= follower.up_to;
            // The leader has every batch, so `nodes / 2` followers make a majority with it.
            if self.followers.values().filter(has_batch).count() < nodes / 2 {
                break;
            }
            confirmed = Some(new_users);
            self.unconfirmed.pop_front();
        }
        confirmed
    }

    /// Whether every follower that is alive has every batch.
    pub(super) fn is_flushed(&self, now: BootMs) -> bool {
        let mut alive =
            self.followers.values().filter(|follower| now.since(follower.acknowledged_at) < FOLLOWER_ALIVE_MS);
        alive.all(|follower| follower.up_to == self.last_batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_has_bounded_bytes_in_flight_until_it_acknowledges() {
        const NODES: usize = 3;
        let (mut sent, now) = (SentBatches::default(), BootMs(0));
        let (slow, fast) = (NodeId(1), NodeId(2));
        let batch = MAX_IN_FLIGHT_BYTES / 4;
        for round in 0..5 {
            let first = round * 4;
            for number in first + 1..=first + 4 {
                sent.last_batch = number;
                assert!(sent.try_reserve(fast, batch), "batch {number}");
                assert_eq!(sent.try_reserve(slow, batch), round == 0, "batch {number}");
            }
            sent.last_batch += 1;
            assert!(!sent.try_reserve(fast, 1) && !sent.try_reserve(slow, 1));
            // One acknowledged batch allows one more.
            sent.handle_ack(fast, (0, first + 1), NODES, now);
            assert!(!sent.try_reserve(fast, batch + 1) && sent.try_reserve(fast, batch));
            sent.handle_ack(fast, (0, first + 5), NODES, now);
        }
    }
}
