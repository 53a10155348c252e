//! List budget: a bound on the bytes of all lists that are being made or sent.
//!
//! Lists are what is given up first when there is too much to do: who finds no place within half a second is told so.
//! Heartbeats and registrations need no place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::error::ApiError;

/// What all lists that are being made or sent may take: a place for each, and one more for each MiB beyond the first. Slow
/// readers of old lists keep no more than this in memory.
pub(super) const PLACES: usize = 256;
pub(super) const BYTES_A_PLACE: usize = 1024 * 1024;

/// The most places of one list: so that even lists beyond all bounds are sent, a few at a time.
pub(super) const MOST_PLACES: usize = 64;

/// The longest that a reader waits for a place.
pub(super) const WAIT_FOR_A_PLACE: Duration = Duration::from_millis(500);

/// The places for lists.
#[derive(Clone)]
pub(in crate::http) struct ListBudget(Arc<Semaphore>);

/// One list's place. Given back when the list was sent or given up.
pub(in crate::http) struct ListPermit(OwnedSemaphorePermit);

impl Default for ListBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }
}

impl ListBudget {
    /// A place for a list, in its turn: many who wait for one list get it at the same moment.
    ///
    /// # Errors
    /// `overloaded` if there is none for [`WAIT_FOR_A_PLACE`].
    pub(in crate::http) async fn take(&self) -> Result<ListPermit, ApiError> {
        let place = timeout(WAIT_FOR_A_PLACE, Arc::clone(&self.0).acquire_owned()).await;
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
        let further = (bytes.saturating_sub(1) / BYTES_A_PLACE).min(MOST_PLACES - 1);
        let permits = u32::try_from(further).unwrap_or(u32::MAX);
        let places = Arc::clone(self.0.semaphore());
        self.0.merge(places.try_acquire_many_owned(permits).map_err(|_| ApiError::Overloaded)?);
        Ok(self)
    }
}
