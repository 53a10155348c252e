//! Send queues of all links: what goes to each, and which of them are crowded or full.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::engine::LinkId;
use super::mesh::send_queue::{QueueFull, SendQueue};
use super::peer_id::PeerId;

/// The longest wait for a link whose queue is crowded; everybody waits with it. With the default queue, who does not read
/// 384 KB in this time is given up. The system opens its window in lumps, so in a burst that can be somebody who reads 2 MB a
/// second on average; with 4 MB nobody was seen to be.
const SLOW_LINK_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two looks meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Where what is for a link goes.
pub(super) struct LinkQueue {
    pub(super) peer: PeerId,
    pub(super) queue: SendQueue,
}

/// The lines of all links.
#[derive(Default)]
pub(super) struct SendQueues {
    queues: BTreeMap<LinkId, LinkQueue>,
    /// Links whose queues were found full.
    overflowed: Vec<LinkId>,
    /// Whether a queue was found crowded since the links were last given time to write.
    above_high_water: bool,
}

impl SendQueues {
    /// Adds the line of a new link.
    pub(super) fn insert(&mut self, link: LinkId, peer: PeerId, queue: SendQueue) {
        self.queues.insert(link, LinkQueue { peer, queue });
    }

    /// Takes out the line of a link that ends.
    pub(super) fn remove(&mut self, link: LinkId) -> Option<LinkQueue> {
        self.queues.remove(&link)
    }

    /// Adds a message to the queues of some links; to each by itself while it is to be `alone`.
    pub(super) fn push(&mut self, links: Vec<LinkId>, message: &Bytes, one_per_write: bool) {
        for link in links {
            match self.queues.get(&link).map(|entry| entry.queue.push(message.clone(), one_per_write)) {
                Some(Ok(is_above_high_water)) => self.above_high_water |= is_above_high_water,
                Some(Err(QueueFull)) => self.overflowed.push(link),
                None => {}
            }
        }
    }

    /// A link whose queue was found full.
    pub(super) fn pop_overflowed(&mut self) -> Option<LinkId> {
        self.overflowed.pop()
    }

    /// If a link's queue is crowded, waits until it is not nearly so. Returns the links that made no
    /// room in time.
    pub(super) async fn wait_until_drained(&mut self) -> Vec<LinkId> {
        if !std::mem::take(&mut self.above_high_water) {
            return Vec::new();
        }
        let above_high_water =
            |(link, entry): (&LinkId, &LinkQueue)| entry.queue.is_above_high_water().then_some(*link);
        let mut above_high_water: Vec<LinkId> = self.queues.iter().filter_map(above_high_water).collect();
        let deadline = Instant::now() + SLOW_LINK_TIMEOUT;
        while !above_high_water.is_empty() && Instant::now() < deadline {
            sleep(POLL_INTERVAL).await;
            above_high_water
                .retain(|link| self.queues.get(link).is_some_and(|entry| !entry.queue.is_below_low_water()));
        }
        above_high_water
    }

    /// Ends all queues; what is in them is written still.
    pub(super) fn close(&self) {
        for entry in self.queues.values() {
            entry.queue.close();
        }
    }
}
