//! List budget: a fair pool that limits the memory of all lists that are built or sent.
//!
//! Under overload, lists are rejected first, after [`MAX_LIST_WAIT`]. Heartbeats and registrations
//! take nothing from this budget. If slow readers of one client hold it, they lose their
//! connections to the readers of other clients.

use tokio_util::sync::CancellationToken;

use crate::fair_pool::{Claim, FairPool, Piece, PieceProgress};
use crate::http::error::ApiError;
use crate::http::limits::{LIST_PERMIT_BYTES, LIST_PERMITS, MAX_LIST_WAIT, MAX_PERMITS_PER_LIST, MAX_WAITING_REQUESTS};
use crate::http::pool_client::PoolClient;
use rollcall_core::AddressBlock;

/// The budget. Clones share one state.
#[derive(Clone)]
pub(in crate::http) struct ListBudget(FairPool);

/// The permits of one list. Dropping them returns them to the budget.
pub(in crate::http) struct ListPermit {
    budget: ListBudget,
    client: AddressBlock,
    /// Ends the connection of the client if another client needs the permits.
    displaced: CancellationToken,
    progress: PieceProgress,
    pieces: Vec<Piece>,
}

impl Default for ListBudget {
    fn default() -> Self {
        Self(FairPool::new(LIST_PERMITS, MAX_WAITING_REQUESTS))
    }
}

impl ListBudget {
    /// Takes the first permit for a list.
    ///
    /// # Errors
    /// `overloaded` if none becomes free within [`MAX_LIST_WAIT`].
    pub(in crate::http) async fn acquire(&self, client: &PoolClient) -> Result<ListPermit, ApiError> {
        let progress = self.0.new_progress();
        // The list must be built first.
        progress.set_working();
        let mut permit = ListPermit {
            budget: self.clone(),
            client: client.block,
            displaced: client.connection.0.clone(),
            progress,
            pieces: Vec::with_capacity(1),
        };
        permit.add(1).await?;
        Ok(permit)
    }

    /// Number of free permits.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.0.free()
    }
}

impl ListPermit {
    /// Takes the additional permits that a list of `bytes` bytes needs.
    ///
    /// # Errors
    /// `overloaded` if they do not become free within [`MAX_LIST_WAIT`].
    pub(super) async fn extend_to(mut self, bytes: usize) -> Result<Self, ApiError> {
        let additional = (bytes.saturating_sub(1) / LIST_PERMIT_BYTES).min(MAX_PERMITS_PER_LIST - 1);
        if additional > 0 {
            self.add(additional).await?;
        }
        Ok(self)
    }

    /// Records that the client must read a part of the list now.
    pub(super) fn note_part_sent(&self) {
        self.progress.set_waiting();
    }

    async fn add(&mut self, permits: usize) -> Result<(), ApiError> {
        let ListBudget(pool) = &self.budget;
        let claim = Claim::displaceable(self.client, self.progress.clone(), self.displaced.clone()).units(permits);
        let piece = pool.acquire(claim, MAX_LIST_WAIT).await.map_err(|_| ApiError::Overloaded)?;
        self.pieces.push(piece);
        Ok(())
    }
}
