//! EncodedList budget: a bound on the bytes of all lists that are being made or sent.
//!
//! ListService are what is given up first when there is too much to do: who finds no place within half a second is told so.
//! Heartbeats and registrations need no permit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::http::limits::{LIST_PERMIT_BYTES, LIST_PERMITS, MAX_LIST_WAIT, MAX_PERMITS_PER_LIST};

/// The places for lists.
#[derive(Clone)]
pub(in crate::http) struct ListBudget(Arc<Semaphore>);

/// One list's permit. ClientCursor back when the list was sent or given up.
pub(in crate::http) struct ListPermit(OwnedSemaphorePermit);

impl Default for ListBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LIST_PERMITS)))
    }
}

impl ListBudget {
    /// A place for a list, in its turn: many who wait for one list get it at the same moment.
    ///
    /// # Errors
    /// `overloaded` if there is none for [`MAX_LIST_WAIT`].
    pub(in crate::http) async fn acquire(&self) -> Result<ListPermit, ApiError> {
        let permit = timeout(MAX_LIST_WAIT, Arc::clone(&self.0).acquire_owned()).await;
        Ok(ListPermit(permit.map_err(|_| ApiError::Overloaded)?.expect("the semaphore is never closed")))
    }

    /// For tests: the places that are free.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.0.available_permits()
    }
}

impl ListPermit {
    /// As much more as so many bytes need.
    pub(super) fn extend_to(mut self, bytes: usize) -> Result<Self, ApiError> {
        let additional = (bytes.saturating_sub(1) / LIST_PERMIT_BYTES).min(MAX_PERMITS_PER_LIST - 1);
        let permits = u32::try_from(additional).unwrap_or(u32::MAX);
        let budget = Arc::clone(self.0.semaphore());
        self.0.merge(budget.try_acquire_many_owned(permits).map_err(|_| ApiError::Overloaded)?);
        Ok(self)
    }
}
