//! List budget: a bound on the bytes of all lists that are being made or sent.
//!
//! Lists are what is given up first when there is too much to do: who finds no place within half a second is told so.
//! Heartbeats and registrations need no place.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::http::limits::{LIST_PLACE_BYTES, LIST_PLACE_WAIT, LIST_PLACES, MAX_PLACES_PER_LIST};

/// The places for lists.
#[derive(Clone)]
pub(in crate::http) struct ListBudget(Arc<Semaphore>);

/// One list's place. Given back when the list was sent or given up.
pub(in crate::http) struct ListPermit(OwnedSemaphorePermit);

impl Default for ListBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LIST_PLACES)))
    }
}

impl ListBudget {
    /// A place for a list, in its turn: many who wait for one list get it at the same moment.
    ///
    /// # Errors
    /// `overloaded` if there is none for [`LIST_PLACE_WAIT`].
    pub(in crate::http) async fn take(&self) -> Result<ListPermit, ApiError> {
        let place = timeout(LIST_PLACE_WAIT, Arc::clone(&self.0).acquire_owned()).await;
        Ok(ListPermit(place.map_err(|_| ApiError::Overloaded)?.expect("the semaphore is never closed")))
    }

    /// For tests: the places that are free.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.0.available_permits()
    }
}

impl ListPermit {
    /// As much more as so many bytes need.
    pub(super) fn for_bytes(mut self, bytes: usize) -> Result<Self, ApiError> {
        let further = (bytes.saturating_sub(1) / LIST_PLACE_BYTES).min(MAX_PLACES_PER_LIST - 1);
        let permits = u32::try_from(further).unwrap_or(u32::MAX);
        let places = Arc::clone(self.0.semaphore());
        self.0.merge(places.try_acquire_many_owned(permits).map_err(|_| ApiError::Overloaded)?);
        Ok(self)
    }
}
