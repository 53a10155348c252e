//! Interface between the bucket and the kinds of stores. [`Bucket`](super::Bucket) adds deadlines
//! and retries.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use compact_str::CompactString;
use thiserror::Error;

use super::{Folder, Key};

/// Version of one object. Every write of different bytes changes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectVersion(pub CompactString);

/// An object that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Object {
    /// The content.
    pub bytes: Bytes,
    /// The version that was read.
    pub version: ObjectVersion,
}

/// Largest object that a store reads, in bytes. Rollcall writes images of at most 512 KiB, so a
/// larger object is not from Rollcall.
pub const MAX_OBJECT_BYTES: usize = 4 << 20;

/// An object or a folder in a listing. Ordered by name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ListedChild {
    /// The name, without the path of the folder that was listed and without slashes.
    pub name: String,
    /// Size of the object in bytes. 0 for a folder, and if the store does not tell it.
    pub bytes: u64,
}

/// One page of a listing. Names ascend within a page, but not always from page to page.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListPage {
    /// Direct children in ascending byte order of their names, without duplicates.
    pub children: Vec<ListedChild>,
    /// Token of the next page. `None` on the last page.
    pub next: Option<String>,
}

impl ListPage {
    /// The names of the children.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.children.iter().map(|child| child.name.as_str())
    }
}

/// Error of a store. The text is for logs and for the operator. It contains no secret.
///
/// Every variant but [`BackendError::Transient`] promises that this call wrote and deleted nothing.
/// A store returns them only if it is certain: it answered in its own words, or no request was
/// sent.
#[derive(Debug, Error)]
pub enum BackendError {
    /// `create` found an existing object, or `replace_if` found another version or no object. The
    /// object found is durable, so the caller may acknowledge it.
    #[error("the object exists in another state")]
    Precondition,
    /// A retry may succeed: a broken connection, a timeout, "too many requests", an overloaded
    /// server, an answer that is not the store's, a success without the version of the object. A
    /// write may or may not have taken effect.
    #[error("{cause}")]
    Transient {
        /// The cause, and the remedy if it does not go away.
        cause: String,
        /// The time that the store asked to wait before the next attempt (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// A retry cannot succeed: no permission, no such bucket, bad credentials, a read-only disk.
    /// The text names the remedy, if there is one.
    #[error("{0}")]
    Permanent(String),
    /// There is no space for the object. It may be a reserve that is missing: see
    /// [`Backend::check_space`]. The text names the remedy.
    #[error("{0}")]
    Full(String),
    /// Only this object cannot be read: in its place is a directory, a symbolic link or a file that
    /// is too large, or its permissions are wrong. The operator must repair it.
    #[error("{0}")]
    Unreadable(String),
}

impl BackendError {
    /// A [`BackendError::Transient`] of a store that did not say when to try again.
    pub fn transient(cause: impl Into<String>) -> Self {
        Self::Transient { cause: cause.into(), retry_after: None }
    }
}

/// A kind of store. Every kind passes the same test suite (`tests/it/storage`).
///
/// A store never retries: the retry policy of the bucket is the only one. A success must prove
/// itself: an answer without the object's version, or a listing without its type, is an error and
/// never an acknowledgement or an empty page. Only the store's own "no such object" is a miss.
///
/// The caller may drop the future of a method at any await point, for example at a deadline. A
/// dropped write takes effect completely or not at all.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Creates the object if there is none at `key`. After `Ok` the object is durable.
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError>;

    /// Replaces the object if its present version is `version`. After `Ok` the object is durable.
    async fn replace_if(&self, key: &Key, version: &ObjectVersion, bytes: Bytes)
    -> Result<ObjectVersion, BackendError>;

    /// Reads the object. `None` if there is none. The object read may not be durable yet. A caller
    /// that acknowledges an existing object calls [`Self::create`] instead: it returns
    /// [`BackendError::Precondition`] only for a durable object.
    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError>;

    /// Lists one page of the direct children of `folder`. A folder without objects is empty.
    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError>;

    /// Deletes the object. `Ok` also if there was none.
    async fn delete(&self, key: &Key) -> Result<(), BackendError>;

    /// Checks whether there is space for objects of users. A store that keeps a reserve fails here
    /// once only the reserve is left, and so does each write of a user's object. Other objects may
    /// use the reserve, because the nodes need them.
    async fn check_space(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Kind and place of the store, for the banner and for errors: `local directory data/bucket`.
    fn describe(&self) -> String;

    /// The reader without credentials, if the store is one that may serve everybody.
    fn anonymous_reader(&self) -> Option<&dyn AnonymousReader> {
        None
    }

    /// The probe of a store whose documents leave open what Rollcall depends on.
    fn probe(&self) -> Option<&dyn StoreProbe> {
        None
    }
}

/// Reads without credentials. They show whether everybody can read an object.
#[async_trait]
pub trait AnonymousReader: Send + Sync {
    /// Tries to read the object in every way that the store offers to programs without credentials.
    /// `None` if the store shows it to none of them.
    ///
    /// # Errors
    /// The cause, if the store did not answer in time.
    async fn read(&self, key: &Key) -> Result<Option<Bytes>, String>;
}

/// Probe of a live store: finds out what its documents leave open.
#[async_trait]
pub trait StoreProbe: Send + Sync {
    /// Behaviour of this process that follows from the latest probe of the store.
    fn consequence(&self) -> &'static str;

    /// Finds it out with an object at `key`, which must not exist and is deleted at the end.
    /// Returns one line for each fact, with the consequence for Rollcall.
    ///
    /// # Errors
    /// [`BackendError`] if the store must not be used, or does not respond.
    async fn find_facts(&self, key: &Key) -> Result<Vec<String>, BackendError>;
}
