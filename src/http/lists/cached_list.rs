//! One list as bytes that are made once and given to all who ask, until something changes.
//!
//! What is given is as new as the question while there are fewer than ten changes a second, and beyond that never older than
//! a tenth of a second (see [`Rebuilds`]). Making a long list takes tens of milliseconds, so it happens on a thread for such
//! work, once for all who wait for it, and locks nothing that a heartbeat needs for more than a thousand rows.

use std::sync::{Arc, Mutex, PoisonError};

use super::blocking::on_a_thread;
use super::list_response::List;
use super::rebuild_limit::Rebuilds;
use crate::http::error::ApiError;
use rollcall_core::Term;
use rollcall_core::clock;

/// One list, as it was made last.
pub(in crate::http) struct CachedList<V> {
    last: Mutex<Option<Made<V>>>,
    /// Whose turn it is to make it.
    turn: Arc<tokio::sync::Mutex<Rebuilds>>,
}

#[derive(Clone)]
struct Made<V> {
    term: Term,
    version: V,
    list: List,
}

impl<V> Default for CachedList<V> {
    fn default() -> Self {
        Self { last: Mutex::default(), turn: Arc::default() }
    }
}

impl<V: Copy + Eq + Send + 'static> CachedList<V> {
    /// The list as of now: the one that was made last if nothing has changed since, or if too much changes; never one of
    /// another term. `make` gets the version from before the rows are read, so the rows are at least as new.
    ///
    /// # Errors
    /// `internal` if making it panics.
    pub(in crate::http) async fn list(
        self: &Arc<Self>,
        term: Term,
        version: impl Fn() -> V,
        make: impl FnOnce(V) -> List + Send + 'static,
    ) -> Result<List, ApiError> {
        if let Some(made) = self.of(term)
            && made.version == version()
        {
            return Ok(made.list);
        }
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        // While this one waited, another may have made it.
        let version = version();
        // The first who asks in a term cannot be given anything else.
        if let Some(made) = self.of(term)
            && (made.version == version || !turn.take(clock::boot_now()))
        {
            return Ok(made.list);
        }
        let kept = Arc::clone(self);
        on_a_thread(move || {
            let list = make(version);
            *kept.last.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Made { term, version, list: list.clone() });
            // The turn ends with the work, not with the request, which may be given up before.
            drop(turn);
            list
        })
        .await
    }

    fn of(&self, term: Term) -> Option<Made<V>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().filter(|made| made.term == term)
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

    /// Lists that say which version they are of.
    fn make(version: u64) -> List {
        List::new(version.to_string().into_bytes(), None)
    }

    #[tokio::test]
    async fn whoever_asks_at_the_same_time_gets_the_same_list_made_once() {
        let (kept, times) = (Arc::<CachedList<u64>>::default(), Arc::new(AtomicU64::new(0)));
        let ask = || {
            let times = Arc::clone(&times);
            let counted = move |version| {
                times.fetch_add(1, Ordering::Relaxed);
                make(version)
            };
            kept.list(TERM, || 5, counted)
        };
        for list in join_all((0..50).map(|_| ask())).await {
            assert_eq!(text(&list.unwrap()), "5");
        }
        assert_eq!(times.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_list_that_always_changes_is_made_no_more_than_ten_times_a_second_after_a_burst() {
        let (kept, started) = (Arc::<CachedList<u64>>::default(), clock::boot_now());
        let version = AtomicU64::new(0);
        let (mut lists, mut behind) = (std::collections::HashSet::new(), 0);
        for _ in 0..100 {
            let now = version.fetch_add(1, Ordering::Relaxed) + 1;
            let list = text(&kept.list(TERM, || version.load(Ordering::Relaxed), make).await.unwrap());
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
        let kept = Arc::<CachedList<u64>>::default();
        for version in 0..100 {
            kept.list(TERM, || version, make).await.unwrap();
        }
        // The versions are equal, and nothing may be made for as long as there is something to give.
        let old = text(&kept.list(TERM, || 100, make).await.unwrap());
        let other = move |_| List::new(b"new".to_vec(), None);
        let version: u64 = old.parse().unwrap();
        assert_eq!(text(&kept.list(TERM.next(), || version, other).await.unwrap()), "new");
    }

    #[tokio::test]
    async fn a_list_whose_asker_has_left_is_made_all_the_same_and_nobody_makes_another_meanwhile() {
        let kept = Arc::<CachedList<u64>>::default();
        let (finish, finished) = mpsc::channel::<()>();
        let slow = move |version| {
            let _ = finished.recv();
            make(version)
        };
        assert!(kept.list(TERM, || 1, slow).now_or_never().is_none());
        let second = kept.list(TERM, || 1, |_| List::new(b"made twice".to_vec(), None));
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none());
        drop(finish);
        assert_eq!(text(&second.await.unwrap()), "1");
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_made_is_an_error_and_the_next_one_is_made() {
        let kept = Arc::<CachedList<u64>>::default();
        let broken = kept.list(TERM, || 1, |_| panic!("as this test wants it")).await;
        assert!(matches!(broken, Err(ApiError::Internal(_))));
        assert_eq!(text(&kept.list(TERM, || 1, make).await.unwrap()), "1");
    }
}
