//! A bucket as the rest of the program sees it: a [`Backend`] with a deadline on every call, bounded retries with
//! jitter, and writes whose answer was lost read back before they are called a conflict.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::{Backend, BackendError, Entry, Folder, Key, ListPage, Version};

/// An object as it was read; see [`Entry`].
pub type Object = Entry;

/// How long a call may take and how often it is tried within that time.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The whole call, retries included (`storage_timeout_ms`).
    pub deadline: Duration,
    /// Tries in all; at least 1.
    pub attempts: u32,
    /// The pause before the second try; doubled for each further one. Half of each pause is drawn at random.
    pub first_pause: Duration,
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
        Self { deadline: Duration::from_secs(5), attempts: 4, first_pause: Duration::from_millis(100) }
    }
}

/// What became of a create-only write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Created {
    /// The object is ours and durable.
    New(Version),
    /// There is one already, with other bytes than ours. Nothing was written.
    Taken(Object),
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
    pub fn with_policy(&self, policy: RetryPolicy) -> Self {
        Self { backend: Arc::clone(&self.backend), policy }
    }

    /// What and where the store is.
    #[must_use]
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// Writes the object if there is none. An object with the very same bytes counts as ours: it is the trace of a try
    /// whose answer was lost, since every object that Rollcall creates holds an id drawn for it.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time; the write may have taken effect.
    pub async fn create(&self, key: &Key, bytes: Bytes) -> Result<Created, BucketError> {
        todo!()
    }

    /// Writes the object if its version is still `version`; `None` if it is not. As with [`Self::create`], an object
    /// that already holds our bytes counts as written by us.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time; the write may have taken effect.
    pub async fn replace_if(&self, key: &Key, version: &Version, bytes: Bytes) -> Result<Option<Version>, BucketError> {
        todo!()
    }

    /// Reads the object; `None` if there is none.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time.
    pub async fn get(&self, key: &Key) -> Result<Option<Object>, BucketError> {
        todo!()
    }

    /// One page of the names in a folder; see [`ListPage`].
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time.
    pub async fn list_page(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BucketError> {
        todo!()
    }

    /// All names in a folder, each page with its own deadline.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time; never a part of the listing.
    pub async fn list(&self, folder: &Folder) -> Result<Vec<String>, BucketError> {
        todo!()
    }

    /// Deletes the object, if there is one.
    ///
    /// # Errors
    /// [`BucketError`] if the store gave no answer in time; the object may be gone all the same.
    pub async fn delete(&self, key: &Key) -> Result<(), BucketError> {
        todo!()
    }
}
