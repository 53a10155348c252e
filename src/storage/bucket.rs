//! Bucket: a [`Backend`] with a deadline for every call, bounded retries with jitter, and a
//! read-back after a refused write. The read-back distinguishes a lost response of our own write
//! from a conflict.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, TryStreamExt, try_unfold};
use rand::RngExt;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Backend, BackendError, Folder, Key, ListPage, Object, ObjectVersion};

/// Most pages in one listing, so that a broken store cannot make it endless. Enough for ten million
/// names in pages of 1000.
const MAX_LIST_PAGES: u32 = 10_000;

/// Deadline and retries of a call.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Longest duration of the whole call, retries included (`storage_timeout_ms`).
    pub deadline: Duration,
    /// Number of attempts, the first included. At least 1.
    pub attempts: u32,
    /// Backoff before the second attempt. It doubles with each further attempt. Jitter shortens it
    /// by up to half.
    pub initial_backoff: Duration,
}

impl RetryPolicy {
    /// The default policy with this deadline.
    #[must_use]
    pub fn with_deadline(deadline: Duration) -> Self {
        Self { deadline, ..Self::default() }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(5), attempts: 4, initial_backoff: Duration::from_millis(100) }
    }
}

/// Result of a create-only write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CreateOutcome {
    /// This call created the object, and it is durable.
    Created(ObjectVersion),
    /// The object already exists, with other bytes. Nothing was written.
    AlreadyExists(Object),
}

/// Error of a call to the bucket. The text is for logs. Clients learn only that the storage is
/// unavailable.
#[derive(Clone, Debug, Error)]
pub enum BucketError {
    /// No response within the deadline. A write may or may not have taken effect.
    #[error("{operation} {path}: no answer from the {store} within {deadline_ms} ms{}", .last_error.as_ref().map(|l| format!(" (last error: {l})")).unwrap_or_default())]
    TimedOut {
        /// The operation: `create`, `get`, ...
        operation: &'static str,
        /// The path in the bucket.
        path: String,
        /// The store, as [`Backend::describe`] names it.
        store: String,
        /// The deadline of the whole call, in milliseconds.
        deadline_ms: u128,
        /// The error of the last attempt that ended.
        last_error: Option<String>,
    },
    /// The store refused, or every attempt failed.
    #[error("{operation} {path} failed on the {store}: {cause}")]
    Unavailable {
        /// The operation: `create`, `get`, ...
        operation: &'static str,
        /// The path in the bucket.
        path: String,
        /// The store, as [`Backend::describe`] names it.
        store: String,
        /// The error of the last attempt.
        cause: String,
    },
    /// This object cannot be read, but others can; see [`BackendError::Unreadable`].
    #[error("{operation} {path} failed on the {store}: {cause}")]
    Unreadable {
        /// The operation: `create`, `get`, ...
        operation: &'static str,
        /// The path in the bucket.
        path: String,
        /// The store, as [`Backend::describe`] names it.
        store: String,
        /// The cause and the remedy.
        cause: String,
    },
    /// An object is missing that existed earlier and that Rollcall never deletes. The whole bucket
    /// may be lost.
    #[error(
        "{path} is no longer in the {store}, and Rollcall did not delete it: put it back, or restart the nodes if it is gone for good"
    )]
    Vanished {
        /// The object's path.
        path: String,
        /// The store, as [`Backend::describe`] names it.
        store: String,
    },
}

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    backend: Arc<dyn Backend>,
    retry_policy: RetryPolicy,
}

impl Bucket {
    /// The bucket of a backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, retry_policy: RetryPolicy) -> Self {
        Self { backend, retry_policy }
    }

    /// The same bucket with another retry policy, for a call with another deadline.
    #[must_use]
    pub fn with_retry_policy(&self, retry_policy: RetryPolicy) -> Self {
        Self { backend: Arc::clone(&self.backend), retry_policy }
    }

    /// Kind and place of the store.
    #[must_use]
    pub fn describe(&self) -> String {
        self.backend.describe()
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
                    None => Err(BackendError::Transient("the object was there and was deleted meanwhile".to_owned())),
                },
                Err(error) => Err(error),
            }
        };
        self.retry("create", key.path(), attempt).await
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
                Err(BackendError::Precondition) => {
                    let found = backend.get(key).await?;
                    Ok(found.filter(|entry| entry.bytes == bytes).map(|ours| ours.version))
                }
                Err(error) => Err(error),
            }
        };
        self.retry("replace", key.path(), attempt).await
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
        // The number of the next page, and its token, except for the first one.
        let first = Some((0, None::<String>));
        try_unfold(first, move |next| async move {
            let Some((number, token)) = next else { return Ok(None) };
            if number == MAX_LIST_PAGES {
                let cause = format!("the listing has more than {MAX_LIST_PAGES} pages");
                return Err(self.unavailable("list", folder.path(), cause));
            }
            let page = self.list_page(folder, token.as_deref()).await?;
            Ok(Some((page.names, page.next.map(|token| (number + 1, Some(token))))))
        })
    }

    /// All names in a folder in ascending byte order, without duplicates. Each page has its own
    /// deadline.
    ///
    /// # Errors
    /// [`BucketError`] if the store refused a page or gave no response in time. Then there is no
    /// listing, not even a part.
    pub async fn list(&self, folder: &Folder) -> Result<Vec<String>, BucketError> {
        let mut names = self.list_pages(folder).try_concat().await?;
        // Pages of Cloud Storage are not in the order of names: `a-b/` sorts before `a/`.
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Deletes the object, if there is one.
    ///
    /// # Errors
    /// [`BucketError`] if the store refused or gave no response in time. The object may be deleted.
    pub async fn delete(&self, key: &Key) -> Result<(), BucketError> {
        self.retry("delete", key.path(), || self.backend.delete(key)).await
    }

    /// Repeats an attempt until it succeeds, fails permanently, or the retry policy ends it.
    async fn retry<T, F, A>(&self, operation: &'static str, path: String, attempt: F) -> Result<T, BucketError>
    where
        F: Fn() -> A,
        A: Future<Output = Result<T, BackendError>>,
    {
        let deadline = Instant::now() + self.retry_policy.deadline;
        let mut backoff = self.retry_policy.initial_backoff;
        let mut attempts = 1;
        let mut last_error = None;
        loop {
            let cause = match timeout_at(deadline, attempt()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(BackendError::Transient(cause))) => cause,
                Ok(Err(BackendError::Unreadable(cause))) => {
                    return Err(BucketError::Unreadable { operation, path, store: self.describe(), cause });
                }
                // Here the call had no precondition, so the store is faulty, and a retry would not
                // help.
                Ok(Err(error @ (BackendError::Permanent(_) | BackendError::Precondition))) => {
                    return Err(self.unavailable(operation, path, error.to_string()));
                }
                Err(_) => return Err(self.timed_out(operation, path, last_error)),
            };
            if attempts >= self.retry_policy.attempts {
                return Err(self.unavailable(operation, path, cause));
            }
            tracing::debug!(operation, %path, attempt = attempts, %cause, "storage attempt failed, will retry");
            last_error = Some(cause);
            attempts += 1;
            if timeout_at(deadline, sleep(with_jitter(backoff, random_fraction()))).await.is_err() {
                return Err(self.timed_out(operation, path, last_error));
            }
            backoff = backoff.saturating_mul(2);
        }
    }

    fn unavailable(&self, operation: &'static str, path: String, cause: String) -> BucketError {
        BucketError::Unavailable { operation, path, store: self.describe(), cause }
    }

    fn timed_out(&self, operation: &'static str, path: String, last_error: Option<String>) -> BucketError {
        let deadline_ms = self.retry_policy.deadline.as_millis();
        BucketError::TimedOut { operation, path, store: self.describe(), deadline_ms, last_error }
    }
}

/// Half of the backoff, plus a fraction (0.0 to 1.0) of the other half. Nodes that failed together
/// then do not retry together.
fn with_jitter(backoff: Duration, fraction: f64) -> Duration {
    let half = backoff / 2;
    half + half.mul_f64(fraction)
}

#[expect(clippy::disallowed_methods, reason = "no test needs to repeat the jitter of a backoff")]
fn random_fraction() -> f64 {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, MemoryBackend};

    const KEY: Key = Key::Cluster;

    /// A bucket in memory with the default policy, and its store for the injection of faults.
    fn bucket() -> (Bucket, MemoryBackend) {
        let store = MemoryBackend::new();
        (Bucket::new(Arc::new(store.clone()), RetryPolicy::default()), store)
    }

    #[test]
    fn jitter_shortens_a_backoff_by_half_at_most() {
        let backoff = Duration::from_millis(100);
        assert_eq!(with_jitter(backoff, 0.0), Duration::from_millis(50));
        assert_eq!(with_jitter(backoff, 1.0), backoff);
        assert!((0..100).all(|_| (0.0..1.0).contains(&random_fraction())));
    }

    #[tokio::test(start_paused = true)]
    async fn the_backoff_doubles_with_each_attempt() {
        let (bucket, store) = bucket();
        store.faults().inject(3, &Fault::Transient);
        let start = Instant::now();
        assert_eq!(bucket.get(&KEY).await.expect("the fourth attempt succeeds"), None);
        // Between half and all of 100 + 200 + 400 ms.
        let took = start.elapsed();
        assert!((Duration::from_millis(350)..=Duration::from_millis(703)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_makes_no_more_attempts_than_the_policy_allows() {
        let (bucket, store) = bucket();
        store.faults().inject(4, &Fault::Transient);
        assert!(matches!(bucket.get(&KEY).await, Err(BucketError::Unavailable { .. })));
        assert_eq!(store.faults().calls(), 4);
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
        store.faults().inject(1, &Fault::Transient);
        store.faults().inject(1, &Fault::Hang);
        let start = Instant::now();
        let error = bucket.get(&KEY).await.expect_err("the second attempt hangs");
        assert_eq!(start.elapsed().as_secs(), RetryPolicy::default().deadline.as_secs());
        assert!(matches!(&error, BucketError::TimedOut { last_error: Some(_), .. }), "{error}");
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
