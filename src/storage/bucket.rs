//! Bucket: a [`Backend`] with a deadline for every call, retries with jitter until that deadline, a
//! circuit breaker, and a read-back after a refused write. The read-back distinguishes a lost
//! response of our own write from a conflict.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, TryStreamExt, try_unfold};
use tokio::time::Instant;

use super::attempts::attempts;
use super::bucket_error::BucketError;
use super::circuit_breaker::CircuitBreaker;
use super::error_text::one_line;
use super::{
    AnonymousReader, Backend, BackendError, Folder, Key, ListPage, ListedChild, Object, ObjectVersion, RetryPolicy,
    StoreProbe,
};

/// Most pages in one listing, so that a broken store cannot make it endless. Enough for ten million
/// names in pages of 1000.
const MAX_LIST_PAGES: u32 = 10_000;

/// Result of a create-only write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CreateOutcome {
    /// This call created the object, and it is durable.
    Created(ObjectVersion),
    /// The object exists, with other bytes. If an earlier attempt of this call wrote it and lost
    /// the response, another writer has replaced it since.
    AlreadyExists(Object),
}

/// A bucket. Cheap to clone. Clones share the circuit breaker.
#[derive(Clone)]
pub struct Bucket {
    backend: Arc<dyn Backend>,
    retry_policy: RetryPolicy,
    health: Arc<Mutex<StoreHealth>>,
}

/// State of the store, as the calls of this process showed it.
#[derive(Debug, Default)]
struct StoreHealth {
    breaker: CircuitBreaker,
    /// End of the latest write that succeeded. `None` if a write failed since.
    wrote_at: Option<Instant>,
}

impl Bucket {
    /// The bucket of a backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, retry_policy: RetryPolicy) -> Self {
        Self { backend, retry_policy, health: Arc::default() }
    }

    /// The same bucket with another retry policy, for a call with another deadline.
    #[must_use]
    pub fn with_retry_policy(&self, retry_policy: RetryPolicy) -> Self {
        Self { retry_policy, ..self.clone() }
    }

    /// Whether a write of this process succeeded at most `age` ago, and none failed since.
    #[must_use]
    pub fn wrote_within(&self, age: Duration) -> bool {
        self.health().wrote_at.is_some_and(|at| at.elapsed() <= age)
    }

    /// Longest duration of a call.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.retry_policy.deadline
    }

    /// Kind and place of the store.
    #[must_use]
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// The probe of the store, if its documents leave something open.
    #[must_use]
    pub fn probe(&self) -> Option<&dyn StoreProbe> {
        self.backend.probe()
    }

    /// The reader without credentials, if the store may serve everybody.
    #[must_use]
    pub fn anonymous_reader(&self) -> Option<&dyn AnonymousReader> {
        self.backend.anonymous_reader()
    }

    /// The error for an object at `key` that existed earlier and is missing now.
    #[must_use]
    pub fn vanished(&self, key: &Key) -> BucketError {
        BucketError::Vanished { path: key.path(), store: self.describe() }
    }

    /// Creates the object if there is none. An existing object with exactly these bytes counts as
    /// created by this call: it comes from an attempt whose response was lost. Every object that
    /// Rollcall creates contains a random id of its own.
    ///
    /// # Errors
    /// [`BucketError`] if the store refused or gave no response in time. The write may have taken
    /// effect.
    pub async fn create(&self, key: &Key, bytes: Bytes) -> Result<CreateOutcome, BucketError> {
        let (backend, bytes) = (&self.backend, &bytes);
        let attempt = move || async move {
            match backend.create(key, bytes.clone()).await {
                Ok(version) => Ok(CreateOutcome::Created(version)),
                Err(BackendError::Precondition) => match backend.get(key).await? {
                    Some(ours) if ours.bytes == bytes => Ok(CreateOutcome::Created(ours.version)),
                    Some(other) => Ok(CreateOutcome::AlreadyExists(other)),
                    None => Err(BackendError::transient("the object was there and was deleted meanwhile")),
                },
                Err(error) => Err(error),
            }
        };
        let result = self.retry("create", key.path(), attempt).await;
        self.note_write(result.as_ref().map(|outcome| matches!(outcome, CreateOutcome::Created(_))));
        result
    }

    /// Replaces the object if its version is still `version`. `None` if it is not. As with
    /// [`Self::create`], an object that already has these bytes counts as written by this call.
    ///
    /// # Errors
    /// [`BucketError`] if the store refused or gave no response in time. The write may have taken
    /// effect.
    pub async fn replace_if(
        &self,
        key: &Key,
        version: &ObjectVersion,
        bytes: Bytes,
    ) -> Result<Option<ObjectVersion>, BucketError> {
        let (backend, bytes) = (&self.backend, &bytes);
        let attempt = move || async move {
            match backend.replace_if(key, version, bytes.clone()).await {
                Ok(version) => Ok(Some(version)),
                Err(BackendError::Precondition) => match backend.get(key).await? {
                    Some(found) if found.version == *version => {
                        Err(BackendError::transient("the store refused a precondition that holds"))
                    }
                    found => Ok(found.filter(|found| found.bytes == bytes).map(|ours| ours.version)),
                },
                Err(error) => Err(error),
            }
        };
        let result = self.retry("replace", key.path(), attempt).await;
        self.note_write(result.as_ref().map(Option::is_some));
        result
    }

    /// Reads the object. `None` if there is none.
    ///
    /// # Errors
    /// [`BucketError`] if the store refused or gave no response in time.
    pub async fn get(&self, key: &Key) -> Result<Option<Object>, BucketError> {
        self.retry("get", key.path(), || self.backend.get(key)).await
    }

    /// One page of the names in a folder; see [`ListPage`].
    ///
    /// # Errors
    /// [`BucketError`] if the store refused or gave no response in time.
    pub async fn list_page(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BucketError> {
        self.retry("list", folder.path(), || self.backend.list(folder, page)).await
    }

    /// The names in a folder, page by page. Names ascend within a page, but not always from page to
    /// page. Each page has its own deadline. The stream ends after an error.
    pub fn list_pages(&self, folder: &Folder) -> impl Stream<Item = Result<Vec<String>, BucketError>> {
        self.children_pages(folder).map_ok(|page| page.into_iter().map(|child| child.name).collect())
    }

    fn children_pages(&self, folder: &Folder) -> impl Stream<Item = Result<Vec<ListedChild>, BucketError>> {
        // The number of the next page, and its token, except for the first one.
        let first = Some((0, None::<String>));
        try_unfold(first, move |next| async move {
            let Some((number, token)) = next else { return Ok(None) };
            if number == MAX_LIST_PAGES {
                let cause = format!("the listing has more than {MAX_LIST_PAGES} pages");
                return Err(self.unavailable("list", folder.path(), cause));
            }
            let page = self.list_page(folder, token.as_deref()).await?;
            Ok(Some((page.children, page.next.map(|token| (number + 1, Some(token))))))
        })
    }

    /// All names in a folder in ascending byte order, without duplicates. Each page has its own
    /// deadline.
    ///
    /// # Errors
    /// [`BucketError`] if the store refused a page or gave no response in time. Then there is no
    /// listing, not even a part.
    pub async fn list(&self, folder: &Folder) -> Result<Vec<String>, BucketError> {
        Ok(self.list_children(folder).await?.into_iter().map(|child| child.name).collect())
    }

    /// As [`Self::list`], with the sizes of the objects.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_children(&self, folder: &Folder) -> Result<Vec<ListedChild>, BucketError> {
        let mut children = self.children_pages(folder).try_concat().await?;
        // Pages of Cloud Storage are not in the order of names: `a-b/` sorts before `a/`.
        children.sort_unstable();
        children.dedup_by(|later, earlier| later.name == earlier.name);
        Ok(children)
    }

    /// Checks whether there is space for objects of users; see [`Backend::check_space`].
    ///
    /// # Errors
    /// [`BucketError::Full`] if there is none. Another [`BucketError`] if it could not be checked.
    pub async fn check_space(&self) -> Result<(), BucketError> {
        self.retry("write below", Folder::Users.path(), || self.backend.check_space()).await
    }

    /// Deletes the object, if there is one.
    ///
    /// # Errors
    /// [`BucketError`] if the store refused or gave no response in time. The object may be deleted.
    pub async fn delete(&self, key: &Key) -> Result<(), BucketError> {
        self.retry("delete", key.path(), || self.backend.delete(key)).await
    }

    /// Repeats an attempt until it succeeds, fails permanently, or reaches the deadline. Fails at
    /// once while the circuit breaker is open.
    async fn retry<T, F, A>(&self, operation: &'static str, path: String, attempt: F) -> Result<T, BucketError>
    where
        F: Fn() -> A,
        A: Future<Output = Result<T, BackendError>>,
    {
        let refused = self
            .health()
            .breaker
            .admit(Instant::now().into_std())
            .err()
            .map(|cause| format!("not tried, because the latest calls failed: {cause}"));
        if let Some(cause) = refused {
            return Err(self.unavailable(operation, path, cause));
        }
        let result = attempts(self.retry_policy, attempt).await;
        let mut health = self.health();
        match &result {
            Err(BackendError::Transient { cause, .. }) => health.breaker.failed(cause, Instant::now().into_std()),
            Ok(_) | Err(_) => health.breaker.answered(),
        }
        drop(health);
        result.map_err(|error| match error {
            BackendError::Transient { cause, .. } => self.timed_out(operation, path, &cause),
            BackendError::Full(cause) => {
                BucketError::Full { operation, path, store: self.describe(), cause: one_line(&cause) }
            }
            BackendError::Unreadable(cause) => {
                BucketError::Unreadable { operation, path, store: self.describe(), cause: one_line(&cause) }
            }
            // The attempts resolve a refused precondition. Here the call had none, so the store is
            // faulty, and a retry would not help.
            BackendError::Permanent(_) | BackendError::Precondition => {
                self.unavailable(operation, path, error.to_string())
            }
        })
    }

    /// Remembers the end of a write, and whether it wrote something.
    fn note_write(&self, written: Result<bool, &BucketError>) {
        match written {
            Ok(true) => self.health().wrote_at = Some(Instant::now()),
            // The store refused the precondition. This does not show whether it can write.
            Ok(false) => {}
            Err(_) => self.health().wrote_at = None,
        }
    }

    fn health(&self) -> MutexGuard<'_, StoreHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unavailable(&self, operation: &'static str, path: String, cause: impl AsRef<str>) -> BucketError {
        BucketError::Unavailable { operation, path, store: self.describe(), cause: one_line(cause.as_ref()) }
    }

    fn timed_out(&self, operation: &'static str, path: String, last_error: &str) -> BucketError {
        let deadline_ms = self.retry_policy.deadline.as_millis();
        BucketError::TimedOut { operation, path, store: self.describe(), deadline_ms, last_error: one_line(last_error) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::storage::{Fault, MemoryBackend};

    const KEY: Key = Key::Cluster;

    /// A bucket in memory with the default policy, and its store for the injection of faults.
    fn bucket() -> (Bucket, MemoryBackend) {
        let store = MemoryBackend::new();
        (Bucket::new(Arc::new(store.clone()), RetryPolicy::default()), store)
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_shorter_than_the_deadline_is_ridden_out() {
        let (bucket, store) = bucket();
        store.faults().set_outage(Some(Fault::Transient));
        let call = async {
            let outcome = bucket.create(&KEY, Bytes::new()).await;
            assert!(matches!(outcome, Ok(CreateOutcome::Created(_))), "{outcome:?}");
        };
        let repair = async {
            sleep(Duration::from_secs(3)).await;
            store.faults().set_outage(None);
        };
        tokio::join!(call, repair);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_request_costs_one_attempt() {
        let (bucket, store) = bucket();
        store.faults().inject(1, &Fault::Hang);
        let start = Instant::now();
        assert_eq!(bucket.get(&KEY).await.expect("the second attempt succeeds"), None);
        let policy = RetryPolicy::default();
        assert!(start.elapsed() <= policy.attempt_timeout() + policy.initial_backoff + Duration::from_millis(2));
        assert_eq!(store.faults().calls(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_attempt_waits_as_long_as_the_store_asks() {
        let (bucket, store) = bucket();
        store.faults().inject(1, &Fault::RetryAfter(Duration::from_secs(2)));
        let start = Instant::now();
        assert_eq!(bucket.get(&KEY).await.expect("the second attempt succeeds"), None);
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_fails_calls_at_once_after_the_first_ones_and_ends_with_the_first_answer() {
        let (bucket, store) = bucket();
        store.faults().set_outage(Some(Fault::Transient));
        for _ in 0..3 {
            assert!(matches!(bucket.get(&KEY).await, Err(BucketError::TimedOut { .. })));
        }
        // The first call after these probes the store.
        let _ = bucket.get(&KEY).await;
        let (calls, start) = (store.faults().calls(), Instant::now());
        let probe = async { bucket.get(&KEY).await };
        let others = async {
            for _ in 0..100 {
                let error = bucket.get(&KEY).await.expect_err("the store is down").to_string();
                assert!(error.contains("not tried") && error.contains("injected"), "{error}");
            }
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert_eq!(store.faults().calls(), calls + 1, "the attempt of the probe");
            store.faults().set_outage(None);
        };
        let (probe, ()) = tokio::join!(probe, others);
        assert!(probe.is_ok());
        assert_eq!(bucket.get(&KEY).await.expect("the breaker is closed"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_voids_the_proof_that_writes_work() {
        let (bucket, store) = bucket();
        let age = Duration::from_secs(30);
        assert!(!bucket.wrote_within(age));
        bucket.create(&KEY, Bytes::new()).await.expect("created");
        assert!(bucket.wrote_within(age));
        sleep(age + Duration::from_millis(2)).await;
        assert!(!bucket.wrote_within(age));
        bucket.create(&Key::TokenKey, Bytes::new()).await.expect("created");
        bucket.create(&Key::TokenKey, KEY.path().into()).await.expect("refused");
        assert!(bucket.wrote_within(age));
        store.faults().inject(1, &Fault::Permanent);
        bucket.create(&Key::Check(1), Bytes::new()).await.expect_err("it fails");
        assert!(!bucket.wrote_within(age));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_error_ends_the_call_at_once() {
        let (bucket, store) = bucket();
        store.faults().inject(1, &Fault::Permanent);
        let start = Instant::now();
        assert!(matches!(bucket.delete(&KEY).await, Err(BucketError::Unavailable { .. })));
        assert_eq!((store.faults().calls(), start.elapsed()), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_covers_all_attempts_and_backoffs_and_the_error_names_the_last_cause() {
        let (bucket, store) = bucket();
        store.faults().set_outage(Some(Fault::Transient));
        let start = Instant::now();
        let error = bucket.get(&KEY).await.expect_err("an outage");
        let deadline = RetryPolicy::default().deadline;
        assert!((deadline / 2..=deadline + Duration::from_millis(2)).contains(&start.elapsed()));
        assert!(
            matches!(&error, BucketError::TimedOut { last_error, .. } if last_error.contains("injected")),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_fails_completely_when_a_later_page_fails() {
        let store = MemoryBackend::new().with_page_size(1);
        let bucket = Bucket::new(Arc::new(store.clone()), RetryPolicy::default());
        for number in 0..2 {
            bucket.create(&Key::Check(number), Bytes::new()).await.expect("created");
        }
        store.faults().inject(1, &Fault::None);
        store.faults().inject(1, &Fault::Permanent);
        assert!(bucket.list(&Folder::Checks).await.is_err());
        assert_eq!(bucket.list(&Folder::Checks).await.expect("both pages").len(), 2);
    }
}
