//! Cached lists: `/discover`, `/discovery/online` and `/users`, as a whole or in pages.
//!
//! A whole list is built once and shared by all its readers ([`cached_list`]). A page is built for
//! one reader. The memory of all lists that are built or sent is bounded ([`list_budget`]).

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
pub(super) mod since_param;
pub(super) mod stale_reads;

use std::sync::Arc;

use axum::response::Response;

use super::error::ApiError;
use super::limits::{MAX_CONCURRENT_PAGES, MAX_INLINE_ROWS, MAX_PAGE_WAIT, MAX_WAITING_REQUESTS};
use crate::fair_pool::{Claim, FairPool};
use crate::registry::UsersVersion;
use blocking::run_blocking;
use cached_list::CachedList;
use changes::CachedChanges;
use list_budget::{ListBudget, ListPermit};
use list_response::{EncodedList, ListReader};
use rollcall_core::{AddressBlock, Page, Term};

/// The caches of all lists, and the limits on building and sending them. Clones share one state.
#[derive(Clone, Default)]
pub(super) struct ListService(Arc<ListServiceInner>);

/// The shared state of [`ListService`].
#[derive(Default)]
struct ListServiceInner {
    budget: ListBudget,
    page_limit: PageLimit,
    changes: CachedChanges,
    leader_lists: FullLists,
    replica_lists: FullLists,
}

/// The caches of the whole lists.
#[derive(Default)]
pub(super) struct FullLists {
    /// `GET /discover`.
    pub(super) online_clients: Arc<CachedList<u64>>,
    /// `GET /discovery/online`.
    pub(super) online_names: Arc<CachedList<u64>>,
    /// `GET /users`.
    pub(super) users: Arc<CachedList<UsersVersion>>,
}

/// Limit on the long pages that are built at once. Clients wait for it in turn.
struct PageLimit(FairPool);

impl Default for PageLimit {
    fn default() -> Self {
        Self(FairPool::new(MAX_CONCURRENT_PAGES, MAX_WAITING_REQUESTS))
    }
}

impl ListService {
    /// Takes the first permit for one list from the memory budget. The caller takes it before it
    /// builds a page, and after it has built a whole list, which all readers share.
    ///
    /// # Errors
    /// `overloaded` if no permit becomes free within
    /// [`MAX_LIST_WAIT`](super::limits::MAX_LIST_WAIT).
    pub(super) async fn reserve(&self, reader: &ListReader) -> Result<ListPermit, ApiError> {
        self.0.budget.acquire(&reader.client).await
    }

    /// The caches of the whole lists that this node serves while it leads.
    pub(super) fn leader_lists(&self) -> &FullLists {
        &self.0.leader_lists
    }

    /// The caches of the whole lists that this node serves as stale reads while it does not lead.
    pub(super) fn replica_lists(&self) -> &FullLists {
        &self.0.replica_lists
    }

    /// Cache of the encoded changes of `GET /discover`.
    pub(super) fn changes(&self) -> &CachedChanges {
        &self.0.changes
    }

    /// Answers with a list: the cached whole list, or a page built for this reader. `build` builds
    /// the list. It gets the version for a whole list, and `None` for a page.
    ///
    /// # Errors
    /// `overloaded` if a limit is reached, `internal` if `build` panics.
    pub(super) async fn respond<V: Copy + Eq + Send + 'static>(
        &self,
        cache: &Arc<CachedList<V>>,
        term: Term,
        page: Page,
        reader: ListReader,
        version: impl Fn() -> V,
        build: impl FnOnce(Page, Option<V>) -> EncodedList + Send + 'static,
    ) -> Result<Response, ApiError> {
        if page == Page::default() {
            let list = cache.get_or_build(term, version, |version| build(page, Some(version))).await?;
            let permit = self.reserve(&reader).await?;
            return list_response::respond(list, reader, permit).await;
        }
        let permit = self.reserve(&reader).await?;
        let list = self.build_page(page, reader.client.block, |page| build(page, None)).await?;
        list_response::respond(list, reader, permit).await
    }

    /// Builds one page for one reader. A page with a prefix or with more than [`MAX_INLINE_ROWS`]
    /// rows is built on a blocking thread, up to [`MAX_CONCURRENT_PAGES`] at once.
    ///
    /// # Errors
    /// `overloaded` if the build cannot start within [`MAX_PAGE_WAIT`], `internal` if `build`
    /// panics.
    pub(super) async fn build_page(
        &self,
        page: Page,
        client: AddressBlock,
        build: impl FnOnce(Page) -> EncodedList + Send + 'static,
    ) -> Result<EncodedList, ApiError> {
        if page.max_rows() <= MAX_INLINE_ROWS && page.prefix.is_empty() {
            return Ok(build(page));
        }
        let PageLimit(pages) = &self.0.page_limit;
        let page_permit = pages.acquire(Claim::fixed(client), MAX_PAGE_WAIT).await.map_err(|_| ApiError::Overloaded)?;
        run_blocking(move || {
            let _permit = page_permit;
            build(page)
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

    fn build(version: u64) -> EncodedList {
        EncodedList::new(version.to_string().into_bytes(), None)
    }

    fn client() -> AddressBlock {
        AddressBlock::of(std::net::Ipv4Addr::LOCALHOST.into())
    }

    #[tokio::test(start_paused = true)]
    async fn long_pages_are_built_a_few_at_a_time_and_short_ones_at_once() {
        let lists = ListService::default();
        let (finish, finished) = mpsc::channel::<()>();
        let finished = Arc::new(Mutex::new(finished));
        let slow = || {
            let finished = Arc::clone(&finished);
            move |_| {
                let _ = finished.lock().unwrap().recv();
                build(1)
            }
        };
        let mut running: Vec<_> =
            (0..MAX_CONCURRENT_PAGES).map(|_| Box::pin(lists.build_page(Page::default(), client(), slow()))).collect();
        assert!(running.iter_mut().all(|page| page.now_or_never().is_none()));
        assert_eq!(lists.0.page_limit.0.free(), 0);
        let few = Page { limit: std::num::NonZeroUsize::new(MAX_INLINE_ROWS), ..Page::default() };
        assert!(lists.build_page(few, client(), |_| build(1)).now_or_never().is_some());
        // A cancelled request keeps its permit until its work has ended.
        running.pop();
        assert_eq!(lists.0.page_limit.0.free(), 0);
        drop(finish);
        join_all(running).await;
        assert!(lists.build_page(Page::default(), client(), |_| build(1)).await.is_ok());
    }
}
