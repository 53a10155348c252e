//! List budget: a semaphore that limits the memory of all lists that are built or sent.
//!
//! Under overload, lists are rejected first, after [`MAX_LIST_WAIT`]. Heartbeats and registrations
//! take nothing from this budget.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::http::limits::{LIST_PERMIT_BYTES, LIST_PERMITS, MAX_LIST_WAIT, MAX_PERMITS_PER_LIST};

/// The budget. Clones share one state.
#[derive(Clone)]
pub(in crate::http) struct ListBudget(Arc<Semaphore>);

/// The permits of one list. Dropping them returns them to the budget.
pub(in crate::http) struct ListPermit(OwnedSemaphorePermit);

impl Default for ListBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LIST_PERMITS)))
    }
}

impl ListBudget {
    /// Takes the first permit for a list. Requests that wait are served in order.
    ///
    /// # Errors
    /// `overloaded` if none becomes free within [`MAX_LIST_WAIT`].
    pub(in crate::http) async fn acquire(&self) -> Result<ListPermit, ApiError> {
        let permit = timeout(MAX_LIST_WAIT, Arc::clone(&self.0).acquire_owned()).await;
        Ok(ListPermit(permit.map_err(|_| ApiError::Overloaded)?.expect("the semaphore is never closed")))
    }

    /// Number of free permits.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.0.available_permits()
    }
}

impl ListPermit {
    /// Takes the additional permits that a list of `bytes` bytes needs.
    ///
    /// # Errors
    /// `overloaded` if they are not free at once.
    pub(super) fn extend_to(mut self, bytes: usize) -> Result<Self, ApiError> {
        let additional = (bytes.saturating_sub(1) / LIST_PERMIT_BYTES).min(MAX_PERMITS_PER_LIST - 1);
        let permits = u32::try_from(additional).unwrap_or(u32::MAX);
        let budget = Arc::clone(self.0.semaphore());
        self.0.merge(budget.try_acquire_many_owned(permits).map_err(|_| ApiError::Overloaded)?);
        Ok(self)
    }
}
