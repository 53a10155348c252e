//! Bound in bytes for a queue whose items differ in size. The bound in items alone would allow a
//! queue of large ones to take a hundred times the memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that may wait in one queue. Each item holds its bytes until it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget {
    free: Arc<Semaphore>,
    capacity: u32,
}

/// The bytes of one item.
pub(crate) type HeldBytes = OwnedSemaphorePermit;

impl ByteBudget {
    /// A budget of `capacity` bytes.
    pub(crate) fn new(capacity: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(capacity as usize)), capacity }
    }

    /// Takes the bytes of an item; `None` if the queue has no room. An item that is larger than the
    /// budget takes all of it.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<HeldBytes> {
        Arc::clone(&self.free).try_acquire_many_owned(self.cap(bytes)).ok()
    }

    /// Waits for room and takes the bytes of an item.
    pub(crate) async fn take(&self, bytes: usize) -> HeldBytes {
        let taken = Arc::clone(&self.free).acquire_many_owned(self.cap(bytes)).await;
        taken.expect("the semaphore is never closed")
    }

    fn cap(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_have_room_until_the_budget_is_used_up() {
        let budget = ByteBudget::new(10);
        let (six, four) = (budget.try_take(6).unwrap(), budget.take(4).await);
        assert!(budget.try_take(1).is_none());
        drop((six, four));
        let too_large = budget.take(usize::MAX).await;
        assert!(budget.try_take(1).is_none());
        drop(too_large);
        assert!(budget.try_take(10).is_some());
    }
}
