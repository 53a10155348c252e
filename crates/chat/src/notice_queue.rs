//! Bounded queue of notices to the user.

use tokio::sync::mpsc;

use super::byte_budget::{ByteBudget, HeldBytes};
use super::engine::Notice;

/// Capacity of the queue, in notices. Further notices are dropped.
const NOTICE_QUEUE: usize = 64 * 1024;
/// Capacity of the queue, in bytes. Further notices are dropped.
const NOTICE_QUEUE_BYTES: u32 = 16 * 1024 * 1024;

/// Sending end of the queue.
#[derive(Debug)]
pub(super) struct NoticeSender {
    notices: mpsc::Sender<(Notice, HeldBytes)>,
    budget: ByteBudget,
}

/// Receiving end of the queue.
#[derive(Debug)]
pub(super) struct NoticeReceiver {
    notices: mpsc::Receiver<(Notice, HeldBytes)>,
    batch: Vec<(Notice, HeldBytes)>,
}

/// An empty queue.
pub(super) fn notice_queue() -> (NoticeSender, NoticeReceiver) {
    let (sender, receiver) = mpsc::channel(NOTICE_QUEUE);
    let budget = ByteBudget::new(NOTICE_QUEUE_BYTES);
    (NoticeSender { notices: sender, budget }, NoticeReceiver { notices: receiver, batch: Vec::new() })
}

impl NoticeSender {
    /// Adds a notice. Returns false if the queue is full.
    pub(super) fn try_send(&self, notice: Notice) -> bool {
        let held = self.budget.try_take(notice.memory_bytes());
        held.is_some_and(|held| self.notices.try_send((notice, held)).is_ok())
    }
}

impl NoticeReceiver {
    /// Waits for notices and appends at most `max` of them to `buffer`. Returns the number
    /// appended; 0 after the end of the sender.
    pub(super) async fn recv_many(&mut self, buffer: &mut Vec<Notice>, max: usize) -> usize {
        let count = self.notices.recv_many(&mut self.batch, max).await;
        buffer.extend(self.batch.drain(..).map(|(notice, _)| notice));
        count
    }

    /// Returns the next notice if there is one in the queue.
    pub(super) fn try_recv(&mut self) -> Option<Notice> {
        self.notices.try_recv().ok().map(|(notice, _)| notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::MAX_TEXT_BYTES;

    #[tokio::test]
    async fn an_unread_queue_is_bounded_in_bytes_and_in_notices() {
        for (length, most) in [(0, NOTICE_QUEUE), (MAX_TEXT_BYTES, NOTICE_QUEUE_BYTES as usize / MAX_TEXT_BYTES)] {
            let (sender, mut receiver) = notice_queue();
            let long = Notice::Rejected { reason: "x".repeat(length) };
            let accepted = (0..=NOTICE_QUEUE).filter(|_| sender.try_send(long.clone())).count();
            assert!(accepted <= most && accepted > most / 2, "{accepted} of {length} bytes");
            let mut buffer = Vec::new();
            assert_eq!(receiver.recv_many(&mut buffer, 10).await, 10);
            assert_eq!((0..20).filter(|_| sender.try_send(long.clone())).count(), 10);
        }
    }
}
