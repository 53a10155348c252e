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
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks meanwhile.
const BREATH: Duration = Duration::from_millis(1);

/// Where what is for a link goes.
pub(super) struct LinkQueue {
    pub(super) peer: PeerId,
    pub(super) outbox: SendQueue,
}

/// The lines of all links.
#[derive(Default)]
pub(super) struct SendQueues {
    lines: BTreeMap<LinkId, LinkQueue>,
    /// Links whose queues were found full.
    slow: Vec<LinkId>,
    /// Whether a queue was found crowded since the links were last given time to write.
    crowded: bool,
}

impl SendQueues {
    /// Adds the line of a new link.
    pub(super) fn insert(&mut self, link: LinkId, peer: PeerId, outbox: SendQueue) {
        self.lines.insert(link, LinkQueue { peer, outbox });
    }

    /// Takes out the line of a link that ends.
    pub(super) fn remove(&mut self, link: LinkId) -> Option<LinkQueue> {
        self.lines.remove(&link)
    }

    /// Adds a message to the queues of some links; to each by itself while it is to be `alone`.
    pub(super) fn push(&mut self, links: Vec<LinkId>, message: &Bytes, alone: bool) {
        for link in links {
            match self.lines.get(&link).map(|line| line.outbox.push(message.clone(), alone)) {
                Some(Ok(is_crowded)) => self.crowded |= is_crowded,
                Some(Err(QueueFull)) => self.slow.push(link),
                None => {}
            }
        }
    }

    /// A link whose queue was found full.
    pub(super) fn take_slow(&mut self) -> Option<LinkId> {
        self.slow.pop()
    }

    /// If a link's queue is crowded, waits until it is not nearly so. Returns the links that made no
    /// room in time.
    pub(super) async fn wait_for_room(&mut self) -> Vec<LinkId> {
        if !std::mem::take(&mut self.crowded) {
            return Vec::new();
        }
        let crowded = |(link, line): (&LinkId, &LinkQueue)| line.outbox.is_crowded().then_some(*link);
        let mut crowded: Vec<LinkId> = self.lines.iter().filter_map(crowded).collect();
        let until = Instant::now() + PATIENCE;
        while !crowded.is_empty() && Instant::now() < until {
            sleep(BREATH).await;
            crowded.retain(|link| self.lines.get(link).is_some_and(|line| !line.outbox.is_roomy()));
        }
        crowded
    }

    /// Ends all queues; what is in them is written still.
    pub(super) fn close(&self) {
        for line in self.lines.values() {
            line.outbox.close();
        }
    }
}
