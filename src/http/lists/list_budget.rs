//! List budget: a fair pool that limits the memory of lists that are built or sent. Images have a
//! budget of their own, because they wait for the bucket, and lists do not.
//!
//! Under overload, lists are rejected first, after [`MAX_LIST_WAIT`]. Heartbeats and registrations
//! take nothing from this budget. If slow readers of one client hold it, they lose their
//! connections to the readers of other clients.
//!
//! Invariant: a request claims all its permits at once. It never holds some of them while it waits
//! for others. Otherwise, clients that each hold a part of what they need would block one another.

use crate::fair_pool::{Claim, FairPool, Piece, PieceProgress};
use crate::http::error::ApiError;
use crate::http::limits::{LIST_PERMIT_BYTES, MAX_LIST_WAIT, MAX_PERMITS_PER_LIST, MAX_WAITING_REQUESTS};
use crate::http::pool_client::PoolClient;

/// The budget. Clones share one state.
#[derive(Clone)]
pub(in crate::http) struct ListBudget(FairPool);

/// The permits of one list. Dropping them returns them to the budget.
pub(in crate::http) struct ListPermit {
    progress: PieceProgress,
    permits: usize,
    _piece: Piece,
}

impl ListBudget {
    /// A budget of `permits` permits.
    pub(super) fn new(permits: usize) -> Self {
        Self(FairPool::new(permits, MAX_WAITING_REQUESTS))
    }

    /// Takes the permits for a list of `bytes` bytes, at least one.
    ///
    /// # Errors
    /// `overloaded` if they do not become free within [`MAX_LIST_WAIT`], or if another client needs
    /// the connection.
    pub(in crate::http) async fn acquire(&self, client: &PoolClient, bytes: usize) -> Result<ListPermit, ApiError> {
        let progress = self.0.new_progress();
        // The list must be built first.
        progress.set_working();
        let permits = permits_for(bytes);
        let claim = Claim::displaceable(client.block(), progress.clone(), client.connection.0.clone()).units(permits);
        let piece = self.0.acquire(claim, MAX_LIST_WAIT).await.map_err(|_| ApiError::Overloaded)?;
        Ok(ListPermit { progress, permits, _piece: piece })
    }

    /// Builds something for one reader, with permits that cover it. Its length is not known before.
    /// If it needs more than one permit, it is dropped with the permit, and is built again with
    /// enough of them. So what a request has built takes memory only while it has its permits.
    ///
    /// # Errors
    /// Those of [`Self::acquire`] and of `build`.
    pub(super) async fn build_within<T, B>(
        &self,
        client: &PoolClient,
        build: impl Fn() -> B,
        length: impl Fn(&T) -> usize,
    ) -> Result<(T, ListPermit), ApiError>
    where
        B: Future<Output = Result<T, ApiError>>,
    {
        let mut bytes = 0;
        loop {
            let permit = self.acquire(client, bytes).await?;
            let content = build().await?;
            bytes = length(&content);
            if permit.covers(bytes) {
                return Ok((content, permit));
            }
        }
    }

    /// Number of free permits.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.0.free()
    }
}

impl ListPermit {
    /// Records that the client must read a part of the list now.
    pub(super) fn note_part_sent(&self) {
        self.progress.set_waiting();
    }

    fn covers(&self, bytes: usize) -> bool {
        permits_for(bytes) <= self.permits
    }
}

fn permits_for(bytes: usize) -> usize {
    bytes.div_ceil(LIST_PERMIT_BYTES).clamp(1, MAX_PERMITS_PER_LIST)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::http::params::ClientAddr;
    use crate::http::pool_client::DisplacedConnection;

    fn client(n: u8) -> PoolClient {
        PoolClient { addr: ClientAddr([10, 0, 0, n].into()), connection: DisplacedConnection::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn readers_of_long_lists_wait_for_one_another_and_do_not_block_one_another() {
        // Each of the lists needs three permits, and there are enough for two of them at once.
        let budget = ListBudget(FairPool::new(7, 100));
        let held = budget.acquire(&client(99), 7 * LIST_PERMIT_BYTES).await.unwrap();
        let clients: Vec<_> = (0..10).map(client).collect();
        let mut readers: Vec<_> = clients
            .iter()
            .map(|client| Box::pin(budget.build_within(client, async || Ok(3 * LIST_PERMIT_BYTES), |bytes| *bytes)))
            .collect();
        assert!(readers.iter_mut().all(|reader| reader.now_or_never().is_none()));
        drop(held);
        // No time passes, so no reader is rejected.
        for _ in 0..100 {
            readers.retain_mut(|reader| match reader.now_or_never() {
                Some(read) => read.is_err(),
                None => true,
            });
        }
        assert_eq!(readers.len(), 0, "all have read");
        assert_eq!(budget.available(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_ends_at_once_when_its_connection_is_displaced() {
        let (budget, client) = (ListBudget(FairPool::new(1, 4)), client(1));
        let _held = budget.acquire(&client, 1).await.unwrap();
        let mut waiting = Box::pin(budget.acquire(&client, 1));
        assert!((&mut waiting).now_or_never().is_none());
        client.connection.0.cancel();
        assert!(matches!(waiting.now_or_never(), Some(Err(ApiError::Overloaded))));
    }
}
