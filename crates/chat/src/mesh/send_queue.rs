//! What waits to be written on one link. It is bounded: a reader that is too slow loses its link, and nobody waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::framer::MAX_MESSAGE_BYTES;

/// The most bytes that are written at once.
const MAX_WRITE_BYTES: usize = 64 * 1024;

/// The sending end and the writing end of one queue.
#[derive(Clone, Debug)]
pub(crate) struct SendQueue(Arc<SharedQueue>);

#[derive(Debug)]
struct SharedQueue {
    queue: Mutex<QueueState>,
    changed: Notify,
    discarded: CancellationToken,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct QueueState {
    messages: VecDeque<Bytes>,
    bytes: usize,
    is_closed: bool,
    /// Whether the reader takes one read for one message, as far as is known by now.
    one_per_write: bool,
}

/// There is no room; what was to be sent is not in the queue.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct QueueFull;

impl SendQueue {
    /// A queue with room for `messages` of the greatest length; shorter ones take no more room than they need.
    pub(crate) fn new(messages: usize) -> Self {
        let max_bytes = messages.max(1).saturating_mul(MAX_MESSAGE_BYTES);
        let discarded = CancellationToken::new();
        Self(Arc::new(SharedQueue { queue: Mutex::default(), changed: Notify::new(), discarded, max_bytes }))
    }

    /// Adds a message. While each is to be `alone`, it is written by itself, for a reader that takes one read for one
    /// message. What waits goes by what is known of the reader last.
    ///
    /// Whether the queue is crowded now, by a reader that could have read it: one that takes a message at a time gets no more
    /// than it can take. It is, if more than half of the room is taken.
    ///
    /// # Errors
    /// [`QueueFull`], if there is no room.
    pub(crate) fn push(&self, message: Bytes, one_per_write: bool) -> Result<bool, QueueFull> {
        let mut queue = self.queue();
        if queue.bytes + message.len() > self.0.max_bytes {
            return Err(QueueFull);
        }
        queue.bytes += message.len();
        queue.messages.push_back(message);
        queue.one_per_write = one_per_write;
        let is_above_high_water = queue.is_above_high_water(self.0.max_bytes);
        drop(queue);
        self.0.changed.notify_one();
        Ok(is_above_high_water)
    }

    /// Nothing will be added; what is in the queue is still to be written.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
        self.0.changed.notify_one();
    }

    /// Nothing will be added, and what is in the queue is thrown away.
    pub(crate) fn discard(&self) {
        *self.queue() = QueueState { is_closed: true, ..QueueState::default() };
        self.0.discarded.cancel();
        self.0.changed.notify_one();
    }

    /// Whether it is crowded, as [`SendQueue::push`] says.
    pub(crate) fn is_above_high_water(&self) -> bool {
        self.queue().is_above_high_water(self.0.max_bytes)
    }

    /// Whether at most an eighth of the room is taken.
    pub(crate) fn is_below_low_water(&self) -> bool {
        self.queue().bytes <= self.0.max_bytes / 8
    }

    /// How much waits.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue().bytes
    }

    /// Waits until the queue is abandoned.
    pub(super) async fn wait_discarded(&self) {
        self.0.discarded.cancelled().await;
    }

    /// Whether the queue was abandoned.
    pub(super) fn is_discarded(&self) -> bool {
        self.0.discarded.is_cancelled()
    }

    /// The next bytes to write, and whether they are to be alone; `None` at the end.
    pub(super) async fn next_write(&self) -> Option<(Bytes, bool)> {
        loop {
            {
                let mut queue = self.queue();
                if let Some(bytes) = queue.pop_write() {
                    return Some((bytes, queue.one_per_write));
                }
                if queue.is_closed {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn is_above_high_water(&self, max_bytes: usize) -> bool {
        !self.one_per_write && self.bytes > max_bytes / 2
    }

    /// One message that is to be alone, or as many others as fit into one write.
    fn pop_write(&mut self) -> Option<Bytes> {
        let first = self.messages.pop_front()?;
        self.bytes -= first.len();
        let joins = |next_write: Option<&Bytes>, length: usize| {
            next_write.is_some_and(|bytes| length + bytes.len() <= MAX_WRITE_BYTES)
        };
        if self.one_per_write || !joins(self.messages.front(), first.len()) {
            return Some(first);
        }
        let mut joined = BytesMut::from(&first[..]);
        while joins(self.messages.front(), joined.len()) {
            let Some(next_write) = self.messages.pop_front() else { break };
            self.bytes -= next_write.len();
            joined.extend_from_slice(&next_write);
        }
        Some(joined.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_joined_once_the_reader_is_known_to_tell_them_apart() {
        let send_queue = SendQueue::new(1);
        for text in ["a", "b", "c"] {
            send_queue.push(Bytes::from(text), true).unwrap();
        }
        assert_eq!(send_queue.next_write().await.unwrap(), (Bytes::from("a"), true));
        send_queue.push(Bytes::from("d"), false).unwrap();
        send_queue.close();
        assert_eq!(send_queue.next_write().await.unwrap(), (Bytes::from("bcd"), false));
        assert_eq!(send_queue.next_write().await, None);
    }

    #[tokio::test]
    async fn a_queue_is_crowded_when_more_than_half_of_it_is_taken() {
        let send_queue = SendQueue::new(2);
        assert_eq!(send_queue.push(Bytes::from(vec![0; MAX_MESSAGE_BYTES]), false), Ok(false));
        assert!(!send_queue.is_above_high_water());
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), false), Ok(true));
        assert!(send_queue.is_above_high_water());
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), true), Ok(false), "its reader cannot be quicker");
        assert!(!send_queue.is_above_high_water());
        assert!(!send_queue.is_below_low_water());
        send_queue.next_write().await.unwrap();
        assert!(send_queue.is_below_low_water());
    }

    #[tokio::test]
    async fn a_full_queue_takes_nothing_until_something_is_written() {
        let send_queue = SendQueue::new(2);
        let long = Bytes::from(vec![0; MAX_MESSAGE_BYTES]);
        send_queue.push(long.clone(), false).unwrap();
        send_queue.push(long.clone(), false).unwrap();
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), false), Err(QueueFull));
        send_queue.next_write().await.unwrap();
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), false), Ok(true));
    }
}
