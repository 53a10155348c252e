//! The whole lists as bytes that are made once and given to all who ask, until something changes.
//!
//! What is given is as new as the question while there are fewer than ten changes a second, and beyond that never older than
//! a tenth of a second (see [`Rebuilds`]). Making a long list takes tens of milliseconds, so it happens on a thread for such
//! work, once for all who wait for it, and locks nothing that a heartbeat needs for more than a thousand rows.

pub(super) mod change_notifier;
pub(super) mod changes;
pub(super) mod cursor;
pub(super) mod etag;
pub(super) mod list_response;
pub(super) mod long_poll;
mod rebuild_limit;
pub(super) mod since;
pub(super) mod stale_reads;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::ApiError;
use crate::registry::UsersVersion;
use changes::CachedChanges;
use list_response::{List, ListBudget, ListPermit, Reader};
use rebuild_limit::Rebuilds;
use rollcall_core::clock;
use rollcall_core::{Page, Term};

/// Parts of lists that are made at once. Each is made for one reader, and may be as long as the whole.
const PARTS_AT_ONCE: usize = 4;

/// The longest that a part of a list waits for others.
const WAIT_FOR_OTHERS: Duration = Duration::from_millis(500);

/// A part of at most so many rows is made on the spot, which takes less time than to pass it on to another thread and back.
const FEW_ROWS: usize = 200;

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
        Self(Arc::new(Semaphore::new(PARTS_AT_ONCE)))
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
        if page.limit() <= FEW_ROWS && page.prefix.is_empty() {
            return Ok(make(page));
        }
        let turn = timeout(WAIT_FOR_OTHERS, Arc::clone(&self.0.parts.0).acquire_owned()).await;
        let turn = turn.map_err(|_| ApiError::Overloaded)?.expect("the semaphore is never closed");
        on_a_thread(move || {
            let _turn = turn;
            make(page)
        })
        .await
    }
}

/// One list, as it was made last.
pub(super) struct CachedList<V> {
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
    pub(super) async fn list(
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

/// Does what would keep a thread of the runtime busy for too long.
pub(super) async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))
}

/// Writes a list of rows that come part by part, as the start of an object: `{"field":[...]`; gives the number of rows.
pub(super) fn write_rows<R: Serialize>(
    text: &mut Vec<u8>,
    field: &str,
    parts: impl Iterator<Item = impl IntoIterator<Item = R>>,
) -> usize {
    text.extend_from_slice(format!("{{\"{field}\":[").as_bytes());
    let mut count = 0;
    for row in parts.flatten() {
        if count > 0 {
            text.push(b',');
        }
        count += 1;
        serde_json::to_writer(&mut *text, &row).expect("rows have text keys only, and memory takes what is written");
    }
    text.push(b']');
    count
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;
    use list_response::tests::text;

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
        let mut running: Vec<_> = (0..PARTS_AT_ONCE).map(|_| Box::pin(lists.part(Page::default(), slow()))).collect();
        assert!(running.iter_mut().all(|part| part.now_or_never().is_none()));
        assert_eq!(lists.0.parts.0.available_permits(), 0);
        let few = Page { limit: std::num::NonZeroUsize::new(FEW_ROWS), ..Page::default() };
        assert!(lists.part(few, |_| make(1)).now_or_never().is_some());
        // Who gives up does not give its turn to another while its work goes on.
        running.pop();
        assert_eq!(lists.0.parts.0.available_permits(), 0);
        drop(finish);
        join_all(running).await;
        assert!(lists.part(Page::default(), |_| make(1)).await.is_ok());
    }
}
