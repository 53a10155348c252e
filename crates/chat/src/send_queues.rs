//! Send queues of all links, and the backpressure: the driver waits while a queue is too full.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::engine::LinkId;
use super::mesh::ChatHeader;
use super::mesh::send_queue::{QueueFull, SendMode, SendQueue};
use super::peer_id::PeerId;

/// Longest wait for a send queue to drain. The driver waits at the same time for all queues above
/// their high-water mark. With the default queue size, a peer must read 384 KB in this time, or its
/// link is closed. The operating system opens the TCP window in large steps. So in a burst, this
/// can close the link of a peer that reads 2 MB per second on average; at 4 MB per second this was
/// never observed.
const SLOW_LINK_TIMEOUT: Duration = Duration::from_millis(500);
/// Time between two checks of the queues during the wait.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Send queue of one link, with the peer at the other end.
pub(super) struct LinkQueue {
    pub(super) peer: PeerId,
    pub(super) queue: SendQueue,
}

/// Send queues by link.
#[derive(Default)]
pub(super) struct SendQueues {
    queues: BTreeMap<LinkId, LinkQueue>,
    /// Links whose queue was full at a push, and which the driver has not closed yet.
    overflowed: Vec<LinkId>,
    /// Whether a queue rose above its high-water mark since the last wait.
    above_high_water: bool,
}

impl SendQueues {
    /// Adds the queue of a new link.
    pub(super) fn insert(&mut self, link: LinkId, peer: PeerId, queue: SendQueue) {
        self.queues.insert(link, LinkQueue { peer, queue });
    }

    /// Removes the queue of a link that was closed.
    pub(super) fn remove(&mut self, link: LinkId) -> Option<LinkQueue> {
        self.queues.remove(&link)
    }

    /// Adds a message to the queues of `links`.
    pub(super) fn push(&mut self, links: Vec<LinkId>, message: &Bytes, mode: SendMode) {
        for link in links {
            match self.queues.get(&link).map(|entry| entry.queue.push(message.clone(), mode)) {
                Some(Ok(is_above_high_water)) => self.above_high_water |= is_above_high_water,
                Some(Err(QueueFull)) => self.overflowed.push(link),
                None => {}
            }
        }
    }

    /// Removes a chat message from the queue of a link on which it was received.
    pub(super) fn withdraw(&self, link: LinkId, header: &ChatHeader) {
        if let Some(entry) = self.queues.get(&link) {
            entry.queue.withdraw(header);
        }
    }

    /// Takes a link whose queue was full at a push, if there is one.
    pub(super) fn pop_overflowed(&mut self) -> Option<LinkId> {
        self.overflowed.pop()
    }

    /// If a queue is above its high-water mark, waits until all such queues are below their
    /// low-water mark. Returns the links whose queue did not drain within [`SLOW_LINK_TIMEOUT`].
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

    /// The number of messages that wait because of the pauses between two writes, by peer. Peers
    /// without such messages are left out.
    pub(super) fn paced_messages(&self) -> BTreeMap<PeerId, usize> {
        let mut waiting = BTreeMap::new();
        for LinkQueue { peer, queue } in self.queues.values() {
            match queue.paced_messages() {
                0 => {}
                messages => *waiting.entry(*peer).or_default() += messages,
            }
        }
        waiting
    }

    /// Closes all queues. The connections still write the queued messages.
    pub(super) fn close(&self) {
        for entry in self.queues.values() {
            entry.queue.close();
        }
    }
}
