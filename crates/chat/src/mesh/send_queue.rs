//! Bounded send queue of one link. A peer that reads too slowly fills its queue. Then its link is
//! closed, so that a slow peer does not delay the others for long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::chat_fast_path::ChatHeader;
use super::framer::MAX_MESSAGE_BYTES;
use super::message::{MessageBody, MessageFormat};

/// Largest size of several messages that are joined into one write, in bytes.
const MAX_WRITE_BYTES: usize = 64 * 1024;

/// Place of a message in the queue, and whether it shares a write with others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SendMode {
    /// Joined with other messages where possible: the peer parses a stream.
    Stream,
    /// In a write of its own, with a pause before it: the peer parses each read as one message.
    OnePerWrite,
    /// As [`Self::OnePerWrite`], but before the messages in the queue. It replaces an earlier such
    /// message that was not written yet.
    Ahead,
}

/// Handle to one queue. The driver appends to it, and the connection writes from it.
#[derive(Clone, Debug)]
pub(crate) struct SendQueue(Arc<SharedQueue>);

/// Queue that its handles share.
#[derive(Debug)]
struct SharedQueue {
    queue: Mutex<QueueState>,
    /// Notified when a message is added or the queue is closed.
    changed: Notify,
    /// Cancelled when the queue is discarded.
    discarded: CancellationToken,
    max_bytes: usize,
}

/// Content and state of a queue.
#[derive(Debug, Default)]
struct QueueState {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// The message to write before all others.
    ahead: Option<Bytes>,
    is_closed: bool,
    /// Whether each message needs a write of its own, because the peer parses each read as one
    /// message.
    one_per_write: bool,
}

/// Error: the queue has no room; the message was not added.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct QueueFull;

impl SendMode {
    /// The mode for a message to a peer that understands this format. A heartbeat must not wait
    /// behind the chat of a burst: some programs end a link on which nothing arrived for 5 s.
    pub(crate) fn of(body: &MessageBody, format: MessageFormat) -> Self {
        match body {
            _ if format.extended => Self::Stream,
            MessageBody::Heartbeat { .. } => Self::Ahead,
            _ => Self::OnePerWrite,
        }
    }
}

impl SendQueue {
    /// Creates a queue with a capacity of `messages` messages of the largest size, counted in
    /// bytes.
    pub(crate) fn new(messages: usize) -> Self {
        let max_bytes = messages.max(1).saturating_mul(MAX_MESSAGE_BYTES);
        let discarded = CancellationToken::new();
        Self(Arc::new(SharedQueue { queue: Mutex::default(), changed: Notify::new(), discarded, max_bytes }))
    }

    /// Adds a message. Its mode decides for all messages in the queue whether each is written
    /// separately.
    ///
    /// Returns whether the queue is above its high-water mark: more than half full. If each message
    /// is written separately, the result is always false: such a queue fills because this end
    /// pauses between two writes, not because the peer reads slowly.
    ///
    /// # Errors
    /// [`QueueFull`] if the message does not fit.
    pub(crate) fn push(&self, message: Bytes, mode: SendMode) -> Result<bool, QueueFull> {
        let mut queue = self.queue();
        if mode == SendMode::Ahead {
            queue.ahead = Some(message);
            queue.one_per_write = true;
            drop(queue);
            self.0.changed.notify_one();
            return Ok(false);
        }
        if queue.bytes + message.len() > self.0.max_bytes {
            return Err(QueueFull);
        }
        queue.bytes += message.len();
        queue.messages.push_back(message);
        queue.one_per_write = mode == SendMode::OnePerWrite;
        let is_above_high_water = queue.is_above_high_water(self.0.max_bytes);
        drop(queue);
        self.0.changed.notify_one();
        Ok(is_above_high_water)
    }

    /// Removes a chat message that the peer has sent itself meanwhile. Only a queue that this end
    /// delays holds one for long.
    pub(crate) fn withdraw(&self, header: &ChatHeader) {
        let mut queue = self.queue();
        let is_same =
            |message: &Bytes| ChatHeader::read(message).is_some_and(|queued| queued.is_of_same_message(header));
        if queue.one_per_write
            && let Some(index) = queue.messages.iter().position(is_same)
            && let Some(message) = queue.messages.remove(index)
        {
            queue.bytes -= message.len();
        }
    }

    /// Closes the queue. The connection still writes the queued messages.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
        self.0.changed.notify_one();
    }

    /// Closes the queue and drops the queued messages.
    pub(crate) fn discard(&self) {
        *self.queue() = QueueState { is_closed: true, ..QueueState::default() };
        self.0.discarded.cancel();
        self.0.changed.notify_one();
    }

    /// Whether the queue is above its high-water mark, as defined at [`SendQueue::push`].
    pub(crate) fn is_above_high_water(&self) -> bool {
        self.queue().is_above_high_water(self.0.max_bytes)
    }

    /// Whether the queue is below its low-water mark: at most an eighth full.
    pub(crate) fn is_below_low_water(&self) -> bool {
        self.queue().bytes <= self.0.max_bytes / 8
    }

    /// Bytes in the queue.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue().bytes
    }

    /// Messages that wait because this end pauses between two writes. A heartbeat does not count.
    pub(crate) fn paced_messages(&self) -> usize {
        let queue = self.queue();
        if queue.one_per_write { queue.messages.len() } else { 0 }
    }

    /// Waits until the queue is discarded.
    pub(super) async fn wait_discarded(&self) {
        self.0.discarded.cancelled().await;
    }

    /// Whether the queue was discarded.
    pub(super) fn is_discarded(&self) -> bool {
        self.0.discarded.is_cancelled()
    }

    /// Waits for the next bytes to write. The flag is true if they must be written separately.
    /// `None` if the queue is closed and empty.
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

    /// Removes the next message. If messages may be joined, also removes as many of the following
    /// ones as fit into one write.
    fn pop_write(&mut self) -> Option<Bytes> {
        if let Some(ahead) = self.ahead.take() {
            return Some(ahead);
        }
        let first = self.messages.pop_front()?;
        self.bytes -= first.len();
        let fits = |next_write: Option<&Bytes>, length: usize| {
            next_write.is_some_and(|bytes| length + bytes.len() <= MAX_WRITE_BYTES)
        };
        if self.one_per_write || !fits(self.messages.front(), first.len()) {
            return Some(first);
        }
        let mut joined = BytesMut::from(&first[..]);
        while fits(self.messages.front(), joined.len()) {
            let Some(next_write) = self.messages.pop_front() else { break };
            self.bytes -= next_write.len();
            joined.extend_from_slice(&next_write);
        }
        Some(joined.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::MeshMessage;
    use super::super::message::tests::chat;
    use super::*;

    #[tokio::test]
    async fn messages_are_joined_once_the_peer_is_known_to_parse_a_stream() {
        let send_queue = SendQueue::new(1);
        for text in ["a", "b", "c"] {
            send_queue.push(Bytes::from(text), SendMode::OnePerWrite).unwrap();
        }
        assert_eq!(send_queue.next_write().await.unwrap(), (Bytes::from("a"), true));
        send_queue.push(Bytes::from("d"), SendMode::Stream).unwrap();
        send_queue.close();
        assert_eq!(send_queue.next_write().await.unwrap(), (Bytes::from("bcd"), false));
        assert_eq!(send_queue.next_write().await, None);
    }

    #[tokio::test]
    async fn a_queue_is_above_its_high_water_mark_when_it_is_more_than_half_full() {
        let send_queue = SendQueue::new(2);
        assert_eq!(send_queue.push(Bytes::from(vec![0; MAX_MESSAGE_BYTES]), SendMode::Stream), Ok(false));
        assert!(!send_queue.is_above_high_water());
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), SendMode::Stream), Ok(true));
        assert!(send_queue.is_above_high_water());
        assert_eq!(
            send_queue.push(Bytes::from_static(b"x"), SendMode::OnePerWrite),
            Ok(false),
            "this end pauses between the writes of such a queue"
        );
        assert!(!send_queue.is_above_high_water());
        assert!(!send_queue.is_below_low_water());
        send_queue.next_write().await.unwrap();
        assert!(send_queue.is_below_low_water());
    }

    #[tokio::test]
    async fn a_heartbeat_to_a_foreign_peer_fits_into_a_full_queue_and_replaces_the_one_before() {
        let (plain, extended) = (MessageFormat::default(), MessageFormat { extended: true });
        let (beat, list) = (MessageBody::heartbeat(None), MessageBody::PeerList(Vec::new()));
        assert_eq!(SendMode::of(&beat, plain), SendMode::Ahead);
        assert_eq!(SendMode::of(&list, plain), SendMode::OnePerWrite);
        assert_eq!([&beat, &list].map(|body| SendMode::of(body, extended)), [SendMode::Stream; 2]);
        let send_queue = SendQueue::new(1);
        send_queue.push(Bytes::from(vec![0; MAX_MESSAGE_BYTES]), SendMode::OnePerWrite).unwrap();
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), SendMode::OnePerWrite), Err(QueueFull));
        for beat in ["one", "two"] {
            assert_eq!(send_queue.push(Bytes::from(beat), SendMode::Ahead), Ok(false));
        }
        assert_eq!(send_queue.next_write().await.unwrap(), (Bytes::from("two"), true));
        assert_eq!(send_queue.next_write().await.unwrap().0.len(), MAX_MESSAGE_BYTES);
        assert_eq!(send_queue.queued_bytes(), 0);
    }

    #[tokio::test]
    async fn a_chat_message_that_a_foreign_peer_has_sent_itself_is_not_written_to_it() {
        for (mode, numbers) in [(SendMode::OnePerWrite, vec![5, 7]), (SendMode::Stream, vec![5, 6, 7])] {
            let send_queue = SendQueue::new(1);
            let message = |number| MeshMessage { number, ..chat("hi") }.write(MessageFormat::default()).unwrap();
            for number in 5..8 {
                send_queue.push(message(number), mode).unwrap();
            }
            for number in [6, 8] {
                send_queue.withdraw(&ChatHeader::read(&message(number)).unwrap());
            }
            let left: Vec<Bytes> = numbers.into_iter().map(message).collect();
            assert_eq!(send_queue.queued_bytes(), left.concat().len());
            let (first, _) = send_queue.next_write().await.unwrap();
            assert!(left.concat().starts_with(&first));
        }
    }

    #[tokio::test]
    async fn a_full_queue_rejects_messages_until_something_is_written() {
        let send_queue = SendQueue::new(2);
        let long = Bytes::from(vec![0; MAX_MESSAGE_BYTES]);
        send_queue.push(long.clone(), SendMode::Stream).unwrap();
        send_queue.push(long.clone(), SendMode::Stream).unwrap();
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), SendMode::Stream), Err(QueueFull));
        send_queue.next_write().await.unwrap();
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), SendMode::Stream), Ok(true));
    }
}
