//! A bucket as the rest of the program sees it: a [`Backend`] with a deadline on every call, bounded retries with
//! jitter, and writes whose answer was lost read back before they are called a conflict.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Backend, BackendError, Folder, Key, ListPage, Object, ObjectVersion};

/// Pages in one listing; a store that names ever more pages is broken. Ten million names of the smallest usual page.
const MAX_LIST_PAGES: u32 = 10_000;

/// How long a call may take and how often it is tried within that time.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The whole call, retries included (`storage_timeout_ms`).
    pub deadline: Duration,
    /// Tries in all; at least 1.
    pub attempts: u32,
    /// The pause before the second try; doubled for each further one. Half of each pause is drawn at random.
    pub initial_backoff: Duration,
}

impl RetryPolicy {
    /// The default policy with another deadline.
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

/// Why a call to the bucket failed. Display is for logs; clients are told only that the storage is unavailable.
#[derive(Clone, Debug, Error)]
pub enum BucketError {
    /// No answer within the deadline. A write may or may not have taken effect.
    #[error("{operation} {path}: no answer from the {store} within {deadline_ms} ms{}", .last.as_ref().map(|l| format!(" (last error: {l})")).unwrap_or_default())]
    TimedOut {
        /// What was tried: `create`, `get`, ...
        operation: &'static str,
        /// On which path.
        path: String,
        /// Which store.
        store: String,
        /// The deadline in milliseconds.
        deadline_ms: u128,
        /// What the last try before it said.
        last: Option<String>,
    },
    /// The store said no, or could not be reached in all tries.
    #[error("{operation} {path} failed on the {store}: {cause}")]
    Unavailable {
        /// What was tried: `create`, `get`, ...
        operation: &'static str,
        /// On which path.
        path: String,
        /// Which store.
        store: String,
        /// What the last try said.
        cause: String,
    },
    /// The object is there and cannot be read, while others can; see [`BackendError::Unreadable`].
    #[error("{operation} {path} failed on the {store}: {cause}")]
    Unreadable {
        /// What was tried: `create`, `get`, ...
        operation: &'static str,
        /// On which path.
        path: String,
        /// Which store.
        store: String,
        /// Why, and what to do about it.
        cause: String,
    },
    /// An object that was there before, and that nobody deletes, is not there. Then the bucket itself is in doubt.
    #[error(
        "{path} is no longer in the {store}, and Rollcall did not delete it: put it back, or restart the nodes if it is gone for good"
    )]
    Vanished {
        /// The object's path.
        path: String,
        /// Which store.
        store: String,
    },
}

/// The bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    backend: Arc<dyn Backend>,
    policy: RetryPolicy,
}

impl Bucket {
    /// A bucket on `backend`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, policy: RetryPolicy) -> Self {
        Self { backend, policy }
    }

    /// The same bucket with another policy, for a call that must be quicker or more patient than the rest.
    #[must_use]
    pub fn with_retry_policy(&self, policy: RetryPolicy) -> Self {
        Self { backend: Arc::clone(&self.backend), policy }
    }

    /// What and where the store is.
    #[must_use]
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// What to answer when the object at `key`, which is known to have been written, is not found.
    #[must_use]
    pub fn vanished(&self, key: &Key) -> BucketError {
        BucketError::Vanished { path: key.path(), store: self.describe() }
    }

    /// Writes the object if there is none. An object with the very same bytes counts as ours: it is the trace of a try
    /// whose answer was lost, since every object that Rollcall creates holds an id drawn for it.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time; the write may have taken effect.
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

    /// Writes the object if its version is still `version`; `None` if it is not. As with [`Self::create`], an object
    /// that already holds our bytes counts as written by us.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time; the write may have taken effect.
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

    /// Reads the object; `None` if there is none.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time.
    pub async fn get(&self, key: &Key) -> Result<Option<Object>, BucketError> {
        self.retry("get", key.path(), || self.backend.get(key)).await
    }

    /// One page of the names in a folder; see [`ListPage`].
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time.
    pub async fn list_page(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BucketError> {
        self.retry("list", folder.path(), || self.backend.list(folder, page)).await
    }

    /// All names in a folder in ascending byte order, each once; each page has its own deadline.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time; never a part of the listing.
    pub async fn list(&self, folder: &Folder) -> Result<Vec<String>, BucketError> {
        let mut names = Vec::new();
        let mut next = None;
        for _ in 0..MAX_LIST_PAGES {
            let page = self.list_page(folder, next.as_deref()).await?;
            names.extend(page.names);
            next = page.next;
            if next.is_none() {
                // Pages of Cloud Storage are not in the order of names: it sorts `a-b/` before `a/`.
                names.sort_unstable();
                names.dedup();
                return Ok(names);
            }
        }
        Err(self.unavailable("list", folder.path(), format!("the listing has more than {MAX_LIST_PAGES} pages")))
    }

    /// Deletes the object, if there is one.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time; the object may be gone all the same.
    pub async fn delete(&self, key: &Key) -> Result<(), BucketError> {
        self.retry("delete", key.path(), || self.backend.delete(key)).await
    }

    /// Tries until it works, cannot work, or the policy ends it.
    async fn retry<T, F, A>(&self, operation: &'static str, path: String, attempt: F) -> Result<T, BucketError>
    where
        F: Fn() -> A,
        A: Future<Output = Result<T, BackendError>>,
    {
        let deadline = Instant::now() + self.policy.deadline;
        let mut pause = self.policy.initial_backoff;
        let mut tries = 1;
        let mut last = None;
        loop {
            let cause = match timeout_at(deadline, attempt()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(BackendError::Transient(cause))) => cause,
                Ok(Err(BackendError::Unreadable(cause))) => {
                    return Err(BucketError::Unreadable { operation, path, store: self.describe(), cause });
                }
                // A precondition that nobody asked for is a broken store; asking again would not mend it.
                Ok(Err(error @ (BackendError::Permanent(_) | BackendError::Precondition))) => {
                    return Err(self.unavailable(operation, path, error.to_string()));
                }
                Err(_) => return Err(self.timed_out(operation, path, last)),
            };
            if tries >= self.policy.attempts {
                return Err(self.unavailable(operation, path, cause));
            }
            tracing::debug!("{operation} {path}: try {tries} failed: {cause}");
            last = Some(cause);
            tries += 1;
            if timeout_at(deadline, sleep(with_jitter(pause, random_fraction()))).await.is_err() {
                return Err(self.timed_out(operation, path, last));
            }
            pause = pause.saturating_mul(2);
        }
    }

    fn unavailable(&self, operation: &'static str, path: String, cause: String) -> BucketError {
        BucketError::Unavailable { operation, path, store: self.describe(), cause }
    }

    fn timed_out(&self, operation: &'static str, path: String, last: Option<String>) -> BucketError {
        let deadline_ms = self.policy.deadline.as_millis();
        BucketError::TimedOut { operation, path, store: self.describe(), deadline_ms, last }
    }
}

/// Half of the pause, and of the other half the `fraction` of 0.0 to 1.0: nodes that failed together do not return together.
fn with_jitter(pause: Duration, fraction: f64) -> Duration {
    let half = pause / 2;
    half + half.mul_f64(fraction)
}

#[expect(clippy::disallowed_methods, reason = "a pause between tries decides nothing that a test must repeat")]
fn random_fraction() -> f64 {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, MemoryBackend};

    const KEY: Key = Key::Cluster;

    /// A bucket in memory with the default policy, and its store to inject faults into.
    fn bucket() -> (Bucket, MemoryBackend) {
        let store = MemoryBackend::new();
        (Bucket::new(Arc::new(store.clone()), RetryPolicy::default()), store)
    }

    #[test]
    fn a_pause_is_at_least_half_of_what_was_asked_and_never_more() {
        let pause = Duration::from_millis(100);
        assert_eq!(with_jitter(pause, 0.0), Duration::from_millis(50));
        assert_eq!(with_jitter(pause, 1.0), pause);
        assert!((0..100).all(|_| (0.0..1.0).contains(&random_fraction())));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_from_try_to_try() {
        let (bucket, store) = bucket();
        store.faults().inject(3, &Fault::Transient);
        let start = Instant::now();
        assert_eq!(bucket.get(&KEY).await.expect("the fourth try works"), None);
        // 100 + 200 + 400 ms, of each at least half.
        let took = start.elapsed();
        assert!((Duration::from_millis(350)..=Duration::from_millis(703)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_try_is_the_last() {
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
    async fn the_deadline_covers_tries_and_pauses_together_and_names_the_last_error() {
        let (bucket, store) = bucket();
        store.faults().inject(1, &Fault::Transient);
        store.faults().inject(1, &Fault::Hang);
        let start = Instant::now();
        let error = bucket.get(&KEY).await.expect_err("the second try hangs");
        assert_eq!(start.elapsed().as_secs(), RetryPolicy::default().deadline.as_secs());
        assert!(matches!(&error, BucketError::TimedOut { last: Some(_), .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_fails_whole_when_a_later_page_fails() {
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
