//! Cached lists: `/discover`, `/discovery/online` and `/users`, whole or in pages.
//!
//! A whole list is shared by all its readers ([`cached_list`]); a page is made for one reader. The bytes of all lists that are
//! being made or sent are bounded ([`list_budget`]).

mod blocking;
pub(super) mod cached_list;
pub(super) mod change_notifier;
pub(super) mod changes;
pub(super) mod cursor;
pub(super) mod encode;
pub(super) mod etag;
mod list_budget;
pub(super) mod list_response;
pub(super) mod long_poll;
mod rebuild_limit;
pub(super) mod since;
pub(super) mod stale_reads;

use std::sync::Arc;

use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::ApiError;
use super::limits::{INLINE_ROWS, PAGE_WAIT, PAGES_AT_ONCE};
use crate::registry::UsersVersion;
use blocking::on_a_thread;
use cached_list::CachedList;
use changes::CachedChanges;
use list_budget::{ListBudget, ListPermit};
use list_response::{List, Reader};
use rollcall_core::{Page, Term};

/// The lists, and the places for who reads them. All clones are one.
#[derive(Clone, Default)]
pub(super) struct Lists(Arc<Inner>);

#[derive(Default)]
struct Inner {
    places: ListBudget,
    parts: Parts,
    changes: CachedChanges,
    own: Whole,
    copies: Whole,
}

/// The whole lists.
#[derive(Default)]
pub(super) struct Whole {
    /// `GET /discover`.
    pub(super) discovered: Arc<CachedList<u64>>,
    /// `GET /discovery/online`.
    pub(super) names: Arc<CachedList<u64>>,
    /// `GET /users`.
    pub(super) users: Arc<CachedList<UsersVersion>>,
}

/// The turns of those who make a part of a list.
struct Parts(Arc<Semaphore>);

impl Default for Parts {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PAGES_AT_ONCE)))
    }
}

impl Lists {
    /// A place for a list: for a whole one once it is there, since it is shared; for any other before it is made.
    ///
    /// # Errors
    /// `overloaded` if there is none for half a second.
    pub(super) async fn place(&self) -> Result<ListPermit, ApiError> {
        self.0.places.take().await
    }

    /// Those that a leader gives.
    pub(super) fn own(&self) -> &Whole {
        &self.0.own
    }

    /// Those that any other node gives of what it has.
    pub(super) fn copies(&self) -> &Whole {
        &self.0.copies
    }

    /// What changed in the list of `GET /discover`.
    pub(super) fn changes(&self) -> &CachedChanges {
        &self.0.changes
    }

    /// A list as an answer: the whole one as it is kept, a page made for this reader. `make` gets the version that a whole one
    /// is of.
    ///
    /// # Errors
    /// `overloaded` if there is too much to do, `internal` if making it panics.
    pub(super) async fn answer<V: Copy + Eq + Send + 'static>(
        &self,
        kept: &Arc<CachedList<V>>,
        term: Term,
        page: Page,
        reader: Reader,
        version: impl Fn() -> V,
        make: impl FnOnce(Page, Option<V>) -> List + Send + 'static,
    ) -> Result<Response, ApiError> {
        if page == Page::default() {
            let list = kept.list(term, version, |version| make(page, Some(version))).await?;
            return list_response::send(list, reader, self.place().await?);
        }
        let place = self.place().await?;
        let list = self.part(page, |page| make(page, None)).await?;
        list_response::send(list, reader, place)
    }

    /// A list of one `page`, for one reader.
    ///
    /// # Errors
    /// `overloaded` if others take too long.
    pub(super) async fn part(
        &self,
        page: Page,
        make: impl FnOnce(Page) -> List + Send + 'static,
    ) -> Result<List, ApiError> {
        if page.max_rows() <= INLINE_ROWS && page.prefix.is_empty() {
            return Ok(make(page));
        }
        let turn = timeout(PAGE_WAIT, Arc::clone(&self.0.parts.0).acquire_owned()).await;
        let turn = turn.map_err(|_| ApiError::Overloaded)?.expect("the semaphore is never closed");
        on_a_thread(move || {
            let _turn = turn;
            make(page)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    fn make(version: u64) -> List {
        List::new(version.to_string().into_bytes(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn long_parts_are_made_a_few_at_a_time_and_short_ones_need_no_turn() {
        let lists = Lists::default();
        let (finish, finished) = mpsc::channel::<()>();
        let finished = Arc::new(Mutex::new(finished));
        let slow = || {
            let finished = Arc::clone(&finished);
            move |_| {
                let _ = finished.lock().unwrap().recv();
                make(1)
            }
        };
        let mut running: Vec<_> = (0..PAGES_AT_ONCE).map(|_| Box::pin(lists.part(Page::default(), slow()))).collect();
        assert!(running.iter_mut().all(|part| part.now_or_never().is_none()));
        assert_eq!(lists.0.parts.0.available_permits(), 0);
        let few = Page { limit: std::num::NonZeroUsize::new(INLINE_ROWS), ..Page::default() };
        assert!(lists.part(few, |_| make(1)).now_or_never().is_some());
        // Who gives up does not give its turn to another while its work goes on.
        running.pop();
        assert_eq!(lists.0.parts.0.available_permits(), 0);
        drop(finish);
        join_all(running).await;
        assert!(lists.part(Page::default(), |_| make(1)).await.is_ok());
    }
}
