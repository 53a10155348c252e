//! Cache of one serialised list, which is built once and shared by all readers until it changes.
//!
//! With fewer than ten changes a second, a reader gets the list as of its request. With more, the
//! list is at most 100 ms old (see [`RebuildLimit`]). Building a long list takes tens of
//! milliseconds. So it is built on a blocking thread, once for all requests that wait for it. The
//! build locks the tables that heartbeats need for at most 1000 rows at a time.

use std::sync::{Arc, Mutex, PoisonError};

use super::blocking::run_blocking;
use super::list_response::EncodedList;
use super::rebuild_limit::RebuildLimit;
use crate::http::error::ApiError;
use rollcall_core::Term;
use rollcall_core::clock;

/// The cache of one list. `V` is the type of the version of its rows.
pub(in crate::http) struct CachedList<V> {
    last: Mutex<Option<BuiltList<V>>>,
    /// Locked during a build, so that at most one build runs at a time.
    rebuild_limit: Arc<tokio::sync::Mutex<RebuildLimit>>,
}

#[derive(Clone)]
struct BuiltList<V> {
    term: Term,
    version: V,
    list: EncodedList,
}

impl<V> Default for CachedList<V> {
    fn default() -> Self {
        Self { last: Mutex::default(), rebuild_limit: Arc::default() }
    }
}

impl<V: Copy + Eq + Send + 'static> CachedList<V> {
    /// Returns the list as of now. The cached list is returned if it has not changed, or if the
    /// rebuild limit is reached. `build` gets the version from before it reads the rows, so the
    /// rows are at least as new as that version.
    ///
    /// Invariant: a list of another term is never returned.
    ///
    /// # Errors
    /// `internal` if `build` panics.
    pub(in crate::http) async fn get_or_build(
        self: &Arc<Self>,
        term: Term,
        version: impl Fn() -> V,
        build: impl FnOnce(V) -> EncodedList + Send + 'static,
    ) -> Result<EncodedList, ApiError> {
        if let Some(built) = self.last_of(term)
            && built.version == version()
        {
            return Ok(built.list);
        }
        let mut rebuild_limit = Arc::clone(&self.rebuild_limit).lock_owned().await;
        // Another request may have built it during the wait.
        let version = version();
        // The first request in a term always builds, because there is no list to return instead.
        if let Some(built) = self.last_of(term)
            && (built.version == version || !rebuild_limit.try_take(clock::boot_now()))
        {
            return Ok(built.list);
        }
        let cache = Arc::clone(self);
        run_blocking(move || {
            let list = build(version);
            *cache.last.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(BuiltList { term, version, list: list.clone() });
            // The lock is released when the build ends. A cancelled request ends earlier.
            drop(rebuild_limit);
            list
        })
        .await
    }

    fn last_of(&self, term: Term) -> Option<BuiltList<V>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().filter(|built| built.term == term)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::super::list_response::tests::text;
    use super::*;

    const TERM: Term = Term(7);

    /// A list whose text is its version.
    fn build(version: u64) -> EncodedList {
        EncodedList::new(version.to_string().into_bytes(), None)
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_build() {
        let (cache, times) = (Arc::<CachedList<u64>>::default(), Arc::new(AtomicU64::new(0)));
        let get_list = || {
            let times = Arc::clone(&times);
            let counted = move |version| {
                times.fetch_add(1, Ordering::Relaxed);
                build(version)
            };
            cache.get_or_build(TERM, || 5, counted)
        };
        for list in join_all((0..50).map(|_| get_list())).await {
            assert_eq!(text(&list.unwrap()), "5");
        }
        assert_eq!(times.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_list_that_always_changes_is_built_at_most_ten_times_a_second_after_a_burst() {
        let (cache, started) = (Arc::<CachedList<u64>>::default(), clock::boot_now());
        let version = AtomicU64::new(0);
        let (mut lists, mut outdated) = (std::collections::HashSet::new(), 0);
        for _ in 0..100 {
            let now = version.fetch_add(1, Ordering::Relaxed) + 1;
            let list = text(&cache.get_or_build(TERM, || version.load(Ordering::Relaxed), build).await.unwrap());
            outdated += u64::from(list != now.to_string());
            lists.insert(list);
        }
        let refilled = clock::boot_now().since(started) / 100;
        // The burst is 10 tokens, and the first build takes no token.
        let limit = 11 + refilled;
        assert!(lists.len() as u64 <= limit, "{} lists", lists.len());
        assert!(lists.len() >= 11 && outdated == 100 - lists.len() as u64, "{outdated} of {}", lists.len());
    }

    #[tokio::test]
    async fn a_list_of_another_term_is_never_returned() {
        let cache = Arc::<CachedList<u64>>::default();
        for version in 0..100 {
            cache.get_or_build(TERM, || version, build).await.unwrap();
        }
        // The versions are equal, and the rebuild limit is reached.
        let old = text(&cache.get_or_build(TERM, || 100, build).await.unwrap());
        let other = move |_| EncodedList::new(b"new".to_vec(), None);
        let version: u64 = old.parse().unwrap();
        assert_eq!(text(&cache.get_or_build(TERM.next(), || version, other).await.unwrap()), "new");
    }

    #[tokio::test]
    async fn a_build_whose_request_was_cancelled_completes_and_is_shared() {
        let cache = Arc::<CachedList<u64>>::default();
        let (finish, finished) = mpsc::channel::<()>();
        let slow = move |version| {
            let _ = finished.recv();
            build(version)
        };
        assert!(cache.get_or_build(TERM, || 1, slow).now_or_never().is_none());
        let second = cache.get_or_build(TERM, || 1, |_| EncodedList::new(b"second build".to_vec(), None));
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none());
        drop(finish);
        assert_eq!(text(&second.await.unwrap()), "1");
    }

    #[tokio::test]
    async fn a_failed_build_is_an_error_and_the_next_build_succeeds() {
        let cache = Arc::<CachedList<u64>>::default();
        let broken = cache.get_or_build(TERM, || 1, |_| panic!("a panic for this test")).await;
        assert!(matches!(broken, Err(ApiError::Internal(_))));
        assert_eq!(text(&cache.get_or_build(TERM, || 1, build).await.unwrap()), "1");
    }
}
