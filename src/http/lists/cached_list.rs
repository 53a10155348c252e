//! One list as bytes that are made once and given to all who ask, until something changes.
//!
//! What is given is as new as the question while there are fewer than ten changes a second, and beyond that never older than
//! a tenth of a second (see [`RebuildLimit`]). Making a long list takes tens of milliseconds, so it happens on a thread for such
//! work, once for all who wait for it, and locks nothing that a heartbeat needs for more than a thousand rows.

use std::sync::{Arc, Mutex, PoisonError};

use super::blocking::run_blocking;
use super::list_response::EncodedList;
use super::rebuild_limit::RebuildLimit;
use crate::http::error::ApiError;
use rollcall_core::Term;
use rollcall_core::clock;

/// One list, as it was made last.
pub(in crate::http) struct CachedList<V> {
    last: Mutex<Option<BuiltList<V>>>,
    /// Whose turn it is to make it.
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
    /// The list as of now: the one that was made last if nothing has changed since, or if too much changes; never one of
    /// another term. `make` gets the version from before the rows are read, so the rows are at least as new.
    ///
    /// # Errors
    /// `internal` if making it panics.
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
        let mut build_permit = Arc::clone(&self.rebuild_limit).lock_owned().await;
        // While this one waited, another may have made it.
        let version = version();
        // The first who asks in a term cannot be given anything else.
        if let Some(built) = self.last_of(term)
            && (built.version == version || !build_permit.try_take(clock::boot_now()))
        {
            return Ok(built.list);
        }
        let cache = Arc::clone(self);
        run_blocking(move || {
            let list = build(version);
            *cache.last.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(BuiltList { term, version, list: list.clone() });
            // The build_permit ends with the work, not with the request, which may be given up before.
            drop(build_permit);
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

    /// ListService that say which version they are of.
    fn build(version: u64) -> EncodedList {
        EncodedList::new(version.to_string().into_bytes(), None)
    }

    #[tokio::test]
    async fn whoever_asks_at_the_same_time_gets_the_same_list_made_once() {
        let (cache, times) = (Arc::<CachedList<u64>>::default(), Arc::new(AtomicU64::new(0)));
        let ask = || {
            let times = Arc::clone(&times);
            let counted = move |version| {
                times.fetch_add(1, Ordering::Relaxed);
                build(version)
            };
            cache.get_or_build(TERM, || 5, counted)
        };
        for list in join_all((0..50).map(|_| ask())).await {
            assert_eq!(text(&list.unwrap()), "5");
        }
        assert_eq!(times.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_list_that_always_changes_is_made_no_more_than_ten_times_a_second_after_a_burst() {
        let (cache, started) = (Arc::<CachedList<u64>>::default(), clock::boot_now());
        let version = AtomicU64::new(0);
        let (mut lists, mut behind) = (std::collections::HashSet::new(), 0);
        for _ in 0..100 {
            let now = version.fetch_add(1, Ordering::Relaxed) + 1;
            let list = text(&cache.get_or_build(TERM, || version.load(Ordering::Relaxed), build).await.unwrap());
            behind += u64::from(list != now.to_string());
            lists.insert(list);
        }
        let earned = clock::boot_now().since(started) / 100;
        // The first one is free.
        let most = 11 + earned;
        assert!(lists.len() as u64 <= most, "{} lists", lists.len());
        assert!(lists.len() >= 11 && behind == 100 - lists.len() as u64, "{behind} of {}", lists.len());
    }

    #[tokio::test]
    async fn a_list_of_another_term_is_never_given() {
        let cache = Arc::<CachedList<u64>>::default();
        for version in 0..100 {
            cache.get_or_build(TERM, || version, build).await.unwrap();
        }
        // The versions are equal, and nothing may be made for as long as there is something to give.
        let old = text(&cache.get_or_build(TERM, || 100, build).await.unwrap());
        let other = move |_| EncodedList::new(b"new".to_vec(), None);
        let version: u64 = old.parse().unwrap();
        assert_eq!(text(&cache.get_or_build(TERM.next(), || version, other).await.unwrap()), "new");
    }

    #[tokio::test]
    async fn a_list_whose_asker_has_left_is_made_all_the_same_and_nobody_makes_another_meanwhile() {
        let cache = Arc::<CachedList<u64>>::default();
        let (finish, finished) = mpsc::channel::<()>();
        let slow = move |version| {
            let _ = finished.recv();
            build(version)
        };
        assert!(cache.get_or_build(TERM, || 1, slow).now_or_never().is_none());
        let second = cache.get_or_build(TERM, || 1, |_| EncodedList::new(b"made twice".to_vec(), None));
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none());
        drop(finish);
        assert_eq!(text(&second.await.unwrap()), "1");
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_made_is_an_error_and_the_next_one_is_made() {
        let cache = Arc::<CachedList<u64>>::default();
        let broken = cache.get_or_build(TERM, || 1, |_| panic!("as this test wants it")).await;
        assert!(matches!(broken, Err(ApiError::Internal(_))));
        assert_eq!(text(&cache.get_or_build(TERM, || 1, build).await.unwrap()), "1");
    }
}
