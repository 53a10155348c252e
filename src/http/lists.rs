//! Cached lists: `/discover`, `/discovery/online` and `/users`, as a whole or in pages.
//!
//! A whole list is built once and shared by all its readers ([`cached_list`]). A page is built for
//! one reader. The memory of all lists and images that are built or sent is bounded
//! ([`list_budget`]).

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
use super::limits::{
    IMAGE_PERMITS, LIST_PERMITS, MAX_CONCURRENT_PAGES, MAX_INLINE_ROWS, MAX_PAGE_WAIT, MAX_WAITING_REQUESTS,
};
use super::pool_client::PoolClient;
use crate::fair_pool::{Claim, FairPool};
use crate::registry::UsersVersion;
use blocking::run_blocking;
use cached_list::CachedList;
use changes::CachedChanges;
use list_budget::{ListBudget, ListPermit};
use list_response::{EncodedList, ListReader};
use rollcall_core::{Page, Term};

/// The caches of all lists, and the limits on building and sending them and single images. Clones
/// share one state.
#[derive(Clone, Default)]
pub(super) struct ListService(Arc<ListServiceInner>);

/// The shared state of [`ListService`].
struct ListServiceInner {
    budget: ListBudget,
    image_budget: ListBudget,
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

impl Default for ListServiceInner {
    fn default() -> Self {
        Self {
            budget: ListBudget::new(LIST_PERMITS),
            image_budget: ListBudget::new(IMAGE_PERMITS),
            page_limit: PageLimit::default(),
            changes: CachedChanges::default(),
            leader_lists: FullLists::default(),
            replica_lists: FullLists::default(),
        }
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(FairPool::new(MAX_CONCURRENT_PAGES, MAX_WAITING_REQUESTS))
    }
}

impl ListService {
    /// Builds a list for one reader within the memory budget of lists.
    ///
    /// # Errors
    /// `overloaded` if its permits do not become free within
    /// [`MAX_LIST_WAIT`](super::limits::MAX_LIST_WAIT), and the errors of `build`.
    pub(super) async fn build_within<T, B>(
        &self,
        client: &PoolClient,
        build: impl Fn() -> B,
        length: impl Fn(&T) -> usize,
    ) -> Result<(T, ListPermit), ApiError>
    where
        B: Future<Output = Result<T, ApiError>>,
    {
        self.0.budget.build_within(client, build, length).await
    }

    /// Reads an image, or a list of a user's images, within the memory budget of images.
    ///
    /// # Errors
    /// `overloaded` if its permits do not become free within
    /// [`MAX_LIST_WAIT`](super::limits::MAX_LIST_WAIT), and the errors of `read`.
    pub(super) async fn read_image_within<T, B>(
        &self,
        client: &PoolClient,
        read: impl Fn() -> B,
        length: impl Fn(&T) -> usize,
    ) -> Result<(T, ListPermit), ApiError>
    where
        B: Future<Output = Result<T, ApiError>>,
    {
        self.0.image_budget.build_within(client, read, length).await
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
        build: impl Fn(Page, Option<V>) -> EncodedList + Send + 'static,
    ) -> Result<Response, ApiError> {
        if page == Page::default() {
            let list = cache.get_or_build(term, version, move |version| build(page, Some(version))).await?;
            let permit = if reader.needs_body(list.tag()) {
                Some(self.0.budget.acquire(&reader.client, list.len()).await?)
            } else {
                None
            };
            return Ok(list_response::respond(list, reader, permit));
        }
        let (list, permit) = if is_short(&page) {
            let build = || std::future::ready(Ok(build(page.clone(), None)));
            self.build_within(&reader.client, build, EncodedList::len).await?
        } else {
            self.build_long_page(&reader.client, move || build(page, None)).await?
        };
        Ok(list_response::respond(list, reader, Some(permit)))
    }

    /// Builds one long page for one reader on a blocking thread, up to [`MAX_CONCURRENT_PAGES`] at
    /// once. It waits for its permits before the next page may be built. So the pages that have no
    /// permits yet are few.
    ///
    /// # Errors
    /// `overloaded` if the build cannot start within [`MAX_PAGE_WAIT`], or if the permits do not
    /// become free. `internal` if `build` panics.
    async fn build_long_page(
        &self,
        client: &PoolClient,
        build: impl FnOnce() -> EncodedList + Send + 'static,
    ) -> Result<(EncodedList, ListPermit), ApiError> {
        let PageLimit(pages) = &self.0.page_limit;
        let turn = pages.acquire(Claim::fixed(client.claimant()), MAX_PAGE_WAIT).await;
        let turn = turn.map_err(|_| ApiError::Overloaded)?;
        // The build continues if the request is dropped, so it owns the turn.
        let (list, _turn) = run_blocking(move || (build(), turn)).await?;
        let permit = self.0.budget.acquire(client, list.len()).await?;
        Ok((list, permit))
    }
}

/// Whether a page is built on an async worker thread. A prefix may skip many rows.
fn is_short(page: &Page) -> bool {
    page.max_rows() <= MAX_INLINE_ROWS && page.prefix.is_empty()
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;
    use crate::http::params::ClientAddr;
    use crate::http::pool_client::DisplacedConnection;

    fn build(version: u64) -> EncodedList {
        EncodedList::new(version.to_string().into_bytes(), None)
    }

    fn client() -> PoolClient {
        let addr = ClientAddr(std::net::Ipv4Addr::LOCALHOST.into());
        PoolClient { addr, connection: DisplacedConnection::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn long_pages_are_built_a_few_at_a_time_and_short_ones_at_once() {
        let (lists, client) = (ListService::default(), client());
        let (finish, finished) = mpsc::channel::<()>();
        let finished = Arc::new(Mutex::new(finished));
        let slow = || {
            let finished = Arc::clone(&finished);
            move || {
                let _ = finished.lock().unwrap().recv();
                build(1)
            }
        };
        let mut running: Vec<_> =
            (0..MAX_CONCURRENT_PAGES).map(|_| Box::pin(lists.build_long_page(&client, slow()))).collect();
        assert!(running.iter_mut().all(|page| page.now_or_never().is_none()));
        assert_eq!(lists.0.page_limit.0.free(), 0);
        let page = |rows, prefix: &str| Page {
            limit: std::num::NonZeroUsize::new(rows),
            prefix: prefix.to_owned(),
            ..Page::default()
        };
        assert!(is_short(&page(MAX_INLINE_ROWS, "")));
        assert!(!is_short(&page(MAX_INLINE_ROWS + 1, "")) && !is_short(&page(1, "a")) && !is_short(&Page::default()));
        // A cancelled request keeps its permit until its work has ended.
        running.pop();
        assert_eq!(lists.0.page_limit.0.free(), 0);
        drop(finish);
        join_all(running).await;
        assert!(lists.build_long_page(&client, || build(1)).await.is_ok());
    }
}
